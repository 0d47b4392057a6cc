"""Deflater, Inflater and the budget for compressors, in both implementations."""

import functools
import gc
import os
import random
import threading
import zlib

import pytest
from support.pairs import SOON, run

from syncws.accel import pure

COST = 1000


def budget(codec, compressors):
    return codec.CompressorBudget(compressors * COST)


def deflater(codec, budget, forgets=False, make=None):
    make = make or functools.partial(zlib.compressobj, 6, zlib.DEFLATED, -15, 8)
    return codec.Deflater(make, zlib.Z_SYNC_FLUSH, budget, COST, forgets)


def inflater(codec, forgets=False):
    return codec.Inflater(functools.partial(zlib.decompressobj, -15), zlib.error, forgets)


TEXT = b"to be, or not to be, that is the question " * 10


# --- compressing ---


@pytest.mark.parametrize("forgets", [False, True])
def test_what_is_deflated_can_be_inflated(codec, forgets):
    sender, receiver = deflater(codec, budget(codec, 1), forgets), inflater(codec, forgets)
    for _ in range(3):
        for payload in (TEXT, b"", b"x", os.urandom(1000), TEXT * 1000):
            compressed = sender.deflate(payload, True)
            assert receiver.inflate(compressed, True, None) == payload


def test_fragments_are_one_message(codec):
    sender, receiver = deflater(codec, budget(codec, 1)), inflater(codec)
    pieces = [(TEXT, False), (b"", False), (TEXT, False), (b"", True), (b"next", True)]
    received = [receiver.inflate(sender.deflate(*piece), piece[1], None) for piece in pieces]
    assert received == [data for data, _ in pieces]


def test_a_message_refers_to_those_before_unless_it_is_to_forget(codec):
    sizes = {}
    for forgets in (False, True):
        sender = deflater(codec, budget(codec, 1), forgets)
        first, second = (len(sender.deflate(TEXT, True)) for _ in range(2))
        sizes[forgets] = first, second
    assert sizes[False][1] < sizes[False][0] / 3
    assert sizes[True][1] == sizes[True][0] == sizes[False][0]


def test_a_message_that_does_not_shrink_is_none_and_the_next_one_does_not_refer_to_it(codec):
    sender, receiver = deflater(codec, budget(codec, 1)), inflater(codec)
    noise = os.urandom(500)
    assert receiver.inflate(sender.deflate_message(TEXT), True, None) == TEXT
    assert sender.deflate_message(noise) is None
    assert sender.deflate_message(b"") is None
    # The peer has seen the noise as it is.
    compressed = sender.deflate_message(noise + TEXT)
    assert receiver.inflate(compressed, True, None) == noise + TEXT


def test_any_buffer_can_be_deflated(codec):
    sender, receiver = deflater(codec, budget(codec, 1)), inflater(codec)
    for data in (bytearray(TEXT), memoryview(TEXT)):
        assert receiver.inflate(sender.deflate(data, True), True, None) == TEXT
        assert receiver.inflate(sender.deflate_message(data), True, None) == TEXT


def test_what_can_not_be_deflated_is_a_type_error(codec):
    sender = deflater(codec, budget(codec, 1))
    for call in (lambda: sender.deflate("text", True), lambda: sender.deflate_message("text")):
        with pytest.raises(TypeError):
            call()


@pytest.mark.parametrize("broken", ["make", "compress", "flush"])
def test_what_a_compressor_raises_is_raised_and_it_is_given_back(codec, broken):
    class Compressor:
        def __init__(self):
            if broken == "make":
                raise MemoryError

        def compress(self, data):
            if broken == "compress":
                raise MemoryError
            return b""

        def flush(self, mode):
            raise MemoryError

    memory = budget(codec, 1)
    sender = deflater(codec, memory, make=Compressor)
    with pytest.raises(MemoryError):
        sender.deflate(TEXT, True)
    assert (memory.used, memory.count) == (0, 0)


# --- the budget ---


