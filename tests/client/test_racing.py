"""The race between the addresses of a host (RFC 8305)."""

import contextlib
import errno
import socket
import time

import pytest
from support.pairs import SOON
from support.scripted import failure, nothing_left
from support.serving import assert_works, serving

from syncws import connect
from syncws.client import dial, resolver
from syncws.threaded.deadline import Deadline

V4, V6 = socket.AF_INET, socket.AF_INET6


def entry(address, port=80):
    family = V6 if ":" in address else V4
    extra = (0, 0) if family == V6 else ()
    return (family, socket.SOCK_STREAM, 0, "", (address, port, *extra))


def answering(*addresses):
    """A getaddrinfo() that knows these addresses only, whatever is asked."""
    return lambda host, port, **kwargs: [entry(*address) for address in addresses]


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture
def dead():
    """An address where connecting takes forever: a listener that takes no more connections."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield listener.getsockname()


@pytest.fixture
def closed():
    """An address that refuses."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()


# --- order ---


def test_families_take_turns(monkeypatch):
    addresses = ["::1", "::2", "::3", "10.0.0.1", "10.0.0.2"]
    monkeypatch.setattr(socket, "getaddrinfo", answering(*((each,) for each in addresses)))
    resolved = resolver.resolve("many.example", 80, Deadline(SOON))
    assert [address[4][0] for address in resolved] == [
        "::1",
        "10.0.0.1",
        "::2",
        "10.0.0.2",
        "::3",
    ]


def test_the_preferred_family_is_first(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", answering(("10.0.0.1",), ("::1",)))
    resolved = resolver.resolve("many.example", 80, Deadline(SOON))
    assert [address[4][0] for address in resolved] == ["10.0.0.1", "::1"]


# --- the race ---


def test_an_address_that_does_not_answer_delays_the_next_by_a_quarter_second(
    monkeypatch, server, dead
):
    monkeypatch.setattr(socket, "getaddrinfo", answering(dead, ("127.0.0.1", server.port)))
    start = time.monotonic()
    with nothing_left():
        assert_works(connect("ws://two.example/", open_timeout=SOON))
    assert time.monotonic() - start >= dial.ATTEMPT_DELAY == 0.25


def test_an_address_that_refuses_delays_nothing(monkeypatch, server, closed):
    monkeypatch.setattr(dial, "ATTEMPT_DELAY", SOON)
    monkeypatch.setattr(
        socket, "getaddrinfo", answering(closed, closed, ("127.0.0.1", server.port))
    )
    start = time.monotonic()
    assert_works(connect("ws://three.example/", open_timeout=None))
    assert time.monotonic() - start < SOON / 2


def test_all_of_the_time_is_for_all_of_them(monkeypatch, dead, closed):
    monkeypatch.setattr(dial, "ATTEMPT_DELAY", 0.01)
    monkeypatch.setattr(socket, "getaddrinfo", answering(dead, closed, dead))
    with failure(TimeoutError, "timed out while connecting to three.example port 80"):
        connect("ws://three.example/", open_timeout=0.2)


def test_the_first_to_answer_wins_and_the_others_are_closed(monkeypatch, server, dead):
    """The slow one goes on being tried while the next one is."""
    monkeypatch.setattr(dial, "ATTEMPT_DELAY", 0.01)
    made = []

    class Socket(socket.socket):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(socket, "getaddrinfo", answering(dead, dead, ("127.0.0.1", server.port)))
    monkeypatch.setattr(socket, "socket", Socket)
    ws = connect("ws://three.example/", open_timeout=SOON)
    monkeypatch.undo()
    clients = [sock for sock in made if sock is not ws._transport.sock and sock.fileno() < 0]
    assert len(clients) == 2
    assert_works(ws)


def test_ipv6_is_tried_even_if_it_leads_nowhere(monkeypatch, server, closed):
    addresses = answering(("::1", closed[1]), ("127.0.0.1", server.port))
    monkeypatch.setattr(socket, "getaddrinfo", addresses)
    assert_works(connect("ws://both.example/"))


def test_a_family_that_this_machine_does_not_have_is_skipped(monkeypatch, server):
    made = socket.socket

    class Socket(made):
        def __init__(self, family=-1, *args, **kwargs):
            if family == V6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *args, **kwargs)

    addresses = answering(("::1", server.port), ("127.0.0.1", server.port))
    monkeypatch.setattr(socket, "getaddrinfo", addresses)
    monkeypatch.setattr(socket, "socket", Socket)
    ws = connect("ws://both.example/")
    monkeypatch.undo()
    assert_works(ws)


# --- failures ---


def test_one_reason_for_all_addresses_is_told_once(monkeypatch, closed):
    monkeypatch.setattr(socket, "getaddrinfo", answering(closed, closed))
    with failure(ConnectionRefusedError) as info:
        connect("ws://two.example/")
    assert str(info.value) == "[Errno 111] Connection refused: 'two.example port 80'"


def test_different_reasons_are_told_with_their_addresses(monkeypatch, closed):
    # Nothing can be reached from this source address that isn't of its family.
    monkeypatch.setattr(socket, "getaddrinfo", answering(("::1", closed[1]), closed))
    with failure(ConnectionRefusedError) as info:
        connect("ws://two.example/", source_address=("127.0.0.1", 0))
    assert info.value.strerror.endswith("(::1); Connection refused (127.0.0.1)")
    assert info.value.filename == "two.example port 80"


def test_the_source_address_decides_about_the_family(monkeypatch, server):
    addresses = answering(("::1", server.port), ("127.0.0.1", server.port))
    monkeypatch.setattr(socket, "getaddrinfo", addresses)
    ws = connect("ws://two.example/", source_address=("127.0.0.1", 0))
    assert ws.local_address[0] == "127.0.0.1"
    assert_works(ws)


def test_an_unreachable_network_is_an_error(monkeypatch):
    class Socket(socket.socket):
        def connect_ex(self, address):
            return errno.ENETUNREACH

    monkeypatch.setattr(socket, "socket", Socket)
    with failure(OSError, "Network is unreachable: '192.0.2.1 port 80'") as info:
        connect("ws://192.0.2.1/")
    assert info.value.errno == errno.ENETUNREACH


def test_a_socket_that_connects_to_itself_is_refused():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address = sock.getsockname()
    with failure(ConnectionRefusedError):
        connect("ws://{}:{}/".format(*address), source_address=address)


def test_a_connection_that_is_over_already_is_not_one_to_itself():
    with socket.socket() as sock:
        assert not dial._is_connected_to_itself(sock)


def test_an_unknown_name_is_an_error_that_has_it(monkeypatch):
    def unknown(host, port, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with failure(socket.gaierror, "Name or service not known: 'no.example port 80'") as info:
        connect("ws://no.example/")
    assert info.value.errno == socket.EAI_NONAME
