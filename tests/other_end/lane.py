"""Sections 2, 5 and 7 of transport.md: packets over one link, numbered, sealed, acknowledged, and lost."""

import time
from collections import namedtuple

import frames
from wire import put

HEADER, TAG, SESSION = 16, 16, 0x25
ACKNOWLEDGE_NOW = 0x02
SEEN = 4096
WORDS = 8
OWED_MAX = 64
REORDERED = 3
QUIET_KINDS = (frames.Ack, frames.OpStat, frames.Query, frames.Pong, frames.Close)

Sent = namedtuple("Sent", "at contents")


class Window:
    """How much may be under way: any controller that yields to loss will do."""

    def __init__(self):
        self.packets, self.floor = 32.0, 0
        self.smoothed, self.variation = 0.01, 0.005

    def measured(self, sample):
        self.variation += (abs(self.smoothed - sample) - self.variation) / 4
        self.smoothed += (sample - self.smoothed) / 8

    def probe_timeout(self, times):
        timeout = self.smoothed + max(4 * self.variation, 0.0005) + 0.001
        return min(min(max(timeout, 0.002), 0.2) * 2**times, 1.0)

    def grown(self):
        self.packets = min(self.packets + 1 / self.packets, 256.0)

    def shrunk(self, lost, next_number):
        """Once for all that was under way together."""
        if lost >= self.floor:
            self.packets, self.floor = max(self.packets / 2, 4.0), next_number


class Loss:
    """Loses every n-th packet of each direction; n of 0 loses none."""

    def __init__(self, every):
        self.every, self.counts, self.lost = every, {"in": 0, "out": 0}, 0

    def takes(self, way):
        self.counts[way] += 1
        hit = self.every > 0 and self.counts[way] % self.every == 0
        self.lost += hit
        return hit


class Lane:
    def __init__(self, row, sessions, udp, keys, loss):
        self.id, self.largest_packet = row.id, row.mtu
        self.local, self.peer = sessions
        self.udp, (self.sealing, self.opening), self.loss = udp, keys, loss
        self.next_number, self.sent, self.window = 0, {}, Window()
        self.largest, self.seen, self.largest_at = -1, 0, 0.0
        self.owed, self.probes, self.first_of_phase, self.repeated = 0, 0, 0, 0
        # Since when an answer is wanted, while nothing comes.
        self.waiting = None

    # What goes out.

    def room(self):
        return self.largest_packet - HEADER - TAG

    def is_open(self, more=0):
        return len(self.sent) + more < self.window.packets

    def acknowledgement(self):
        """The frame that says what has come, if anything has."""
        if self.largest < 0:
            return None
        delay = int((time.monotonic() - self.largest_at) / 8e-6)
        bits, words = self.seen >> 1, []
        while bits and len(words) < WORDS:
            words.append(bits & (1 << 64) - 1)
            bits >>= 64
        return frames.Ack(self.id, self.largest, min(delay, 0xFFFF), words)

    def send(self, packed, contents, flags=0):
        """One packet of these frames; `contents` is what must be said again if it is lost."""
        number, phase = self.next_number, self.sealing.turn()
        if self.sealing.sealed == 1:
            self.first_of_phase = number
        header = bytes([SESSION, self.id << 4 | flags | phase])
        body = b"".join(frames.encode(frame) for frame in packed)
        header += put("u16", len(body) + TAG) + put("u32", self.peer) + put("u64", number)
        packet = header + self.sealing.key.seal(self.id, number, header, body)
        self.next_number += 1
        self.owed = 0
        if contents:
            self.sent[number] = Sent(time.monotonic(), contents)
        if any(is_asking(frame) for frame in packed) and self.waiting is None:
            self.waiting = time.monotonic()
        if not self.loss.takes("out"):
            self.udp.send(packet)

    # What comes in.

    def receive(self, packet):
        """The frames of a packet that is new and authentic, else none. Nothing else is answered or even noticed."""
        if self.loss.takes("in") or len(packet) < HEADER + TAG or packet[0] != SESSION:
            return []
        length = int.from_bytes(packet[2:4], "little")
        session, number = int.from_bytes(packet[4:8], "little"), int.from_bytes(packet[8:16], "little")
        body = packet[HEADER : HEADER + length]
        if session != self.local or packet[1] >> 4 != self.id or len(body) < length or self.is_seen(number):
            return []
        plain = self.opening.open(self.id, number, packet[:HEADER], body)
        if plain is None:
            return []
        is_late = number != self.largest + 1
        self.remember(number)
        came = frames.decode(plain)
        if any(is_eliciting(frame) for frame in came):
            at_once = is_late or packet[1] & ACKNOWLEDGE_NOW
            self.owed += OWED_MAX if at_once else 1
        return came

    def is_seen(self, number):
        below = self.largest - number
        return below >= SEEN or (below >= 0 and self.seen >> below & 1 == 1)

    def remember(self, number):
        self.waiting = None
        if number > self.largest:
            self.seen = (self.seen << number - self.largest | 1) & (1 << SEEN) - 1
            self.largest, self.largest_at = number, time.monotonic()
        else:
            self.seen |= 1 << self.largest - number

    # What is learned from acknowledgements and silence. Each returns the contents to be said again.

    def acknowledged(self, ack):
        """What an acknowledgement says of packets of this lane."""
        if ack.largest >= self.next_number:
            raise frames.Malformed("an acknowledgement of what was never sent")
        numbers = [ack.largest]
        for k, word in enumerate(ack.words):
            numbers += [ack.largest - 1 - 64 * k - i for i in range(64) if word >> i & 1]
        now = time.monotonic()
        if ack.largest in self.sent:
            self.window.measured(max(now - self.sent[ack.largest].at - ack.delay * 8e-6, 1e-5))
        arrived = []
        for number in numbers:
            self.sealing.proven |= number >= self.first_of_phase
            if number in self.sent:
                arrived += self.sent.pop(number).contents
                self.window.grown()
                self.probes = 0
        patience = max(self.window.smoothed * 9 / 8, 100e-6)
        lost = [
            number
            for number, sent in self.sent.items()
            if number < ack.largest and (number <= ack.largest - REORDERED or sent.at + patience < now)
        ]
        if lost:
            self.window.shrunk(max(lost), self.next_number)
        return arrived, self.take_back(lost)

    def take_back(self, numbers):
        self.repeated += len(numbers)
        return [content for number in numbers for content in self.sent.pop(number).contents]

    def probe_at(self):
        """When silence has lasted too long, or nothing if nobody is asked."""
        if not self.sent:
            return None
        newest = max(sent.at for sent in self.sent.values())
        return newest + self.window.probe_timeout(self.probes)

    def probe(self):
        """The two oldest packets' contents, or all from the third time on."""
        self.probes += 1
        oldest = sorted(self.sent)
        return self.take_back(oldest if self.probes >= 3 else oldest[:2])


def is_asking(frame):
    return is_eliciting(frame) or isinstance(frame, frames.Query)


def is_eliciting(frame):
    if isinstance(frame, frames.Reply):
        return not frame.flags & frames.QUIET
    return not isinstance(frame, QUIET_KINDS)