def test_those_that_were_used_last_keep_theirs(codec):
    memory = budget(codec, 3)
    assert (memory.limit, memory.used, memory.count, memory.dropped) == (3 * COST, 0, 0, 0)
    senders = [deflater(codec, memory) for _ in range(5)]
    receivers = [inflater(codec) for _ in senders]

    def send(*numbers):
        sizes = []
        for number in numbers:
            compressed = senders[number].deflate(TEXT, True)
            assert receivers[number].inflate(compressed, True, None) == TEXT
            sizes.append(len(compressed))
        return sizes

    *_, full = send(0, 1, 2)
    assert (memory.used, memory.count, memory.dropped) == (3 * COST, 3, 0)
    assert max(send(0, 1, 2)) < full
    assert send(3) == [full]  # and 0 has lost its own
    assert (memory.used, memory.count, memory.dropped) == (3 * COST, 3, 1)
    assert max(send(1, 2, 3)) < full
    assert send(0) == [full]  # instead of 1
    assert max(send(2, 3, 0)) < full
    assert send(1, 4) == [full, full]
    assert memory.dropped == 4


def test_without_room_for_one_each_message_is_compressed_apart(codec):
    memory = codec.CompressorBudget(COST - 1)
    sender, receiver = deflater(codec, memory), inflater(codec)
    sizes = set()
    for _ in range(3):
        compressed = sender.deflate(TEXT, True)
        assert receiver.inflate(compressed, True, None) == TEXT
        assert (memory.used, memory.count) == (0, 0)
        sizes.add(len(compressed))
    assert len(sizes) == 1
    assert memory.dropped == 3


def test_fragments_survive_the_loss_of_a_compressor(codec):
    memory = codec.CompressorBudget(0)
    sender, receiver = deflater(codec, memory), inflater(codec)
    for fin in (False, False, True):
        assert receiver.inflate(sender.deflate(TEXT, fin), fin, None) == TEXT


def test_forgetting_gives_memory_back(codec):
    memory = budget(codec, 3)
    sender = deflater(codec, memory)
    sender.forget()
    sender.deflate(TEXT, True)
    assert memory.count == 1
    sender.forget()
    sender.forget()
    assert (memory.used, memory.count, memory.dropped) == (0, 0, 0)


def test_a_connection_that_has_gone_gives_memory_back(codec):
    memory = budget(codec, 10)
    senders = [deflater(codec, memory) for _ in range(5)]
    for sender in senders:
        sender.deflate(TEXT, True)
    assert memory.count == 5
    del sender, senders[1:4]
    gc.collect()
    assert (memory.used, memory.count) == (2 * COST, 2)
    senders[1].deflate(TEXT, True)
    senders.clear()
    gc.collect()
    assert (memory.used, memory.count) == (0, 0)


def test_ten_thousand_connections_stay_within_the_budget(codec):
    memory = codec.CompressorBudget(100 * COST)
    make = functools.partial(zlib.compressobj, 1, zlib.DEFLATED, -9, 1)
    senders = [deflater(codec, memory, make=make) for _ in range(10_000)]
    receivers = [inflater(codec) for _ in senders]
    rng = random.Random(1)
    for sender, receiver in zip(senders, receivers):
        assert receiver.inflate(sender.deflate(TEXT, True), True, None) == TEXT
        assert memory.used <= memory.limit
    for number in rng.sample(range(10_000), 1000):
        compressed = senders[number].deflate(TEXT, True)
        assert receivers[number].inflate(compressed, True, None) == TEXT
        assert memory.used <= memory.limit
    assert memory.count == 100


def test_threads_share_a_budget(codec):
    memory = budget(codec, 5)
    start = threading.Event()

    def talk():
        senders = [deflater(codec, memory) for _ in range(4)]
        receivers = [inflater(codec) for _ in senders]
        start.wait(SOON)
        for number in range(300):
            compressed = senders[number % 4].deflate(TEXT, True)
            assert receivers[number % 4].inflate(compressed, True, None) == TEXT

    running = [run(talk) for _ in range(4)]
    start.set()
    for each in running:
        each.result(SOON * 2)
    del running, each
    gc.collect()
    assert (memory.used, memory.count) == (0, 0)


