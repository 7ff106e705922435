"""system.md: the socket of the node daemon, as far as a client of other nodes needs it."""

import array
import os
import socket
import sys
from collections import namedtuple

from wire import Reader, address, listed, put, text

VERSION = 2
HELLO, RESOLVE, NETWORK, OPEN_SESSION, CLOSE_SESSION, REFUSE = 1, 6, 7, 10, 11, 13
ERROR, DONE, WELCOME, RESOLVED, REDIRECT, TICKET = 0x100, 0x101, 0x102, 0x104, 0x106, 0x109
OFFER, DEATH, REVOKE = 0x200, 0x201, 0x203
UDP, SEALED, IPV4 = 0, 0, 4
EBADF, ENOSYS = 9, 38
PATIENCE = 20
PAGE, GENERATION, SIGN_OF_LIFE = 36_864, 64, 128

Link = namedtuple("Link", "index name kind address mtu device relayed epoch up")
Candidate = namedtuple("Candidate", "nd pid channel handle file_type flags prefix")
Lane = namedtuple("Lane", "id link peer mtu protection")
Ticket = namedtuple("Ticket", "local peer nd pid incarnation secret lanes slots unscheduled proof")


class Refused(Exception):
    """Somebody said no, with an error number."""

    def __init__(self, errno, words=""):
        super().__init__(f"error {errno} {words}")
        self.errno = errno


def ipv4(raw):
    """The host and port of an address of an IPv4 socket."""
    return socket.inet_ntoa(raw[1:5]), int.from_bytes(raw[5:7], "little")


def ipv4_raw(host, port):
    return bytes([IPV4]) + socket.inet_aton(host) + put("u16", port)


def reach(directory):
    """A socket to the daemon of a directory."""
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connected.settimeout(PATIENCE)
    connected.connect(os.path.join(directory, "node.sock"))
    return connected


class Node:
    """A connection to the node, over a socket that leads there."""

    def __init__(self, connected, program):
        self.socket = connected
        self.serial = 0
        self.dead, self.page = set(), None
        reader = self.ask(HELLO, WELCOME, put("u16", VERSION) + text(program) + put("u32", 0) + listed([]))
        reader.get("u16", "u32")
        self.name = reader.text().decode()
        reader.get("u64")
        self.links = reader.list(lambda: take_link(reader))
        reader.finish()

    def receive(self):
        """One packet: serial, kind, and a reader of the rest. The only descriptor that comes is that of the page."""
        data, control, _flags, _from = self.socket.recvmsg(1 << 16, socket.CMSG_SPACE(3 * 4))
        if not data:
            raise ConnectionError("the node is gone")
        for _level, _type, numbers in control:
            descriptors = array.array("i")
            descriptors.frombytes(numbers[: len(numbers) // 4 * 4])
            self.page = descriptors[0]
        reader = Reader(data)
        return (*reader.get("u32", "u16"), reader)

    def page_word(self, offset):
        """A number of the node page, which the node changes at any time."""
        return int.from_bytes(os.pread(self.page, 8, offset), sys.byteorder)

    def tell(self, serial, kind, body):
        self.socket.send(put("u32", serial) + put("u16", kind) + body)

    def ask(self, kind, expected, body):
        self.serial += 1
        self.tell(self.serial, kind, body)
        while True:
            serial, answer, reader = self.receive()
            if answer >= OFFER:
                self.notice(serial, answer, reader)
            elif serial == self.serial and answer == ERROR:
                raise Refused(reader.get("u16"), reader.text().decode())
            elif serial == self.serial and answer == expected:
                return reader
            else:
                raise ConnectionError(f"an answer {answer:#x} that nobody asked for")

    def notice(self, serial, kind, reader):
        """Remembers which sessions are dead. This program serves nobody."""
        if kind == OFFER:
            self.tell(serial, REFUSE, put("u16", ENOSYS))
        if kind in (DEATH, REVOKE):
            self.dead.update(reader.list(lambda: reader.get("u32")))

    def network(self, path):
        """Who is asked next for `path` below /net: node, process, channel, and the rest of the path."""
        reader = self.ask(NETWORK, REDIRECT, put("u32", 0) + text(path))
        nd, pid, channel = reader.get("u32", "u32", "u32")
        rest = reader.text()
        reader.finish()
        return nd, pid, channel, rest

    def resolve(self, nd, path):
        """The normal path and the candidates of node `nd`."""
        reader = self.ask(RESOLVE, RESOLVED, put("u32", nd) + text(path) + put("u32", 0) + put("u8", 0))
        path, path_flags, _root = reader.text(), *reader.get("u16", "u16")
        item = lambda: Candidate(*reader.get("u32", "u32", "u32", "u32", "u32", "u32", "u16"))
        candidates = reader.list(item)
        reader.finish()
        return path, path_flags, candidates

    def open_session(self, nd, pid, sockets):
        """A ticket for a process of another node; `sockets` are pairs of a link's number and an address."""
        own = [put("u8", link) + address(raw) for link, raw in sockets]
        reader = self.ask(OPEN_SESSION, TICKET, put("u32", nd) + put("u32", pid) + put("u8", 0) + listed(own))
        head = reader.get("u32", "u32", "u32", "u32", "u64")
        secret = reader.take(32) if reader.flag() else None
        lanes = reader.list(lambda: Lane(*reader.get("u8", "u8"), reader.address(), *reader.get("u16", "u8")))
        ticket = Ticket(*head, secret, lanes, *reader.get("u16", "u32"), reader.take(16))
        reader.finish()
        return ticket

    def close_session(self, local):
        try:
            self.ask(CLOSE_SESSION, DONE, put("u32", local)).finish()
        except Refused as refused:
            # The server has said earlier that it ended.
            if refused.errno != EBADF:
                raise


def take_link(reader):
    index, name, kind = reader.get("u8"), reader.text(), reader.get("u8")
    raw, mtu, device = reader.address(), reader.get("u16"), reader.text()
    return Link(index, name, kind, raw, mtu, device, reader.flag(), reader.get("u32"), reader.flag())
