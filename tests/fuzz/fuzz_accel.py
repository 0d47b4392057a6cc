"""Throw streams at both implementations of the hot loops, and watch that they agree.

    python tests/fuzz/fuzz_accel.py --count 1000000 [--kind deflate] [--seed N] [--workers 2]
    python tests/fuzz/fuzz_accel.py [--kind deflate] --seed N --only CASE

A case is made of the seed and its number alone, so that the second line repeats it. What cases of
the kinds ``deflate``, ``reading`` and ``tls`` are, the modules ``deflate_cases`` and
``reading_cases`` say. In each of the kind ``frames``, the default, some frames are built, and of
these many streams: a frame changed here, a few bytes there. Each stream goes through the parser
in Python and the one in C, in the same pieces, and once more through the one in C, sometimes also
the one in Python, in others. What counts as failure:

- other events, or events of other types, after any piece,
- another error, or none; another answer to whether a frame has begun,
- another end when the stream is split elsewhere.

Masking and serializing are compared as well, a few times in each case.
"""

import argparse
import multiprocessing
import pathlib
import random
import sys
import time
import traceback

# Run as a script, it finds the package and the tests' support next to it.
TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path += [path for path in (str(TESTS.parent), str(TESTS)) if path not in sys.path]

from fuzz import deflate_cases, reading_cases  # noqa: E402
from support.wire import parse_frames  # noqa: E402

from syncws.accel import pure  # noqa: E402

try:
    from syncws.accel import _speedups
except ImportError:  # there was no compiler
    _speedups = None

STREAMS_PER_CASE = 16
MAX_RSS_GROWTH_MIB = 256

# --- what streams are made of ------------------------------------------------------------

