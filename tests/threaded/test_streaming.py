"""Messages that are sent as they come: each fragment when it is there."""

import threading

import pytest
from support.kinds import KINDS, pair_of
from support.pairs import SOON, connection_and_socket, receive_exactly, run, wait_until

from syncws import ConnectionClosedError, ConnectionClosedOK
from syncws.sansio.state import Role


@pytest.fixture(params=KINDS)
def pair(request):
    with pair_of(request.param) as pair:
        yield pair


@pytest.fixture(params=["client", "server"])
def ends(request, pair):
    """Who sends, and who receives."""
    return pair if request.param == "client" else pair[::-1]


@pytest.mark.parametrize("pieces", [["a", "b", "c"], [b"a", b"b", b"c"]])
def test_each_fragment_arrives_before_the_next_one_is_asked_for(ends, pieces):
    sender, receiver = ends
    arrived = threading.Semaphore(0)

    def fragments():
        for piece in pieces:
            yield piece
            assert arrived.acquire(timeout=SOON)

    sending = run(sender.send, fragments())
    received = []
    for piece in receiver.recv_streaming():
        received.append(piece)
        arrived.release()
    sending.result()
    assert [piece for piece in received if piece] == pieces


def test_a_generator_may_wait_for_the_peers_answer(ends):
    sender, receiver = ends

    def fragments():
        yield "question"
        yield sender.recv(SOON)

    sending = run(sender.send, fragments())
    stream = receiver.recv_streaming()
    assert next(stream) == "question"
    receiver.send("answer")
    assert "".join(stream) == "answer"
    sending.result()


def test_an_empty_fragment_ends_what_has_no_known_end_and_only_that():
    with connection_and_socket(Role.SERVER) as (ws, peer):
        ws.send(iter(["a"]))
        assert receive_exactly(peer, 5) == b"\x01\x01a\x80\x00"
        ws.send(["a"])
        assert receive_exactly(peer, 3) == b"\x81\x01a"
        ws.send(("a", "b"))
        assert receive_exactly(peer, 6) == b"\x01\x01a\x80\x01b"
        assert ws.stats.messages_sent == 3


def test_close_meanwhile_fails_the_message_and_tells_the_sender(ends):
    sender, receiver = ends
    go_on = threading.Event()

    def fragments():
        yield "a"
        assert go_on.wait(SOON)
        yield "b"

    sending = run(sender.send, fragments())
    stream = receiver.recv_streaming()
    assert next(stream) == "a"
    sender.close()
    go_on.set()
    with pytest.raises(ConnectionClosedError) as caught:
        sending.result()
    assert caught.value.sent.code == 1011
    with pytest.raises(ConnectionClosedError):
        list(stream)
    assert receiver.close_code == 1011


def test_a_generator_that_stops_early_is_a_whole_message_and_one_that_fails_is_none(ends):
    sender, receiver = ends

    def early():
        yield "a"
        return
        yield "b"

    def failing():
        yield "a"
        raise ZeroDivisionError

    sender.send(early())
    assert receiver.recv(SOON) == "a"
    with pytest.raises(ZeroDivisionError):
        sender.send(failing())
    with pytest.raises(ConnectionClosedError):
        receiver.recv(SOON)
    assert receiver.close_code == 1011


def test_fragments_of_a_list_are_checked_before_any_is_sent(ends):
    sender, receiver = ends
    for bad in (["a", b"b"], ["a", 5], ["a", "\ud800"], (b"a", "b")):
        with pytest.raises((TypeError, UnicodeEncodeError)):
            sender.send(bad)
    with pytest.raises(UnicodeDecodeError):
        sender.send([b"a", b"\xff"], text=True)
    assert sender.stats.frames_sent == 0
    sender.send("fine")
    assert receiver.recv(SOON) == "fine"


def test_pings_are_answered_while_a_generator_waits(ends):
    sender, receiver = ends
    go_on = threading.Event()

    def fragments():
        yield "a"
        assert go_on.wait(SOON)

    sending = run(sender.send, fragments())
    stream = receiver.recv_streaming()
    assert next(stream) == "a"
    assert receiver.ping().wait(SOON)
    assert sender.ping().wait(SOON)
    go_on.set()
    sending.result()
    assert "".join(stream) == ""
    sender.close()
    wait_until(lambda: receiver.closed)
    with pytest.raises(ConnectionClosedOK):
        receiver.recv(SOON)
