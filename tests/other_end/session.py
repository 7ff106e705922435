"""Sections 4, 6 and 8 of transport.md: operations from their first fragment to their last, over one lane."""

import select
import time
from collections import deque, namedtuple

import frames
from frames import Op
from lane import ACKNOWLEDGE_NOW, OWED_MAX

FREE_OF_CREDIT = 1024
CREDIT = 1 << 20
SILENCE_MAX = 15.0
ASK_AFTER = (1.0, 2.0, 5.0)
BATCH = 128

# A range of bytes to be said: of a request (transfer is None), or of what the server has pulled.
Piece = namedtuple("Piece", "op transfer start end stop")
# A frame to be said as it is.
Say = namedtuple("Say", "frame")


class Failed(Exception):
    """An operation has ended without an answer."""


class Ranges:
    """Which bytes have come."""

    def __init__(self):
        self.pieces = []

    def add(self, start, end):
        """The parts of a range that are new."""
        new, at = [], start
        for low, high in self.pieces:
            if at < min(low, end):
                new.append((at, min(low, end)))
            at = max(at, high)
        if at < end:
            new.append((at, end))
        self.pieces = merged(self.pieces + [(start, end)])
        return new

    def covers(self, total):
        return total == 0 or (len(self.pieces) == 1 and self.pieces[0] == (0, total))


def merged(pieces):
    together = []
    for low, high in sorted(pieces):
        if together and low <= together[-1][1]:
            together[-1] = (together[-1][0], max(high, together[-1][1]))
        elif low < high:
            together.append((low, high))
    return together


class Operation:
    def __init__(self, op, meta, request, room, unscheduled, one_way):
        self.op, self.meta, self.request = op, meta, request
        self.unscheduled, self.one_way = unscheduled, one_way
        self.room, self.came, self.pushes = bytearray(room), Ranges(), {}
        self.head, self.failure, self.is_done = None, None, False
        # Pieces that are queued or under way; what is not acknowledged is never asked after.
        self.open, self.asked, self.ask_at = 0, 0, None

    def store(self, ranges, start, offset, data):
        for low, high in ranges.add(offset, offset + len(data)):
            if start + high > len(self.room):
                raise frames.Malformed("more than there is room for")
            self.room[start + low : start + high] = data[low - offset : high - offset]


