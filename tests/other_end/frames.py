"""Section 3 of transport.md: the frames that a client sends and those that it gets."""

from collections import namedtuple

from wire import Malformed, Reader, put

REPLY, FIRST, LAST, QUIET, ONE_WAY, CONTROL, REFUSED, POLICY = (1 << bit for bit in range(8))
RECEIVING, EXECUTING, UNKNOWN, GONE, CANCELLED = range(1, 6)
SMALL = 1 << 32

Op = namedtuple("Op", "slot seq")
Request = namedtuple("Request", "op flags offset unscheduled total reply_max meta bytes")
Reply = namedtuple("Reply", "op flags offset total status worked bytes")
Pulled = namedtuple("Pulled", "op last transfer offset bytes")
Pushed = namedtuple("Pushed", "op last transfer start total offset bytes")
Ack = namedtuple("Ack", "lane largest delay words")
OpStat = namedtuple("OpStat", "op state")
Query = namedtuple("Query", "op")
Credit = namedtuple("Credit", "slots bytes")
Pull = namedtuple("Pull", "op transfer offset length")
Ping = namedtuple("Ping", "id time")
Pong = namedtuple("Pong", "id time")
LaneLeft = namedtuple("LaneLeft", "lane")
Close = namedtuple("Close", "code")

# Bytes of a fragment's frame before its bytes, at most: DATA64 with a whole head, and PULLED.
REQUEST_HEAD = 2 + 6 + 8 + 2 + 4 + 16 + 1 + 48
PULLED_HEAD = 2 + 6 + 4 + 8 + 2


def op_bytes(op):
    return put("u16", op.slot) + put("u32", op.seq)


def encode_request(frame):
    wide = max(frame.offset, frame.total, frame.reply_max) >= SMALL
    size = "u64" if wide else "u32"
    parts = [
        bytes([2 if wide else 1, frame.flags]),
        op_bytes(frame.op),
        put(size, frame.offset),
        put("u16", len(frame.bytes)),
        put("u32", frame.unscheduled),
    ]
    if frame.flags & FIRST:
        parts += [put(size, frame.total), put(size, frame.reply_max), put("u8", len(frame.meta)), frame.meta]
    return b"".join(parts) + frame.bytes


def encode_ack(frame):
    words = b"".join(put("u64", word) for word in frame.words)
    return (
        bytes([5, frame.lane])
        + put("u64", frame.largest)
        + put("u16", frame.delay)
        + put("u8", len(frame.words))
        + words
    )


def encode_pulled(frame):
    head = bytes([3, frame.last]) + op_bytes(frame.op) + put("u32", frame.transfer)
    return head + put("u64", frame.offset) + put("u16", len(frame.bytes)) + frame.bytes


def encode_numbers(kind):
    return lambda frame: bytes([kind]) + put("u32", frame.id) + put("u64", frame.time)


ENCODERS = {
    Request: encode_request,
    Pulled: encode_pulled,
    Ack: encode_ack,
    Query: lambda frame: bytes([7]) + op_bytes(frame.op),
    Ping: encode_numbers(11),
    Pong: encode_numbers(12),
    Close: lambda frame: bytes([14]) + put("u16", frame.code),
}


def encode(frame):
    return ENCODERS[type(frame)](frame)


def take_op(reader):
    return Op(*reader.get("u16", "u32"))


def decode_reply(reader, size):
    flags = reader.get("u8")
    if not flags & REPLY or flags & POLICY:
        raise Malformed("a server sends no requests")
    op, offset, length = take_op(reader), reader.get(size), reader.get("u16")
    head = reader.get(size, "i64", "u32") if flags & FIRST else (None, None, None)
    return Reply(op, flags, offset, *head, reader.take(length))


def decode_pushed(reader):
    last, op = reader.flag(), take_op(reader)
    transfer, start, total, offset, length = reader.get("u32", "u64", "u64", "u64", "u16")
    return Pushed(op, last, transfer, start, total, offset, reader.take(length))


def decode_ack(reader):
    lane, largest, delay, count = reader.get("u8", "u64", "u16", "u8")
    if count > 8:
        raise Malformed("an acknowledgement with too many words")
    return Ack(lane, largest, delay, [reader.get("u64") for _ in range(count)])


DECODERS = {
    1: lambda reader: decode_reply(reader, "u32"),
    2: lambda reader: decode_reply(reader, "u64"),
    4: decode_pushed,
    5: decode_ack,
    6: lambda reader: OpStat(take_op(reader), reader.get("u8")),
    8: lambda reader: Credit(*reader.get("u16", "u64")),
    9: lambda reader: Pull(take_op(reader), *reader.get("u32", "u64", "u64")),
    11: lambda reader: Ping(*reader.get("u32", "u64")),
    12: lambda reader: Pong(*reader.get("u32", "u64")),
    13: lambda reader: LaneLeft(reader.get("u8")),
    14: lambda reader: Close(reader.get("u16")),
}


def decode(body):
    """The frames of a packet. A type that only clients send, or none, breaks the protocol."""
    reader, frames = Reader(body), []
    while len(reader):
        kind = reader.get("u8")
        if kind == 0:
            break
        if kind not in DECODERS:
            raise Malformed(f"a frame of type {kind}")
        frames.append(DECODERS[kind](reader))
    return frames
