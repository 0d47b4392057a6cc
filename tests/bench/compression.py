#!/usr/bin/env python3
"""Measure what compressing messages costs and saves, with all settings that are worth a look.

    python tests/bench/compression.py
    python tests/bench/compression.py --only market,chat --backend zlib --json figures.json

The defaults of ``Deflate()`` were chosen with it. Every message is compressed as permessage-deflate
does, raw and flushed: alone, with a compressor of its own, as without context takeover; and in a
stream, after those before it. A line for each corpus, size and setting has the microseconds of CPU
time that deflating and inflating one message take, at best of some rounds, the size of what comes
out in percent, and the KiB of memory that the compressor takes.

Backends are zlib, and zlib-ng and isal if they are installed. The levels of isal are its own, from
0 to 3, and it takes its memory as it likes.
"""

import argparse
import importlib
import itertools
import json
import pathlib
import sys
import time
import tracemalloc

import corpora
from compare import names_from

BACKENDS = {"zlib": "zlib", "zlib-ng": "zlib_ng.zlib_ng", "isal": "isal.isal_zlib"}
LEVELS = (1, 2, 3, 6)
ISAL_LEVELS = (0, 1, 2, 3)
WINDOW_BITS = (12, 15)
MEMORY_LEVELS = (5, 8, 9)
MODES = ("alone", "stream")

#: Bytes that are compressed for one figure, and the most and the fewest messages of these.
AMOUNT, MOST, FEWEST = 1 << 18, 200, 2


def load_backends(names):
    """The modules of those that are here; the others get a line that says why not."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.import_module(BACKENDS[name])
        except ImportError as exc:
            print(f"{name}: skipped: {exc}")
    return found


def settings(name):
    """Levels, window bits and memory levels to try."""
    levels = ISAL_LEVELS if name == "isal" else LEVELS
    return itertools.product(levels, WINDOW_BITS, MEMORY_LEVELS)


class Setting:
    """A backend, and what a compressor is made with."""

    def __init__(self, module, level, window_bits, memory_level):
        self.module = module
        self.arguments = (level, module.DEFLATED, -window_bits, memory_level)
        self.window_bits = window_bits

    def compress(self, compressor, message):
        return compressor.compress(message) + compressor.flush(self.module.Z_SYNC_FLUSH)

    def deflate(self, messages, mode):
        """All of them, compressed."""
        if mode == "alone":
            make, arguments = self.module.compressobj, self.arguments
            return [self.compress(make(*arguments), message) for message in messages]
        compressor = self.module.compressobj(*self.arguments)
        return [self.compress(compressor, message) for message in messages]

    def inflate(self, pieces):
        """All of them, inflated. One inflater does: messages that stand alone suit it, too."""
        inflater = self.module.decompressobj(-self.window_bits)
        return [inflater.decompress(piece) for piece in pieces]

    def memory(self, message):
        """The KiB that a compressor takes once it has compressed a message."""
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            compressor = self.module.compressobj(*self.arguments)
            self.compress(compressor, message)
            return (tracemalloc.get_traced_memory()[0] - before) / 1024
        finally:
            tracemalloc.stop()


def timed(rounds, function, *arguments):
    """The least seconds of CPU time that a call takes, and what it returns."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        result = function(*arguments)
        best = min(best, time.process_time() - start)
    return best, result


def measure(setting, messages, mode, rounds):
    """The figures of a line."""
    number = len(messages)
    deflating, pieces = timed(rounds, setting.deflate, messages, mode)
    inflating, texts = timed(rounds, setting.inflate, pieces)
    if texts != messages:
        raise AssertionError("what comes out isn't what went in")
    return {
        "deflate": deflating / number * 1e6,
        "inflate": inflating / number * 1e6,
        # The last four bytes of each are not sent.
        "percent": 100 * (sum(map(len, pieces)) - 4 * number) / sum(map(len, messages)),
        "memory": setting.memory(messages[0]),
    }


# --- the command -------------------------------------------------------------------

COLUMNS = "{:10} {:>8} {:6} {:7} {:>5} {:>6} {:>8} {:>10} {:>10} {:>7} {:>7}"
HEADINGS = COLUMNS.format(
    *("corpus", "bytes", "mode", "backend", "level", "window", "memLevel"),
    *("deflate us", "inflate us", "size %", "KiB"),
)


def print_line(line):
    figures = [f"{line[key]:.1f}" for key in ("deflate", "inflate", "percent", "memory")]
    keys = ("corpus", "size", "mode", "backend", "level", "window_bits", "memory_level")
    print(COLUMNS.format(*(line[key] for key in keys), *figures), flush=True)


def run(options):
    """Measure and print; return the lines."""
    backends = load_backends(options.backend)
    rounds, amount = (1, 1 << 12) if options.quick else (7, AMOUNT)
    lines = []
    print(HEADINGS)
    for corpus in options.only:
        for size in corpora.CORPORA[corpus][1]:
            number = max(FEWEST, min(MOST, amount // size))
            messages = corpora.messages(corpus, size, number)
            for mode, (name, module) in itertools.product(MODES, backends.items()):
                for level, window_bits, memory_level in settings(name):
                    setting = Setting(module, level, window_bits, memory_level)
                    line = {"corpus": corpus, "size": size, "mode": mode, "backend": name}
                    line.update(level=level, window_bits=window_bits, memory_level=memory_level)
                    line.update(measure(setting, messages, mode, rounds))
                    lines.append(line)
                    print_line(line)
    return lines


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only",
        type=names_from(corpora.CORPORA, "corpus"),
        default=list(corpora.CORPORA),
        metavar="CORPUS,...",
    )
    parser.add_argument(
        "--backend",
        type=names_from(BACKENDS, "backend"),
        default=list(BACKENDS),
        metavar="NAME,...",
    )
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write figures there")
    parser.add_argument(
        "--quick", action="store_true", help="next to no work: times that mean nothing"
    )
    return parser.parse_args()


def main():
    options = parse_arguments()
    try:
        lines = run(options)
    except KeyboardInterrupt:
        return 130
    if options.json:
        options.json.write_text(json.dumps(lines, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
