"""Compressed payloads, and what to compress, for the codecs of both implementations.

A case is a stream of frames for two inflaters, or a sequence of calls of some deflaters that share
a budget. Compressing costs most: so messages are compressed once for all cases of a seed, and
combined, dressed and damaged by each.
"""

import functools
import random
import zlib

from fuzz.streams import Failure, check, damage_bytes, split

from syncws.accel import pure

try:
    from syncws.accel import _speedups
except ImportError:  # there was no compiler
    _speedups = None

TAIL = b"\x00\x00\xff\xff"

# Whole streams, as their last block is final: empty ones, and one with a byte.
FINALS = (b"\x03\x00", b"\x01\x00\x00\xff\xff", b"\x4b\x04\x00", b"\x01\x01\x00\xfe\xff!")

WORDS = [
    *(b"the quick brown fox jumps over the lazy dog".split()),
    *(
        b'{"id": 1',
        b'"price": 17.25',
        b"null}",
        b"[0, 1, 2]",
        b"\r\n",
        "aé€😀".encode(),
        b"\xff\xfe",
    ),
]
SIZES = (0, 1, 2, 5, 20, 20, 60, 60, 100, 125, 126, 300, 600, 1000, 4000)
LARGE_SIZES = (33_000, 66_000, 300_000)
LEVELS = (0, 1, 1, 1, 6, 9)
STRATEGIES = (zlib.Z_DEFAULT_STRATEGY,) * 3 + (zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_FIXED)
FLUSHES = (zlib.Z_SYNC_FLUSH, zlib.Z_SYNC_FLUSH, zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH)

SERIES = 400
PIECES = 2000

# --- compressed messages -----------------------------------------------------------------


