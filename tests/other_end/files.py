"""connect.md and io.md: paths that lead to open files, and what is done with them."""

import socket
from collections import namedtuple

import node as node_socket
from channel import Process
from keys import CLIENT, SERVER, Opening, Sealing
from lane import Lane, Loss
from node import Refused, ipv4, ipv4_raw
from session import Session
from wire import Reader, put, text

READ, WRITE, CREATE, TRUNCATE, APPEND = 0x1, 0x2, 0x4, 0x10, 0x20
COMBINE_CLOSE, OPEN, UNLINK = 1, 2, 3
OWN_OFFSET = (1 << 64) - 1
ENOENT, ENXIO, ESRCH, EROFS, ENOSYS, EBADFSYS = 2, 6, 3, 30, 38, 1000
GOES_ON = {ENOENT, ENXIO, ESRCH, EROFS, ENOSYS, EBADFSYS, *range(100, 114)}
NETWORK_MANAGER, PROCESS_MANAGER = (1, 2), (1, 1)
OPENED_MAX = 1 << 13

Stat = namedtuple("Stat", "node device serial mode links owner group device_number size block blocks times")
Options = namedtuple("Options", "lose_every key_packets packet_max")


class Files:
    """Paths as this node sees them. Sessions are kept, one for each process."""

    def __init__(self, node, options):
        self.node, self.options = node, options
        self.processes, self.lanes = {}, []

    def open(self, path, flags, mode=0):
        """An open file. Refused with what the search says if there is none."""
        def ask(connection, message):
            connection.send(message, OPENED_MAX)
            return File(connection)
        return self.search(path, lambda handle, rest, ends: connect(OPEN, handle, flags, mode, rest, ends), ask)

    def stat(self, path):
        """The attributes of a path, in one message."""
        def ask(connection, message):
            status, room = connection.send(message, OPENED_MAX)
            reader = Reader(room)
            if status != 0 or reader.flag() or reader.get("i64") != 0:
                raise Refused(EBADFSYS, "not the answer to this question")
            return take_stat(reader)
        extra = put("u16", 5) + text(put("u16", 0x104) + put("u16", 0))
        make = lambda handle, rest, ends: connect(COMBINE_CLOSE, handle, 0, 0, rest, ends, extra)
        return self.search(path, make, ask)

    def unlink(self, path):
        ask = lambda connection, message: connection.send(message)
        self.search(path, lambda handle, rest, ends: connect(UNLINK, handle, 0, 0, rest, ends), ask)

    def search(self, path, make, ask):
        """Asks one candidate after the other; the first error that says more than ENOSYS is the outcome."""
        outcome = None
        for nd, candidate, rest, ends in self.candidates(path):
            connection = self.process(nd, candidate.pid).connect(candidate.channel)
            try:
                return ask(connection, make(candidate.handle, rest, ends))
            except Refused as refused:
                if refused.errno not in GOES_ON:
                    raise
                if outcome is None or outcome.errno == ENOSYS:
                    outcome = refused
        raise outcome or Refused(ENOENT)

    def candidates(self, path):
        """Servers on other nodes that may own a path: this node's process manager, its network manager, theirs."""
        whole, _ends, found = self.node.resolve(0, path)
        for manager in found:
            if (manager.nd, manager.pid, manager.channel) != (0, *NETWORK_MANAGER):
                continue
            nd, pid, channel, rest = self.node.network(whole[manager.prefix + 1 :])
            if (pid, channel) != PROCESS_MANAGER:
                continue
            there, ends, servers = self.node.resolve(nd, b"/" + rest)
            for server in servers:
                if (server.pid, server.channel) != PROCESS_MANAGER:
                    yield server.nd, server, there[server.prefix :].lstrip(b"/"), ends

    def process(self, nd, pid):
        if (nd, pid) not in self.processes:
            self.processes[nd, pid] = Process(self.session(nd, pid))
        return self.processes[nd, pid]

    def session(self, nd, pid):
        """One socket on one link; the other end then gives the session one lane."""
        link = next(l for l in self.node.links if l.kind == node_socket.UDP and l.up and not l.relayed)
        host, _port = ipv4(link.address)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        if link.device:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.device)
        udp.bind((host, 0))
        udp.setblocking(False)
        ticket = self.node.open_session(nd, pid, [(link.index, ipv4_raw(*udp.getsockname()))])
        (row,) = ticket.lanes
        if row.protection != node_socket.SEALED:
            raise ConnectionError("this program speaks on sealed lanes only")
        udp.connect(ipv4(row.peer))
        row = row._replace(mtu=min(row.mtu, self.options.packet_max))
        keys = Sealing(ticket.secret, CLIENT, self.options.key_packets), Opening(ticket.secret, SERVER)
        lane = Lane(row, (ticket.local, ticket.peer), udp, keys, Loss(self.options.lose_every))
        self.lanes.append(lane)
        return Session(self.node, ticket, lane)

    def leave(self):
        for process in self.processes.values():
            process.leave()
            self.node.close_session(process.session.ticket.local)


class File:
    def __init__(self, connection):
        self.connection = connection

    def read(self, wanted):
        message = io(0x101) + put("u64", OWN_OFFSET) + put("u32", wanted)
        status, room = self.connection.send(message, wanted)
        return room[:status]

    def write(self, data):
        return self.connection.send(self.write_message(data))[0]

    def write_message(self, data):
        return io(0x102) + put("u64", OWN_OFFSET) + data

    def stat(self):
        _status, room = self.connection.send(io(0x104), 112)
        return take_stat(Reader(room))

    def close(self):
        self.connection.send(io(0x116))


def io(kind):
    return put("u16", kind) + put("u16", 0)


def connect(subkind, handle, flags, mode, path, ends, extra=put("u16", 0)):
    head = put("u16", 0x100) + put("u16", subkind) + put("u32", handle) + put("u32", 0)
    return head + put("u32", flags) + put("u32", mode) + put("u32", 0) + put("u16", ends) + text(path) + extra


def take_stat(reader):
    numbers = reader.get("u32", "u64", "u64", "u32", "u32", "u32", "u32", "u64", "u64", "u32", "u64")
    times = [tuple(reader.get("i64", "u32")) for _ in range(4)]
    return Stat(*numbers, times)
