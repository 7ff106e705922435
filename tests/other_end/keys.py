"""Section 9 of transport.md: from the secret of a session to the key of one packet."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

TAG = 16
CLIENT, SERVER = b"c2s", b"s2c"


def expand(secret, info, length=32):
    return HKDFExpand(algorithm=SHA256(), length=length, info=info).derive(secret)


class Key:
    """One key of one direction; the next one follows from it."""

    def __init__(self, direction):
        self.direction = direction
        self.cipher = AESGCM(expand(direction, b"key"))
        self.iv = expand(direction, b"iv", 12)

    @classmethod
    def first(cls, session, who):
        return cls(expand(session, who))

    def next(self):
        return Key(expand(self.direction, b"ku"))

    def nonce(self, lane, number):
        counter = bytes(3) + bytes([lane]) + number.to_bytes(8, "big")
        return bytes(a ^ b for a, b in zip(self.iv, counter))

    def seal(self, lane, number, header, body):
        return self.cipher.encrypt(self.nonce(lane, number), body, header)

    def open(self, lane, number, header, body):
        try:
            return self.cipher.decrypt(self.nonce(lane, number), body, header)
        except InvalidTag:
            return None


class Sealing:
    """What this end seals with: moves on when it has sealed `limit` packets and the peer has one of them."""

    def __init__(self, session, who, limit):
        self.key, self.phase, self.limit = Key.first(session, who), 0, limit
        self.sealed, self.proven, self.flips = 0, False, 0

    def turn(self):
        """The phase of the next packet."""
        if self.sealed >= self.limit and self.proven:
            self.key, self.phase = self.key.next(), 1 - self.phase
            self.sealed, self.proven = 0, False
            self.flips += 1
        self.sealed += 1
        return self.phase


class Opening:
    """What this end opens with: the present key, the one before it, and the one that comes."""

    def __init__(self, session, who):
        self.previous, self.key = None, Key.first(session, who)
        self.coming, self.phase = self.key.next(), 0

    def open(self, lane, number, header, body):
        """The frames of an authentic packet, else nothing."""
        if header[1] & 1 == self.phase:
            return self.key.open(lane, number, header, body)
        plain = self.previous and self.previous.open(lane, number, header, body)
        if plain is None:
            plain = self.coming.open(lane, number, header, body)
            if plain is not None:
                self.previous, self.key = self.key, self.coming
                self.coming, self.phase = self.key.next(), 1 - self.phase
        return plain
