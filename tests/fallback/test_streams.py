"""The two streams of a session."""

from syncws.fallback.streams import Incoming, Outgoing


def test_what_goes_out_is_kept_until_it_is_acknowledged():
    outgoing = Outgoing()
    outgoing.append(b"abcdef")
    assert (outgoing.position, len(outgoing)) == (6, 6)
    assert outgoing.take(0, 4) == outgoing.take(0, 4) == b"abcd"
    assert outgoing.acknowledge(2)
    assert outgoing.take(2, 100) == b"cdef"
    assert (outgoing.acknowledged, outgoing.position, len(outgoing)) == (2, 6, 4)
    outgoing.append(memoryview(b"gh"))
    assert outgoing.take(5, 2) == b"fg"
    assert outgoing.take(8, 2) == b""
    assert outgoing.end is None
    outgoing.finish()
    assert outgoing.end == 8


def test_nobody_can_acknowledge_what_was_not_sent_or_take_it_back():
    outgoing = Outgoing()
    outgoing.append(b"abc")
    assert not outgoing.acknowledge(4)
    assert outgoing.acknowledge(2)
    assert not outgoing.acknowledge(1)
    assert outgoing.take(2, 10) == b"c"


def test_what_comes_again_is_cut_off():
    incoming = Incoming()
    assert bytes(incoming.cut(0, b"abc")) == b"abc"
    incoming.position = 3
    assert bytes(incoming.cut(0, b"abc")) == b""
    assert bytes(incoming.cut(1, b"bcde")) == b"de"
    assert not incoming.is_gap(3)
    assert incoming.is_gap(4)