def random_data(rng, size):
    """Bytes that can be compressed, more or less."""
    style = rng.random()
    if style < 0.2:
        return rng.getrandbits(8 * size).to_bytes(size, "big") if size else b""
    if style < 0.3:
        return bytes((rng.randrange(256),)) * size
    words = rng.choices(WORDS, k=min(size, 2000) // 4 + 1)
    data = b" ".join(words)
    return (data * (size // len(data) + 1))[:size]


def compress_series(rng):
    """A window, and messages that a connection sends one after the other: plain, compressed."""
    bits = rng.choice((9, 9, 10, 12, 14, 15, 15))
    deflater = zlib.compressobj(
        rng.choice(LEVELS), zlib.DEFLATED, -bits, rng.choice((1, 8, 9)), rng.choice(STRATEGIES)
    )
    messages = []
    for _ in range(rng.choice((2, 5, 10))):
        size = rng.choice(SIZES if rng.random() < 0.98 else LARGE_SIZES)
        data = random_data(rng, size)
        pieces = split(rng, data, rng.choice((0, 0, 0, 1, 3)))  # each has a block, or several
        blocks = [
            deflater.compress(piece) + deflater.flush(rng.choice(FLUSHES)) for piece in pieces
        ]
        compressed = b"".join(blocks)
        messages.append((data, compressed[:-4] if compressed else b"\x00"))
    return bits, messages


@functools.lru_cache(maxsize=4)
def all_series(seed):
    rng = random.Random(f"deflate/{seed}")
    return [compress_series(rng) for _ in range(SERIES)]


@functools.lru_cache(maxsize=4)
def all_data(seed):
    rng = random.Random(f"data/{seed}")
    sizes = [rng.choice(SIZES if rng.random() < 0.998 else LARGE_SIZES) for _ in range(PIECES)]
    return [random_data(rng, size) for size in sizes]


def dress(rng, data, compressed):
    """Change a compressed message; return its meaning, ``None`` if it may have none, and it."""
    what = rng.randrange(8)
    if what == 0:  # with empty blocks that do not need to travel
        return data, compressed + (TAIL + b"\x00") * rng.choice((1, 1, 2))
    if what == 1:
        return None, compressed + rng.choice((TAIL, TAIL * 2, b"\x00"))
    if what == 2:
        return None, rng.choice((b"", b"\x00", TAIL, b"\x00" + TAIL))
    if what == 3:
        final = rng.choice(FINALS)
        return data + zlib.decompress(final, -15), compressed + TAIL + final + b"\x00"
    if what == 4:  # more streams than there may be, some of the time
        final, count = rng.choice(FINALS), rng.choice((1, 2, 14, 15, 16, 17, 18, 40))
        return None, compressed + TAIL + final * count + rng.choice((b"", b"\x00", compressed))
    if what == 5:
        return None, rng.choice(FINALS) + compressed
    if what == 6:
        return None, compressed[: rng.randrange(len(compressed) + 1)]
    return None, damage_bytes(rng, compressed)


def random_limit(rng, size):
    """The most that a frame may inflate to."""
    pick = rng.random()
    if pick < 0.6:
        return None
    if pick < 0.9:
        return max(0, size + rng.choice((-1, 0, 1, 100, 1 << 20)))
    return rng.choice((0, 1, 20, 1 << 31, (1 << 63) - 2, (1 << 63) - 1, -1))


# --- inflating ---------------------------------------------------------------------------


def outcome(function, *args):
    """What a call returns or raises, in a form that can be compared."""
    try:
        result = function(*args)
    except (ValueError, MemoryError) as exc:
        return type(exc), exc.args
    if type(result) is tuple:
        shown = (*result[:2], *(describe(value) for value in result[2:]))
        return tuple, tuple(map(type, result)), shown
    return type(result), result


def describe(value):
    return (type(value), value.args) if isinstance(value, BaseException) else value


def differ(what, in_python, in_c, settings, calls):
    raise Failure(
        f"{what}: {in_python!r:.500} in Python, {in_c!r:.500} in C\n"
        f"settings = {settings!r}\ncalls = {calls!r:.3000}"
    )


def fuzz_inflating(rng, series):
    """Feed two inflaters the same frames."""
    bits, forgets = rng.choice((8, 9, 12, 15, 15, 15)), rng.random() < 0.3
    make = functools.partial(zlib.decompressobj, -max(bits, 9))
    in_python = pure.Inflater(make, zlib.error, forgets)
    in_c = _speedups.Inflater(make, zlib.error, forgets)
    used_bits, messages = rng.choice(series)
    honest = used_bits <= max(bits, 9) and not forgets  # it will be understood
    if forgets or rng.random() < 0.05:  # first ones of a connection, mostly
        messages = [rng.choice(rng.choice(series)[1][: rng.choice((1, 1, 10))]) for _ in range(3)]
        honest = False
    calls = []
    for data, compressed in messages[: rng.choice((1, 2, 4, 10))]:
        meaning = data
        if rng.random() < 0.25:
            meaning, compressed = dress(rng, data, compressed)
        honest = honest and meaning is not None
        frames = split(rng, compressed, rng.choice((0, 0, 0, 0, 1, 2, 4)))
        received = []
        for number, payload in enumerate(frames):
            call = (payload, number == len(frames) - 1, random_limit(rng, len(data)))
            calls.append(call)
            first, second = outcome(in_python.inflate, *call), outcome(in_c.inflate, *call)
            if first != second:
                differ("inflate()", first, second, (bits, forgets), calls)
            if first[0] is not bytes:
                if first[0] is tuple and rng.random() < 0.8:  # nobody goes on
                    return
                honest = False
            received.append(first[1])
        if honest:
            check(b"".join(received) == meaning, f"{received!r:.500} is not {meaning!r:.500}")
            honest = meaning == data  # else a stream has ended, to which others may refer


# --- deflating ---------------------------------------------------------------------------


class Breaks:
    """A compressor without memory from some call on."""

    def __init__(self, make, calls):
        self._compressor, self._left = make(), calls

    def compress(self, data):
        self._call()
        return self._compressor.compress(data)

    def flush(self, mode):
        self._call()
        return self._compressor.flush(mode)

    def _call(self):
        self._left -= 1
        if self._left < 0:
            raise MemoryError("for one")


class Sender:
    """A deflater in each implementation, and the peer that receives what they send."""

    def __init__(self, rng, budgets):
        bits, memory_level = rng.choice(((9, 1), (9, 1), (10, 1), (12, 5), (15, 8)))
        self.settings = (rng.choice((1, 6)), zlib.DEFLATED, -bits, memory_level)
        make = functools.partial(zlib.compressobj, *self.settings)
        if rng.random() < 0.03:
            make = functools.partial(Breaks, make, rng.randrange(9))
        cost, forgets = rng.choice((1, 1000, 1000, 3000)), rng.random() < 0.2
        self.settings += (cost, forgets)
        self.deflaters = [
            module.Deflater(make, zlib.Z_SYNC_FLUSH, budget, cost, forgets)
            for module, budget in zip((pure, _speedups), budgets)
        ]
        self._window, self._forgets = -bits, forgets
        self._inflater = None

    def call(self, name, *args):
        return [outcome(getattr(deflater, name), *args) for deflater in self.deflaters]

    def check_received(self, data, compressed, fin):
        """Check that the peer understands a frame."""
        if self._inflater is None:
            self._inflater = zlib.decompressobj(self._window)
        inflated = self._inflater.decompress(compressed + (TAIL if fin else b""))
        check(inflated == data, f"{data!r:.500} was sent, {inflated!r:.500} is received")
        if fin and self._forgets:
            self._inflater = None


def count_used(budget):
    return budget.limit, budget.used, budget.count, budget.dropped


def fuzz_deflating(rng, pieces):
    """Make two families of deflaters compress the same, within the same memory."""
    limit = rng.choice((0, 1, 999, 1000, 1000, 2000, 3500, 10_000))
    budgets = [module.CompressorBudget(limit) for module in (pure, _speedups)]
    senders = [Sender(rng, budgets) for _ in range(rng.choice((1, 2, 2, 4)))]
    settings = limit, [sender.settings for sender in senders]
    last = rng.choice(pieces)
    calls = []
    for _ in range(rng.choice((2, 4, 8, 12))):
        index = rng.randrange(len(senders))
        sender = senders[index]
        if rng.random() < 0.7:
            last = rng.choice(pieces)
        data = rng.choice((bytes, bytes, bytes, bytearray, memoryview))(last)
        what = rng.randrange(20)
        if what < 9:
            call, fin = ("deflate_message", data), True
        elif what < 16:
            fin = rng.random() < 0.6
            call = ("deflate", data, fin)
        elif what < 19:
            call = ("forget",)
        else:
            call = ("replace",)
        calls.append((index, *call))
        if call[0] == "replace":
            sender = None
            senders[index] = Sender(rng, budgets)
            settings[1].append(senders[index].settings)
        else:
            first, second = sender.call(*call)
            if first != second:
                differ(call[0] + "()", first, second, settings, calls)
            if first[0] is bytes:
                sender.check_received(last, first[1], fin)
        used = [count_used(budget) for budget in budgets]
        if used[0] != used[1]:
            differ("the budget", *used, settings, calls)
        check(budgets[1].used <= limit, f"{used[1]} is over the limit")
    del sender
    senders.clear()
    for budget in budgets:
        check((budget.used, budget.count) == (0, 0), f"{count_used(budget)} after the end")


def run_case(seed, number):
    """One case of either kind, made of the seed and its number."""
    rng = random.Random(seed << 40 | number)
    if rng.random() < 0.75:
        fuzz_inflating(rng, all_series(seed))
    else:
        fuzz_deflating(rng, all_data(seed))
