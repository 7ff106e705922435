"""messages.md: connections to channels of a process, over one session with it."""

import itertools

import frames
from node import Refused
from wire import put

MESSAGE, DETACH = 0, 3
PRIORITY = 10
BY_LIBRARY, NOT_DONE = 0x8000, 0x4000


class Process:
    """A process of another node, and what leads to its channels."""

    def __init__(self, session):
        self.session = session
        self.attachments, self.connections = {}, itertools.count(1)

    def connect(self, channel):
        self.attachments.setdefault(channel, len(self.attachments) + 1)
        return Connection(self, channel, next(self.connections))

    def leave(self):
        """Says goodbye to every channel, then closes the session."""
        for channel, attachment in self.attachments.items():
            meta = head(DETACH, 0, attachment, channel)
            self.session.wait(self.session.start(meta, b"", one_way=True))
        self.session.close()


class Connection:
    def __init__(self, process, channel, number):
        self.process, self.channel, self.number = process, channel, number

    def start(self, message, room=0):
        meta = head(MESSAGE, self.number, self.process.attachments[self.channel], self.channel)
        return self.process.session.start(meta, message, room)

    def finish(self, operation):
        """Status and room for the reply, of which the status or the kind of message say how much is used."""
        reply, room = self.process.session.wait(operation)
        if reply.flags & frames.REFUSED:
            raise Refused(reply.status & ~(BY_LIBRARY | NOT_DONE))
        return reply.status, room

    def send(self, message, room=0):
        return self.finish(self.start(message, room))


def head(kind, connection, attachment, channel):
    """The meta of a request that is no pulse; this program sends none."""
    return bytes([kind, PRIORITY, 0, 0, 0, 0, 0, 0]) + b"".join(
        put("u32", number) for number in (connection, attachment, channel, 0)
    )
