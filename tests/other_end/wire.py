"""Values as they stand in messages: little-endian, not aligned, bytes behind a 16-bit length."""

import struct

FORMATS = {"u8": "<B", "u16": "<H", "u32": "<I", "u64": "<Q", "i64": "<q"}


class Malformed(Exception):
    """Bytes that are no message."""


class Reader:
    """Takes values from the front of some bytes."""

    def __init__(self, data):
        self.data = bytes(data)
        self.at = 0

    def __len__(self):
        return len(self.data) - self.at

    def take(self, count):
        if count > len(self):
            raise Malformed("cut short")
        self.at += count
        return self.data[self.at - count : self.at]

    def get(self, *kinds):
        """One value for one kind, else a list of them."""
        values = []
        for kind in kinds:
            values.append(struct.unpack(FORMATS[kind], self.take(struct.calcsize(FORMATS[kind])))[0])
        return values[0] if len(values) == 1 else values

    def flag(self):
        value = self.get("u8")
        if value > 1:
            raise Malformed("a truth value that is neither")
        return value == 1

    def text(self):
        return self.take(self.get("u16"))

    def address(self):
        return self.take(self.get("u8"))

    def list(self, item):
        return [item() for _ in range(self.get("u16"))]

    def rest(self):
        return self.take(len(self))

    def finish(self):
        if len(self):
            raise Malformed(f"{len(self)} bytes too many")


def put(kind, value):
    return struct.pack(FORMATS[kind], value)


def text(value):
    return put("u16", len(value)) + value


def address(value):
    return put("u8", len(value)) + value


def listed(items):
    return put("u16", len(items)) + b"".join(items)