class Session:
    def __init__(self, node, ticket, lane):
        self.node, self.ticket, self.lane = node, ticket, lane
        self.free = list(range(ticket.slots - 1, -1, -1))
        self.sequence = [0] * ticket.slots
        self.operations, self.queue, self.transfers = {}, deque(), set()
        self.granted, self.spent, self.pulled = CREDIT, 0, 0

    def start(self, meta, request, room=0, one_way=False):
        """Begins an operation; its slot is free, or this waits for one."""
        while not self.free:
            self.turn()
        slot = self.free.pop()
        self.sequence[slot] += 1
        unscheduled = min(len(request), max(self.ticket.unscheduled, FREE_OF_CREDIT))
        if unscheduled > FREE_OF_CREDIT and self.spent + unscheduled > self.granted:
            unscheduled = FREE_OF_CREDIT
        if unscheduled > FREE_OF_CREDIT:
            self.spent += unscheduled
        op = Op(slot, self.sequence[slot])
        operation = Operation(op, meta, request, room, unscheduled, one_way)
        self.operations[op] = operation
        self.put([Piece(op, None, 0, unscheduled, unscheduled)])
        return operation

    def wait(self, operation):
        """The end of an operation: status and the room for the reply. REFUSED is for the caller to tell."""
        while not operation.is_done:
            self.turn()
        if operation.failure:
            raise Failed(operation.failure)
        return operation.head, bytes(operation.room)

    def close(self):
        self.lane.send([frames.Close(0)], [])

    # The loop.

    def turn(self):
        """Says what there is to say, hears what there is to hear, and minds the time."""
        self.pump()
        now = time.monotonic()
        times = [self.lane.probe_at(), now + 1.0]
        times += [operation.ask_at for operation in self.operations.values()]
        soonest = min(at for at in times if at is not None)
        ready, _, _ = select.select([self.lane.udp, self.node.socket], [], [], max(soonest - now, 0))
        if self.node.socket in ready:
            self.node.notice(*self.node.receive())
            if self.ticket.local in self.node.dead:
                raise Failed("the server is gone")
        if self.lane.udp in ready:
            self.hear()
        self.mind(time.monotonic())

    def hear(self):
        for _ in range(BATCH):
            try:
                packet = self.lane.udp.recv(1 << 16)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                continue
            for frame in self.lane.receive(packet):
                self.HANDLERS[type(frame)](self, frame)
            if self.lane.owed >= OWED_MAX:
                self.pump()

    def mind(self, now):
        if self.lane.waiting is not None and now - self.lane.waiting > SILENCE_MAX:
            raise Failed("the server is silent")
        probe_at = self.lane.probe_at()
        if probe_at is not None and now >= probe_at:
            self.put_back(self.lane.probe())
        for operation in self.operations.values():
            if operation.ask_at is not None and now >= operation.ask_at:
                self.queue.append(Say(frames.Query(operation.op)))
                operation.asked += 1
                operation.ask_at = now + ASK_AFTER[min(operation.asked, 2)]

    # What goes out.

    def put(self, contents):
        for content in contents:
            self.queue.append(content)
            if isinstance(content, Piece):
                self.operations[content.op].open += 1

    def put_back(self, contents):
        """What was lost goes first, as far as it is still wanted."""
        for content in reversed(contents):
            if isinstance(content, Say) or content.op in self.operations:
                self.queue.appendleft(content)

    def pump(self):
        """Fills packets while there is something to say and the window lets it go."""
        while self.queue and self.lane.is_open():
            packed, contents, room = [], [], self.lane.room()
            ack = self.lane.acknowledgement() if self.lane.owed else None
            if ack:
                packed.append(ack)
                room -= len(frames.encode(ack))
            while self.queue and room > frames.REQUEST_HEAD:
                content = self.queue.popleft()
                frame, content = self.cut(content, room)
                if frame is None:
                    continue
                packed.append(frame)
                room -= len(frames.encode(frame))
                if content:
                    contents.append(content)
            if packed:
                is_full = contents and not self.lane.is_open(more=1)
                self.lane.send(packed, contents, ACKNOWLEDGE_NOW if is_full else 0)
        if self.lane.owed:
            self.lane.send([self.lane.acknowledgement()], [])

    def cut(self, content, room):
        """The frame for as much of a content as fits, and what is to be repeated; the rest stays in front."""
        if isinstance(content, Say):
            return content.frame, content if isinstance(content.frame, frames.Ping) else None
        operation = self.operations.get(content.op)
        if operation is None:
            return None, None
        head = frames.REQUEST_HEAD if content.transfer is None else frames.PULLED_HEAD
        end = min(content.end, content.start + room - head)
        if end < content.end:
            self.queue.appendleft(content._replace(start=end))
            operation.open += 1
            content = content._replace(end=end)
        data = operation.request[content.start : end]
        is_last = end == content.stop
        if content.transfer is not None:
            self.pulled += len(data)
            return frames.Pulled(content.op, is_last, content.transfer, content.start, data), content
        flags = frames.FIRST * (content.start == 0) | frames.LAST * is_last | frames.ONE_WAY * operation.one_way
        sizes = (content.start, operation.unscheduled, len(operation.request), len(operation.room))
        return frames.Request(content.op, flags, *sizes, operation.meta, data), content

    # What comes in.

    def on_ack(self, ack):
        if ack.lane != self.lane.id:
            return
        arrived, lost = self.lane.acknowledged(ack)
        self.put_back(lost)
        for content in arrived:
            operation = isinstance(content, Piece) and self.operations.get(content.op)
            if not operation:
                continue
            operation.open -= 1
            if operation.open == 0 and operation.one_way:
                self.end(operation)
            elif operation.open == 0 and operation.ask_at is None:
                operation.ask_at = time.monotonic() + ASK_AFTER[0]

    def on_reply(self, frame):
        operation = self.operations.get(frame.op)
        if operation is None:
            return
        if frame.flags & frames.FIRST:
            operation.head = frame
        operation.store(operation.came, 0, frame.offset, frame.bytes)
        if operation.head and operation.came.covers(operation.head.total):
            self.end(operation)

    def on_pull(self, frame):
        operation = self.operations.get(frame.op)
        if operation is None or frame.transfer in self.transfers:
            return
        self.transfers.add(frame.transfer)
        end = frame.offset + frame.length
        if end > len(operation.request):
            raise frames.Malformed("a pull of what is not there")
        self.put([Piece(frame.op, frame.transfer, frame.offset, end, end)])

    def on_pushed(self, frame):
        operation = self.operations.get(frame.op)
        if operation is None or operation.head or operation.came.pieces:
            return
        ranges = operation.pushes.setdefault(frame.transfer, Ranges())
        operation.store(ranges, frame.start, frame.offset, frame.bytes)

    def on_state(self, frame):
        operation = self.operations.get(frame.op)
        if operation is None:
            return
        if frame.state == frames.UNKNOWN and operation.open == 0:
            operation.ask_at = None
            self.put([Piece(frame.op, None, 0, operation.unscheduled, operation.unscheduled)])
        elif frame.state in (frames.GONE, frames.CANCELLED):
            operation.failure = "done perhaps" if frame.state == frames.GONE else "not done"
            self.end(operation)

    def on_credit(self, frame):
        self.granted = max(self.granted, frame.bytes)
        for slot in range(len(self.sequence), frame.slots):
            self.sequence.append(0)
            self.free.insert(0, slot)

    def on_ping(self, frame):
        self.queue.appendleft(Say(frames.Pong(frame.id, frame.time)))

    def on_close(self, frame):
        raise Failed(f"the server has closed the session: {frame.code}")

    def end(self, operation):
        operation.is_done = True
        del self.operations[operation.op]
        self.free.append(operation.op.slot)

    HANDLERS = {
        frames.Ack: on_ack,
        frames.Reply: on_reply,
        frames.Pull: on_pull,
        frames.Pushed: on_pushed,
        frames.OpStat: on_state,
        frames.Credit: on_credit,
        frames.Ping: on_ping,
        frames.Pong: lambda self, frame: None,
        frames.LaneLeft: lambda self, frame: None,
        frames.Close: on_close,
    }