# --- inflating ---

FINAL = b"\x03\x00"  # a block with nothing in it that ends the stream


def test_limit_is_for_what_comes_out(codec):
    compressed = deflater(codec, budget(codec, 1)).deflate(bytes(10_000), True)
    assert len(compressed) < 50
    assert inflater(codec).inflate(compressed, True, 10_000) == bytes(10_000)
    assert inflater(codec).inflate(compressed, True, 2**70) == bytes(10_000)
    assert inflater(codec).inflate(compressed, True, 9_999) == (1009, None, 9_999, None)
    assert inflater(codec).inflate(compressed, True, 0) == (1009, None, 0, None)


def test_broken_data_says_why(codec):
    code, text, cause = inflater(codec).inflate(b"\x07\xff", True, None)
    assert code == 1002
    assert (
        text == "compressed data is broken: Error -3 while decompressing data: invalid block type"
    )
    assert isinstance(cause, zlib.error)


def test_streams_may_end_in_a_message_but_not_too_often(codec):
    assert inflater(codec).inflate(FINAL * 15 + b"\x00", True, None) == b""
    assert inflater(codec).inflate(FINAL * 17, True, None) == (
        1002,
        "compressed data has too many final blocks",
    )


def test_no_object_is_made_for_nothing(codec):
    made = []
    receiver = codec.Inflater(lambda: made.append(1), zlib.error, False)
    assert receiver.inflate(b"", True, None) == b""
    assert receiver.inflate(b"\x00", True, None) == b""
    assert made == []


def test_strange_arguments_are_errors(codec):
    with pytest.raises(ValueError, match="negative"):
        inflater(codec).inflate(b"x", True, -1)
    with pytest.raises(TypeError):
        inflater(codec).inflate("x", True, None)


def test_strange_objects_are_no_crash():
    codec = pytest.importorskip("syncws.accel._speedups")

    class Strange:
        eof = True
        unused_data = None

        def decompress(self, *args):
            return b"x"

    class Stranger(Strange):
        def decompress(self, *args):
            return "x"

    for kind in (Strange, Stranger):
        with pytest.raises(TypeError):
            codec.Inflater(kind, zlib.error, False).inflate(b"x", True, None)


# --- both alike ---


@pytest.mark.parametrize("seed", range(30))
def test_both_implementations_give_the_same_bytes(seed):
    c = pytest.importorskip("syncws.accel._speedups")
    rng = random.Random(seed)
    budgets = [codec.CompressorBudget(COST * 2) for codec in (c, pure)]
    forgets = rng.random() < 0.3
    pairs = [
        [deflater(codec, memory, forgets) for codec, memory in zip((c, pure), budgets)]
        for _ in range(3)
    ]
    inflaters = [[inflater(codec, forgets) for codec in (c, pure)] for _ in range(3)]
    for _ in range(60):
        number = rng.randrange(3)
        data = rng.choice(
            [TEXT, rng.randbytes(rng.randrange(300)), b"", TEXT[: rng.randrange(400)]]
        )
        one, other = (sender.deflate_message(data) for sender in pairs[number])
        assert one == other
        if one is not None:
            if rng.random() < 0.1:
                position = rng.randrange(len(one))
                one = one[:position] + rng.randbytes(1) + one[position + 1 :]
            limit = rng.choice([None, 100, 5000])
            one, other = (receiver.inflate(one, True, limit) for receiver in inflaters[number])
            assert one[:2] == other[:2]
            assert type(one) is type(other)
        if rng.random() < 0.05:
            for sender in pairs[number]:
                sender.forget()
        state = [(b.used, b.count, b.dropped) for b in budgets]
        assert state[0] == state[1]
