"""Which connections the timekeeper looks at: those that C code can't tell to need nothing."""

import pytest
from support.kinds import KINDS, pair_of
from support.pairs import SOON, run, wait_until

from syncws.accel import IMPLEMENTATION, pure, unattended

in_c = pytest.mark.skipif(IMPLEMENTATION == "pure", reason="Python looks at all")


@pytest.fixture(params=KINDS)
def pair(nobody_looks, request):
    with pair_of(request.param) as pair:
        yield pair


@pytest.fixture
def read(pair):
    """A connection that a thread reads from, as handlers do."""
    client, server = pair
    receiving = run(server.recv)
    wait_until(lambda: not server._role_is_free)
    yield server
    client.send("end")
    receiving.result()


@in_c
@pytest.mark.parametrize("thoroughly", [False, True])
def test_connection_that_a_thread_reads_from_needs_nothing(read, thoroughly):
    for _ in range(3):
        assert unattended([read], thoroughly) == []


@in_c
@pytest.mark.parametrize("thoroughly", [False, True])
def test_connection_that_nobody_reads_from_needs_a_look_after_the_second(pair, thoroughly):
    client, server = pair
    client.send("x")
    assert server.recv(SOON) == "x"
    if server._direct:
        assert unattended([server], thoroughly) == []  # somebody has read just now
    assert unattended([server], thoroughly) == [server]
    assert unattended([server], thoroughly) == [server]  # until it was looked at


def needs_a_look(connection):
    """Whether a thorough look finds something; one that isn't never does, while it is read from."""
    assert unattended([connection], False) == []
    return unattended([connection], True) == [connection]


@in_c
def test_connection_with_output_needs_a_look(read):
    with read._state_lock:
        read.protocol.send_pong(b"x")
    assert needs_a_look(read)
    read.flush(SOON)
    assert not needs_a_look(read)


@in_c
def test_connection_with_a_backlog_needs_a_look(read):
    with read._writer.lock:
        read._transport.backlog.extend(b"\x81\x00")
        assert needs_a_look(read)
    read.flush(SOON)
    assert not needs_a_look(read)


@in_c
def test_connection_with_messages_for_whoever_waits_needs_a_look(read):
    queue = read._queue
    queue.put(["x"])
    queue.waiting += 1
    assert needs_a_look(read)
    queue.waiting -= 1
    assert not needs_a_look(read)
    assert read.recv(SOON) == "x"


@in_c
def test_connection_that_is_closing_needs_a_look(pair):
    client, server = pair
    reading = run(server.recv)
    wait_until(lambda: not server._role_is_free)
    server._begin_close(1000, "", SOON)
    assert needs_a_look(server)
    client.close()
    with pytest.raises(Exception, match="1000"):
        reading.result()
    assert server.wait_closed(SOON)
    assert unattended([server], False) == [server]  # it is read from no more


@in_c
def test_state_that_can_not_be_told_needs_a_look(read, monkeypatch):
    protocol = type(read.protocol)
    monkeypatch.setattr(protocol, "state", property(lambda self: 1 / 0), raising=False)
    assert needs_a_look(read)
    monkeypatch.undo()
    assert not needs_a_look(read)


def test_what_is_no_connection_needs_a_look():
    things = [object(), None]
    assert unattended(things, False) == things
    assert pure.unattended(things, False) == things


@in_c
def test_only_lists_are_taken():
    with pytest.raises(TypeError, match="list"):
        unattended((), False)
