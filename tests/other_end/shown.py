"""Every block of bytes that the pages show, written and read by this end. Says nothing if all are right."""

import re
from pathlib import Path

import channel
import frames
import keys
import node
from frames import FIRST, LAST, Op

PAGES = Path(__file__).resolve().parents[2] / "docs" / "protocol"
OP = Op(0x0201, 0x06050403)
META = b"\x09\x08"


def blocks(page):
    """Name and bytes of each block of a page."""
    text = (PAGES / page).read_text(encoding="ascii")
    found = re.findall(r"^```hex (\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [(name, bytes.fromhex(shown.replace("|", ""))) for name, shown in found]


def request(total):
    return frames.Request(OP, FIRST | LAST, 0, 2, total, 0x100, META, b"ab")


# What the blocks of frames mean, in the order of the page: written by a client, then read by it.
WRITTEN = {
    "DATA": request(2),
    "DATA64": request((1 << 32) + 2),
    "PULLED": frames.Pulled(OP, True, 7, 8, b"p"),
    "ACK": frames.Ack(2, 0x0807060504030201, 0x0A09, [0x8000000000000001]),
    "QUERY": frames.Query(OP),
    "PING": frames.Ping(1, 2),
    "PONG": frames.Pong(1, 2),
    "CLOSE": frames.Close(1),
}
READ = [
    frames.Reply(OP, 0x4F, 0, 1, 2, 3, b"x"),
    frames.Reply(OP, 0x05, 0x102, None, None, None, b"xy"),
    frames.Pushed(OP, False, 7, 1, 4, 3, b"q"),
    WRITTEN["ACK"],
    frames.OpStat(OP, frames.EXECUTING),
    frames.Credit(0x0102, 3),
    frames.Pull(OP, 7, 8, 9),
    WRITTEN["PING"],
    WRITTEN["PONG"],
    frames.LaneLeft(9),
    WRITTEN["CLOSE"],
]
# CANCEL is the frame that this end never sends.
UNREAD = {"DATA", "DATA64", "PULLED", "QUERY", "CANCEL"}


def check_frames():
    shown = [block for block in blocks("transport.md") if block[0] != "packet"]
    read = []
    for name, data in shown:
        if name in WRITTEN:
            assert frames.encode(WRITTEN[name]) == data, name
        if name not in UNREAD:
            read += frames.decode(data)
    assert read == READ, read


def check_packets():
    first, second = (data for name, data in blocks("transport.md") if name == "packet")
    secret, body = bytes(range(32)), frames.encode(WRITTEN["PING"])
    sealing, opening = keys.Sealing(secret, keys.CLIENT, 1), keys.Opening(secret, keys.CLIENT)
    for number, packet in ((5, first), (6, second)):
        assert packet[1] & 1 == sealing.turn()
        assert sealing.key.seal(3, number, packet[:16], body) == packet[16:]
        assert opening.open(3, number, packet[:16], packet[16:]) == body
        sealing.proven = True
    assert opening.open(3, 5, first[:16], first[16:]) == body, "a late packet under the key before"
    assert opening.open(3, 7, first[:16], first[16:]) is None, "the packet of another number"


def check_heads():
    assert blocks("channels.md") == [("head", channel.head(channel.MESSAGE, 2, 1, 7))]


class Page:
    """A node that has learned one page by heart: it expects the questions shown there and gives the answers."""

    def __init__(self):
        self.blocks = blocks("socket.md")

    def send(self, data):
        name, shown = self.blocks.pop(0)
        assert data == shown, f"{name}: {data.hex()}"

    def recvmsg(self, _size, _control):
        return self.blocks.pop(0)[1], [], 0, None


def check_socket():
    page = Page()
    here = node.Node(page, b"cat")
    assert here.name == "lab1"
    (link,) = here.links
    assert (link.name, link.mtu, link.device, link.up) == (b"eth0", 1472, b"eth0", True)
    assert node.ipv4(link.address) == ("192.0.2.1", 41000)
    path, _ends, (manager,) = here.resolve(0, b"/net/lab2/dev/hello")
    assert (manager.pid, manager.channel, path[manager.prefix :]) == (1, 2, b"/lab2/dev/hello")
    assert here.network(b"lab2/dev/hello") == (1, 1, 1, b"dev/hello")
    _path, _ends, (server,) = here.resolve(1, b"/dev/hello")
    own = node.ipv4_raw("192.0.2.1", 41001)
    ticket = here.open_session(server.nd, server.pid, [(link.index, own)])
    assert (ticket.local, ticket.peer, ticket.secret) == (0x11, 0x22, bytes(range(32)))
    assert node.ipv4(ticket.lanes[0].peer) == ("192.0.2.2", 41003)
    assert (ticket.lanes[0].protection, ticket.slots, ticket.unscheduled) == (node.SEALED, 64, 65536)
    here.close_session(ticket.local)
    assert [name for name, _bytes in page.blocks] == ["Offer", "Accept", "Death"], "the server's side"


if __name__ == "__main__":
    for check in (check_frames, check_packets, check_heads, check_socket):
        check()