CHARACTERS = [
    *[bytes((byte,)) for byte in b"a\x00\x7f\n"],
    *[char.encode() for char in "\x80é\u07ff\u0800€\ud7ff\ue000\uffff\U00010000😀\U0010ffff"],
    *[b"x" * size for size in (7, 8, 9, 15, 31, 32, 33)],
]
BROKEN = [
    *[bytes((lead,)) for lead in (0x80, 0xBF, 0xC0, 0xC1, 0xF5, 0xFF)],
    *[bytes((lead,)) for lead in (0xC2, 0xDF, 0xE0, 0xE2, 0xED, 0xEF, 0xF0, 0xF1, 0xF4)],
    b"\xe0\x9f\xbf",
    b"\xe2\x82",
    b"\xed\xa0",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xed\x9f",
    b"\xf0\x8f\xbf\xbf",
    b"\xf0\x9f",
    b"\xf0\x9f\x98",
    b"\xf4\x8f\xbf",
    b"\xf4\x90\x80\x80",
]
SHORT_SIZES = (0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 17, 20, 31, 32, 33, 40, 64)
EDGE_SIZES = (124, 125, 126, 127, 128, 130, 200, 255, 256, 257, 300)
LONG_SIZES = (4095, 4096, 65534, 65535, 65536, 65537, 70000)
LENGTHS = (0, 1, 5, 124, 125, 126, 127, 128, 255, 256, 65535, 65536, 65537, 1 << 20, 1 << 31)
LENGTHS += (1 << 32, 1 << 40, (1 << 62) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
PLAIN = (0x00, 0x80, 0x01, 0x81, 0x02, 0x82, 0x88, 0x89, 0x8A, 0x09)
FIRST_BYTES = (*PLAIN, *PLAIN, 0x08, 0x0A, 0x40, 0x41, 0x42, 0xC0, 0xC1, 0xC2, 0xC9, 0x10, 0x91)
FIRST_BYTES += (0xA2, 0xF1, 0x70, 0xF0, 0x03, 0x83, 0x87, 0x8B, 0x8F, 0x0F)
LIMITS = (None, None, None, None, 0, 1, 5, 20, 64, 100, 124, 125, 126, 127, 300, 65535, 65536)
HUGE_LIMITS = (1 << 20, 1 << 32, (1 << 63) - 1)
RSV = (0, 0, 0, 0x40, 0x40, 0x10, 0x20, 0x30, 0x60, 0x70)
NOISE = random.Random(0).getrandbits(8 * 140_000).to_bytes(140_000, "big")


def mask(payload, key):
    size = len(payload)
    number = int.from_bytes(payload, "big") ^ int.from_bytes((key * (size // 4 + 1))[:size], "big")
    return number.to_bytes(size, "big")


def build(first, payload, key, size=None, width=None):
    """The bytes of a frame, of the size and in the form of length that are wanted."""
    bit = 0 if key is None else 0x80
    if size is None:
        size = len(payload)
    if width is None:
        width = 0 if size < 126 else 2 if size < 65536 else 8
    if width == 0:
        header = bytes((first, bit | (size & 0x7F)))
    else:
        size &= (1 << 8 * width) - 1
        header = bytes((first, bit | (126 if width == 2 else 127))) + size.to_bytes(width, "big")
    return header + payload if key is None else header + key + mask(payload, key)


def random_bytes(rng, size):
    at = int(rng.random() * 60_000)
    return NOISE[at : at + size]


def random_text(rng, size):
    """UTF-8 of about that size; sometimes none."""
    if size > 1000:
        unit = b"".join(rng.choices(CHARACTERS, k=20))
        text = unit * (size // len(unit) + 1)
        cut = rng.random()
        text = text[:size] if cut < 0.7 else text
    else:
        text = b"".join(rng.choices(CHARACTERS, k=size // 4 + 1)) if size else b""
    if rng.random() < 0.25:
        at = int(rng.random() * (len(text) + 1))
        text = text[:at] + rng.choice(BROKEN) + text[at:]
    return text


def random_size(rng):
    pick = rng.random()
    if pick < 0.9:
        return rng.choice(SHORT_SIZES)
    return rng.choice(EDGE_SIZES)


def random_frames(rng, rsv, long):
    """Frames as (first byte, payload), in an order that makes sense."""
    frames = []
    for _ in range(rng.choice((1, 1, 2, 2, 3))):
        size = rng.choice(LONG_SIZES) if long else random_size(rng)
        long = False
        opcode = rng.choice((1, 1, 2))
        payload = random_text(rng, size) if opcode == 1 else random_bytes(rng, size)
        if rsv and rng.random() < 0.5:
            opcode |= rsv & rng.choice((0x40, 0x70, 0x10))
        cuts = rng.choice((0, 0, 0, 1, 1, 2, 4))
        if cuts:
            ends = sorted(int(rng.random() * (len(payload) + 1)) for _ in range(cuts))
            pieces = [payload[a:b] for a, b in zip([0, *ends], [*ends, len(payload)])]
        else:
            pieces = [payload]
        last = len(pieces) - 1
        for index, piece in enumerate(pieces):
            if rng.random() < 0.12:
                size = rng.choice((0, 1, 4, 20, 125))
                frames.append((rng.choice((0x89, 0x8A)), random_bytes(rng, size)))
            frames.append(((0 if index else opcode) | (0x80 if index == last else 0), piece))
    if rng.random() < 0.15:
        frames.append((0x88, rng.choice((b"", b"\x03\xe8", b"\x03\xe8bye", b"\xff"))))
    return frames


# --- how they are changed ----------------------------------------------------------------


def change_frame(rng, first, payload, key):
    """The bytes of a frame with one thing about it changed."""
    what = int(rng.random() * 9)
    if what <= 1:
        again = rng.random() < 0.3
        return build(int(rng.random() * 256) if again else rng.choice(FIRST_BYTES), payload, key)
    if what == 2:  # a length that lies, or has another form
        size = rng.choice((len(payload), *rng.choices(LENGTHS, k=2)))
        return build(first, payload, key, size, rng.choice((None, 0, 2, 8)))
    if what == 3:
        if rng.random() < 0.7:  # the rest is a stream of its own
            return b"".join(build(*frame, key) for frame in random_frames(rng, 0, False))
        return build(first, payload, b"\1\2\3\4" if key is None else None)
    if what <= 5:
        at = int(rng.random() * (len(payload) + 1))
        broken = rng.choice(BROKEN)
        end = at if what == 4 else at + len(broken)
        return build(first, payload[:at] + broken + payload[end:], key)
    if what == 6:
        return build(first, payload[: int(rng.random() * len(payload))], key)
    if what == 7:
        return build(first, payload + random_text(rng, rng.choice(SHORT_SIZES)), key)
    return build(first ^ 0x80, payload, key)


def change_bytes(rng, data):
    """Bytes of which a few are changed, lost, moved, or there twice."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        # Mostly near the beginning, where the headers are.
        spread = len(data) if rng.random() < 0.5 else min(len(data), 16)
        at = int(rng.random() * (spread + 1))
        end = at + rng.choice((1, 1, 2, 4, 8, 30))
        what = int(rng.random() * 7)
        if what <= 1:
            if at < len(data):
                data[at] ^= 1 << int(rng.random() * 8)
        elif what == 2:
            if at < len(data):
                data[at] = rng.choice((0, 1, 0x7D, 0x7E, 0x7F, 0x80, 0xFE, 0xFF))
        elif what == 3:
            del data[at:end]
        elif what == 4:
            other = int(rng.random() * (len(data) + 1))
            data[at:at] = data[other : other + end - at]
        elif what == 5:
            data[at:at] = random_bytes(rng, end - at)
        else:
            del data[at:]
    return bytes(data)


def random_ends(rng, size):
    """Where the pieces of a stream end, in order; the last is its size."""
    style = rng.random()
    if style < 0.06 and size < 700:
        return range(1, size + 1)
    if style < 0.12 and size < 4000:
        step = rng.choice((2, 3, 5, 7, 33))
        return [*range(step, size, step), size]
    if style < 0.55:
        return (int(rng.random() * (size + 1)), size)
    if style < 0.7:
        # Between two bytes of a header, most likely.
        at = int(rng.random() * min(size + 1, 14))
        return (at, min(size, at + 1), size)
    cuts = sorted([int(rng.random() * (size + 1)) for _ in range(rng.choice((2, 3, 6)))])
    return [*cuts, size]


# --- comparing ---------------------------------------------------------------------------


class Difference(Exception):
    """The implementations disagree."""


def kinds(events):
    return [type(event) if type(event) is not tuple else [*map(type, event)] for event in events]


def differ(what, in_python, in_c, settings, pieces):
    raise Difference(
        f"{what}: {in_python!r:.500} in Python, {in_c!r:.500} in C\n"
        f"settings = {settings!r}\npieces = {pieces!r:.3000}"
    )


def compare(settings, data, ends):
    """Feed both parsers the same pieces; return what came of it."""
    in_python = pure.FrameParser(**settings)
    in_c = _speedups.FrameParser(**settings)
    events, error, start, pieces = [], None, 0, []
    for end in ends:
        piece = data[start:end]
        pieces.append(piece)
        start = end
        some = in_python.receive(piece)
        others = in_c.receive(piece)
        if some or others:
            if some != others or kinds(some) != kinds(others):
                differ("events", some, others, settings, pieces)
            events += others
        error = in_python.error
        if error is not None:
            break
        if in_c.error is not None:
            break
        if in_python.receiving is not in_c.receiving:
            differ("receiving", in_python.receiving, in_c.receiving, settings, pieces)
    if error != in_c.error or (error and kinds([error]) != kinds([in_c.error])):
        differ("error", error, in_c.error, settings, pieces)
    if error is not None:
        for piece in (data[start : start + 8], b"\x81\x00", b""):
            if in_python.receive(piece) or in_c.receive(piece):
                differ("events after an error", None, None, settings, pieces)
        if in_c.error != error:
            differ("error", error, in_c.error, settings, pieces)
        return events, error, None
    return events, None, in_c.receiving


def run_one(parser, data, ends):
    events, start = [], 0
    for end in ends:
        events += parser.receive(data[start:end])
        start = end
    return events, parser.error, parser.receiving if parser.error is None else None


def fuzz_stream(rng, settings, data):
    """Feed a stream in two ways."""
    size = len(data)
    seen = compare(settings, data, random_ends(rng, size))
    # Split elsewhere, and in buffers of another type.
    parser = _speedups.FrameParser(**settings)
    ends = (size,) if rng.random() < 0.4 else random_ends(rng, size)
    again = run_one(parser, memoryview(data), ends)
    if again != seen:
        differ("splits matter", seen, again, settings, (data, ends))
    if rng.random() < 0.3:
        again = run_one(pure.FrameParser(**settings), data, ends)
        if again != seen:
            differ("splits matter in Python", again, seen, settings, (data, ends))


def fuzz_masking(rng, size):
    at = int(rng.random() * 1000)
    data, key = memoryview(NOISE)[at : at + size], random_bytes(rng, 4)
    masked = _speedups.apply_mask(data, key)
    if type(masked) is not bytes or masked != pure.apply_mask(data, key):
        raise Difference(f"apply_mask() of {size} bytes at {at}, key {key!r}")


def fuzz_serializing(rng, size):
    first, kind = rng.choice(FIRST_BYTES), rng.choice((bytes, bytearray, memoryview))
    data = kind(random_bytes(rng, size))
    frame = _speedups.serialize_frame(first, data, False)
    if frame != pure.serialize_frame(first, data, False) or type(frame) is not bytes:
        raise Difference(f"serialize_frame({first}, {data!r:.2000}, False)")
    if size < 5000:
        for module in (_speedups, pure):
            frame = module.serialize_frame(first, data, True)
            if parse_frames(frame, masked=True) != [(first, data)]:
                raise Difference(f"{module}.serialize_frame({first}, {data!r:.2000}, True)")


def random_message(rng, size):
    what = int(rng.random() * 40)
    if what < 20:
        return random_text(rng, size).decode(errors="surrogateescape" if what == 0 else "ignore")
    data = random_bytes(rng, size)
    if what < 30:
        return data
    if what < 34:
        return bytearray(data)
    if what < 39:
        return memoryview(data)[:: rng.choice((1, 1, 2, -1))]
    return rng.choice((None, 1, [], 1.5))


def outcome(function, *args):
    try:
        return function(*args)
    except (TypeError, UnicodeEncodeError) as exc:
        return type(exc), str(exc)


def fuzz_messages(rng):
    messages = [random_message(rng, random_size(rng)) for _ in range(rng.choice((0, 1, 2, 5)))]
    in_python = outcome(pure.serialize_messages, messages, False)
    in_c = outcome(_speedups.serialize_messages, messages, False)
    if in_python != in_c:
        raise Difference(f"serialize_messages({messages!r:.2000}): {in_python} or {in_c}")
    masked = outcome(_speedups.serialize_messages, messages, True)
    if type(in_c) is tuple:
        if masked != in_c:
            raise Difference(f"serialize_messages({messages!r:.2000}, True): {masked} or {in_c}")
    elif parse_frames(masked, masked=True) != parse_frames(in_c, masked=False):
        raise Difference(f"serialize_messages({messages!r:.2000}, True)")


def random_settings(rng, masked, rsv=None):
    settings = {"masked": masked}
    if rng.random() < 0.4:
        settings["max_message"] = rng.choice(LIMITS if rng.random() < 0.9 else HUGE_LIMITS)
        if rng.random() < 0.4:
            settings["max_fragment"] = rng.choice(LIMITS)
    if rsv is not None and rng.random() < 0.9:
        settings["rsv"] = rsv
    elif rng.random() < 0.4:
        settings["rsv"] = rng.choice(RSV)
    if rng.random() < 0.2:
        settings["raw"] = True
    return settings


def run_case(seed, number):
    """Build frames, and feed streams that are made of them."""
    rng = random.Random(seed << 40 | number)
    chance = rng.random
    long = chance() < 0.006
    masked = chance() < 0.5
    settings = random_settings(rng, masked)
    rsv = settings.get("rsv", 0)
    frames = random_frames(rng, rsv, long)
    keys = [random_bytes(rng, 4) if masked else None for _ in frames]
    built = [build(*frame, key) for frame, key in zip(frames, keys)]
    for index in range(STREAMS_PER_CASE):
        # A few streams are like the base, so that all of it is understood.
        parts = list(built)
        if index > 1:
            if index & 3 == 0:
                settings = random_settings(rng, masked ^ (chance() < 0.03), rsv)
            if index % 3 != 2:
                at = int(chance() * len(frames))
                parts[at] = change_frame(rng, *frames[at], keys[at])
        data = b"".join(parts)
        if index > 1 and index % 3:
            data = change_bytes(rng, data)
        fuzz_stream(rng, settings, data)
    fuzz_masking(rng, int(chance() * (70_000 if long else 100)))
    fuzz_serializing(rng, rng.choice(LONG_SIZES) if long else random_size(rng))
    if number % 4 == 0:
        fuzz_messages(rng)


# --- the campaign ------------------------------------------------------------------------

#: What runs a case of each kind.
KINDS = {
    "frames": run_case,
    "deflate": deflate_cases.run_case,
    "reading": reading_cases.run_reading_case,
    "tls": reading_cases.run_tls_case,
}


def run_cases(job):
    """Run the cases of a range; return the failures and the growth of memory in MiB."""
    kind, seed, start, stop = job
    failures = []
    before = max_rss_mib()
    for number in range(start, stop):
        try:
            KINDS[kind](seed, number)
        except Exception:
            failures.append((number, traceback.format_exc()))
    return stop - start, failures, max_rss_mib() - before


def max_rss_mib():
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def jobs(kind, seed, count, size):
    for start in range(0, count, size):
        yield kind, seed, start, min(count, start + size)


def campaign(seed, count, workers=1, report=print, progress=None, kind="frames"):
    """Run cases 0 to ``count``; report failures and return their number."""
    work = jobs(kind, seed, count, 500)
    repeat = f"repeat it: fuzz_accel.py --kind {kind} --seed {seed} --only"
    if workers == 1:
        return collect(repeat, map(run_cases, work), report, progress)
    with multiprocessing.Pool(workers) as pool:
        return collect(repeat, pool.imap_unordered(run_cases, work), report, progress)


def collect(repeat, results, report, progress):
    failed = done = 0
    for count, failures, growth in results:
        for number, trace in failures:
            failed += 1
            if failed <= 20:
                report(f"{trace}{repeat} {number}\n")
        if growth > MAX_RSS_GROWTH_MIB:
            failed += 1
            report(f"memory grew by {growth:.0f} MiB\n")
        done += count
        if progress is not None and done % 25_000 == 0:
            progress(done, failed)
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000, help="how many streams")
    parser.add_argument("--kind", choices=KINDS, default="frames", help="of which kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="how many processes")
    parser.add_argument("--only", type=int, help="repeat this case, with its traceback")
    args = parser.parse_args()
    if _speedups is None:
        sys.exit("syncws.accel._speedups isn't built")
    if args.only is not None:
        KINDS[args.kind](args.seed, args.only)
        print(f"case {args.only} passes")
        return 0
    start = time.monotonic()
    streams_per_case = STREAMS_PER_CASE if args.kind == "frames" else 1
    cases = -(-args.count // streams_per_case)

    def progress(done, failed):
        took = time.monotonic() - start
        streams = done * streams_per_case
        print(f"{streams} streams, {failed} failures, {streams / took:.0f}/s", flush=True)

    failed = campaign(args.seed, cases, args.workers, progress=progress, kind=args.kind)
    took = time.monotonic() - start
    streams = cases * streams_per_case
    print(
        f"{streams} streams in {cases} cases of {args.kind}, seed {args.seed}: {failed} failures,"
        f" {took:.0f} s, {streams / took:.0f}/s, peak {max_rss_mib():.0f} MiB"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
