"""The story: a program without a line of Slashnet's code uses files of another node. See README."""

import argparse
import os
import time

from files import APPEND, CREATE, ENOENT, READ, TRUNCATE, WRITE, Files, Options
from node import GENERATION, PAGE, SIGN_OF_LIFE, Node, Refused, reach

MIB = 1 << 20
LINES = 200


def pattern():
    """1 MiB in which every place has a byte of its own; the test that runs this looks for the same."""
    return bytes((index * 2654435761 & 0xFFFFFFFF) >> 24 for index in range(MIB))


def read_all(file):
    pieces = []
    while piece := file.read(MIB):
        pieces.append(piece)
    return b"".join(pieces)


def page(files, _path):
    """The descriptor that the node hands over leads to its page, and the node lives."""
    node = files.node
    assert os.fstat(node.page).st_size == PAGE
    assert node.page_word(GENERATION) > 0
    silent = time.monotonic_ns() - node.page_word(SIGN_OF_LIFE)
    assert silent < 10 * 10**9, silent
    return f"{PAGE} bytes of {node.name}"


def device(files, path):
    file = files.open(path, READ)
    said = file.read(100)
    file.close()
    assert said == b"hello, world\n", said
    return f"{len(said)} bytes"


def megabyte(files, path):
    """Written by one message and read by one, so that the server pulls and pushes."""
    content = pattern()
    file = files.open(path, READ | WRITE | CREATE | TRUNCATE, 0o644)
    assert file.write(content) == MIB
    assert file.stat().size == MIB
    file.close()
    assert files.stat(path).size == MIB
    file = files.open(path, READ)
    assert read_all(file) == content
    file.close()
    return f"{MIB} bytes there and back"


def lines(files, path):
    """Many messages under way at once, none of which may be carried out twice."""
    file = files.open(path, WRITE | CREATE | TRUNCATE | APPEND, 0o644)
    said = [b"line %03d\n" % number for number in range(LINES)]
    started = [file.connection.start(file.write_message(line)) for line in said]
    for operation, line in zip(started, said):
        assert file.connection.finish(operation)[0] == len(line)
    file.close()
    file = files.open(path, READ)
    there = read_all(file).splitlines(keepends=True)
    file.close()
    assert sorted(there) == said, "a line is missing or there twice"
    return f"{LINES} lines, each once"


def missing(files, path):
    try:
        files.open(path, READ)
    except Refused as refused:
        assert refused.errno == ENOENT, refused
        return "ENOENT"
    raise AssertionError("opened what is not there")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", help="of the node daemon: it has node.sock")
    parser.add_argument("node", help="the other node's name")
    parser.add_argument("--export", default="/srv", help="an export of it, to be written to")
    parser.add_argument("--lose", type=int, default=0, help="lose every n-th packet of each direction, n > 2")
    parser.add_argument("--key", type=int, default=1 << 20, help="packets after which the key is changed")
    parser.add_argument("--packet", type=int, default=65472, help="largest packet to send")
    given = parser.parse_args()
    files = Files(Node(reach(given.directory), b"other_end"), Options(given.lose, given.key, given.packet))
    root = f"/net/{given.node}".encode()
    export = root + given.export.encode()
    for story, path in (
        (page, None),
        (device, root + b"/dev/hello"),
        (megabyte, export + b"/megabyte"),
        (lines, export + b"/lines"),
        (missing, export + b"/missing"),
    ):
        began = time.monotonic()
        said = story(files, path)
        print(f"{story.__name__}: {said}, {time.monotonic() - began:.3f} s", flush=True)
    files.leave()
    count = lambda what: sum(what(lane) for lane in files.lanes)
    print("lost", count(lambda lane: lane.loss.lost))
    print("repeated", count(lambda lane: lane.repeated))
    print("pulled", sum(process.session.pulled for process in files.processes.values()))
    print("keys", count(lambda lane: lane.sealing.flips))
    print("done")


if __name__ == "__main__":
    main()
