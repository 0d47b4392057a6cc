"""HTTP requests over a connection that is kept."""

import contextlib
import threading

import pytest
from support.pairs import SOON, run
from support.scripted import read_head, scripted_server

from syncws import InvalidMessage
from syncws.client.dial import dial
from syncws.client.http_link import HttpLink
from syncws.sansio.http_parser import MAX_BODY_SIZE
from syncws.threaded import lifecycle
from syncws.threaded.deadline import Deadline

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"


class Dialing:
    """Connects to a port; counts how often."""

    def __init__(self, server):
        self.port = server.port
        self.count = 0
        self.timeouts = []

    def __call__(self, deadline):
        self.count += 1
        self.timeouts.append(deadline.remaining())
        return dial("127.0.0.1", self.port, None, deadline)


@contextlib.contextmanager
def linked(script):
    before = set(lifecycle.alive())
    with scripted_server(script) as server:
        dialing = Dialing(server)
        link = HttpLink(dialing)
        try:
            yield link, dialing
        finally:
            link.drop()
            assert set(lifecycle.alive()) <= before


def ask(link, timeout=SOON):
    deadline = Deadline(timeout)
    return link.read_all(link.ask(REQUEST, deadline), deadline)


def test_a_connection_is_kept():
    def script(sock):
        for _ in range(3):
            read_head(sock)
            sock.sendall(EMPTY)

    with linked(script) as (link, dialing):
        assert [ask(link).status_code for _ in range(3)] == [204] * 3
        assert dialing.count == 1
        assert link.remote_address == ("127.0.0.1", dialing.port)
        assert link.local_address[0] == "127.0.0.1"
        assert not link.is_secure
        assert link.tls_view is None


def test_another_one_is_made_where_it_turns_out_to_be_closed():
    def script(sock):
        read_head(sock)
        sock.sendall(EMPTY)

    with linked(script) as (link, dialing):
        for _ in range(3):
            assert ask(link).status_code == 204
        assert dialing.count == 3


def test_a_new_connection_that_is_closed_is_a_failure():
    with linked(read_head) as (link, dialing):
        with pytest.raises(InvalidMessage, match="closed before the status line"):
            ask(link)
        assert dialing.count == 1


def test_half_of_an_answer_is_a_failure_too():
    answers = [EMPTY, b"HTTP/1.1 200"]

    def script(sock):
        while answers:
            read_head(sock)
            sock.sendall(answers.pop(0))

    with linked(script) as (link, dialing):
        ask(link)
        with pytest.raises(InvalidMessage, match="closed after 12 bytes"):
            ask(link)
        assert dialing.count == 1


def test_no_answer_on_a_kept_connection_is_not_asked_for_again():
    released = threading.Event()

    def script(sock):
        read_head(sock)
        sock.sendall(EMPTY)
        released.wait(SOON)

    with linked(script) as (link, dialing):
        ask(link)
        with pytest.raises(TimeoutError):
            ask(link, 0.1)
        assert dialing.count == 1
        released.set()


def test_a_body_is_read_in_pieces():
    go = threading.Event()

    def script(sock):
        read_head(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\none")
        go.wait(SOON)
        sock.sendall(b"two")

    with linked(script) as (link, _):
        deadline = Deadline(SOON)
        response = link.ask(REQUEST, deadline)
        assert link.read(response, deadline) == b"one"
        go.set()
        assert link.read(response, deadline) == b"two"
        assert link.read(response, deadline) == b""


def test_a_body_that_is_dropped_has_no_end():
    def script(sock):
        read_head(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        sock.recv(1)

    with linked(script) as (link, _):
        response = link.ask(REQUEST, Deadline(SOON))
        link.drop()
        with pytest.raises(InvalidMessage, match="dropped"):
            link.read(response, Deadline(SOON))


def test_of_a_large_body_the_beginning_is_kept():
    def script(sock):
        read_head(sock)
        with contextlib.suppress(OSError):
            sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(3 * MAX_BODY_SIZE))

    with linked(script) as (link, _):
        assert len(ask(link).body) == MAX_BODY_SIZE


@pytest.mark.parametrize("dials", [False, True])
def test_cutting_ends_what_is_waited_for(dials):
    waiting, goes_on = threading.Event(), threading.Event()

    def script(sock):
        with contextlib.suppress(ConnectionError, AssertionError):
            read_head(sock)
            waiting.set()
            sock.recv(1)

    with linked(script) as (link, dialing):
        if dials:

            def slow(deadline):
                transport = dialing(deadline)
                waiting.set()
                assert goes_on.wait(SOON)
                return transport

            link._dial = slow
        asking = run(ask, link)
        assert waiting.wait(SOON)
        link.cut()
        goes_on.set()
        with pytest.raises((OSError, InvalidMessage)):
            asking.result()
        with pytest.raises(ConnectionAbortedError):
            ask(link)
        assert link.is_cut
        assert dialing.count == 1


def test_making_a_connection_may_have_a_limit_of_its_own():
    def script(sock):
        read_head(sock)
        sock.sendall(EMPTY)

    with linked(script) as (link, dialing):
        link.dial_timeout = 1.0
        ask(link)
        assert dialing.timeouts[0] <= 1.0


def test_a_child_leaves_the_connection_to_the_parent():
    def script(sock):
        for _ in range(2):
            read_head(sock)
            sock.sendall(EMPTY)

    with linked(script) as (link, _):
        ask(link)
        link.begin_exit()
        link.end_exit(Deadline(0))
        copy = HttpLink(None)
        copy._transport = link._transport.__class__(
            link._transport.sock.dup()
        )  # as a child would have it
        copy.after_fork()
        copy.after_fork()
        with pytest.raises(ConnectionAbortedError):
            ask(copy)
        assert ask(link).status_code == 204
