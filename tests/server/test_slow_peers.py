"""Peers that are slow, silent, deaf or gone: others don't notice, and the server ends them."""

import contextlib
import socket
import ssl
import threading
import time

import pytest
from support.attacks import FIN, REQUEST, TEXT, client_hello, dial, frame, open_raw, read_close
from support.certificates import contexts
from support.pairs import SOON, run, wait_until
from support.serving import serving
from support.sieges import (
    MIB,
    Bystander,
    address,
    besieged,
    drop,
    ends,
    others,
    pour,
    trickle,
    works,
)

from syncws import ConnectionClosedOK, InvalidStatus, SendTimeout, broadcast, connect

#: Longer than any timeout below.
LONG_ENOUGH = 0.8

SLOW = {
    "tls": (True, client_hello()),
    "tls silence": (True, b""),
    "http": (False, REQUEST % b"/" + b"X-Slow: " + b"x" * 1000),
    "http silence": (False, b""),
}


def sink(ws):
    for _ in ws:
        pass


# --- opening handshakes ---


@pytest.mark.parametrize("kind", SLOW)
def test_handshakes_byte_by_byte_are_ended(caplog, kind):
    tls, data = SLOW[kind]
    context = contexts()[0] if tls else None
    with besieged(caplog, ssl=context, open_timeout=0.5) as server:
        attacks = [run(trickle, dial(address(server)), data, SOON) for _ in range(10)]
        assert all(attack.result() for attack in attacks)
        wait_until(lambda: not server._roster.opening)


@pytest.mark.parametrize("kind", SLOW)
def test_handshakes_byte_by_byte_go_on_without_a_timeout(caplog, kind):
    tls, data = SLOW[kind]
    context = contexts()[0] if tls else None
    with besieged(caplog, ssl=context, open_timeout=None) as server:
        assert not trickle(dial(address(server)), data, LONG_ENOUGH)
        wait_until(lambda: not server._roster.opening)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_200_slow_clients_do_not_keep_others_out(caplog, tls):
    data = client_hello() if tls else REQUEST % b"/"
    with besieged(caplog, ssl=contexts()[0] if tls else None) as server:
        slow = []
        for number in range(200):
            slow.append(dial(address(server)))
            slow[-1].sendall(data[: number + 1])
        wait_until(lambda: len(server._roster.opening) == 200)
        assert works(server, open_timeout=2)
        assert len(server._roster.opening) == 200
        for sock in slow:
            sock.close()
        wait_until(lambda: not server._roster.opening)


def test_slow_clients_have_the_room_of_a_full_server_only_for_a_time(caplog):
    with besieged(caplog, open_timeout=0.7, max_connections=11) as server:
        slow = [dial(address(server)) for _ in range(10)]
        wait_until(lambda: len(server._roster.opening) == 10)
        with pytest.raises(InvalidStatus, match="503"):
            works(server)
        wait_until(lambda: not server._roster.opening)
        assert works(server)
        for sock in slow:
            sock.close()


@pytest.mark.parametrize("limit", [10, None])
def test_one_address_can_not_take_all_the_room_if_that_is_limited(caplog, limit):
    with besieged(caplog, max_connections=30, max_connections_per_address=limit) as server:
        slow = []
        for _ in range(40):
            sock = socket.socket()
            sock.bind(("127.0.0.2", 0))
            sock.connect(address(server))
            slow.append(sock)
        wait_until(lambda: server._roster.accepted == 41)
        if limit is None:  # a control: the same attack without the limit
            with pytest.raises(InvalidStatus, match="503"):
                works(server)
        else:
            assert works(server)
        for sock in slow:
            sock.close()


# --- peers that don't read ---


def test_sending_to_a_peer_that_never_reads_is_given_up(caplog):
    given_up = threading.Event()

    def flood(ws):
        try:
            while True:
                ws.send(bytes(1 << 16))
        except SendTimeout:
            given_up.set()
            raise

    with besieged(caplog, flood, failures=1, send_timeout=0.3, close_timeout=0.3) as server:
        sock = open_raw(address(server))
        assert given_up.wait(SOON)
        wait_until(lambda: not others(server))
        assert ends(sock)
        sock.close()


def test_sending_to_a_peer_that_never_reads_takes_forever_without_a_timeout(caplog):
    given_up = threading.Event()

    def flood(ws):
        with contextlib.suppress(SendTimeout):
            while True:
                ws.send(bytes(1 << 16))
        given_up.set()

    with besieged(caplog, flood, send_timeout=None, close_timeout=0.3) as server:
        with open_raw(address(server)):
            assert not given_up.wait(LONG_ENOUGH)
        wait_until(lambda: not others(server))
        assert not given_up.is_set()


def siege_of_broadcasts(server, deaf, listeners, count):
    """Broadcast to deaf peers, and some that listen; return what waited for any at most."""
    wait_until(lambda: len(others(server)) == deaf + len(listeners))
    waiting = 0
    for number in range(count):
        broadcast(others(server), f"{number} " + "x" * 60000)
        waiting = max([waiting, *(ws.buffered_amount for ws in others(server))])
        for ws in listeners:
            assert ws.recv(SOON).startswith(f"{number} ")
    return waiting


def test_broadcasts_wait_for_peers_that_never_read_within_limits_only(caplog):
    with besieged(caplog, sink, write_limit=100000) as server, contextlib.ExitStack() as stack:
        deaf = [stack.enter_context(open_raw(address(server))) for _ in range(5)]
        listeners = [stack.enter_context(connect(server.uri, proxy=None)) for _ in range(2)]
        assert siege_of_broadcasts(server, len(deaf), listeners, 150) <= 100000
        wait_until(lambda: len(others(server)) == len(listeners))
        for sock in deaf:
            assert read_close(sock) in (1008, None)


def test_broadcasts_wait_for_peers_that_never_read_without_a_limit(caplog):
    with besieged(caplog, sink, write_limit=1 << 30) as server, contextlib.ExitStack() as stack:
        stack.enter_context(open_raw(address(server)))
        listener = stack.enter_context(connect(server.uri, proxy=None))
        assert siege_of_broadcasts(server, 1, [listener], 150) > 1000000
        assert len(others(server)) == 2


def test_a_peer_that_never_reads_does_not_keep_pongs_or_closing_waiting(caplog):
    """Echoes that nobody reads: the peer is stopped by TCP, and costs one stuck thread."""
    with besieged(caplog, close_timeout=0.3) as server, open_raw(address(server)) as sock:
        sock.settimeout(0.3)
        message = frame(FIN | TEXT, b"x" * 50000)
        assert pour(sock, message, 100 * MIB) < 50 * MIB
        start = time.monotonic()
        (ws,) = others(server)
        ws.close()
        assert time.monotonic() - start < SOON / 2
        wait_until(lambda: not others(server))


# --- peers that are gone ---


@pytest.mark.parametrize("interval", [0.2, None])
def test_peers_that_do_not_answer_pings_are_ended(caplog, interval):
    with besieged(caplog, sink, ping_interval=interval, ping_timeout=0.3) as server:
        with open_raw(address(server)) as sock:
            wait_until(lambda: others(server))
            if interval is None:  # a control: the same peer without pings
                assert not ends(sock, LONG_ENOUGH)
                assert others(server)
            else:
                assert read_close(sock) == 1011
        wait_until(lambda: not others(server))


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "in the middle of a frame"])
def test_peers_that_vanish_are_found_out(caplog, busy):
    with besieged(caplog, sink, ping_interval=0.2, ping_timeout=0.3) as server:
        socks = [open_raw(address(server)) for _ in range(5)]
        wait_until(lambda: len(others(server)) == 5)
        for sock in socks:
            if busy:
                sock.sendall(frame(FIN | TEXT, b"x" * 1000)[:500])
            try:
                drop(sock)
            except PermissionError:
                sock.close()
                pytest.skip("a connection can't be dropped without privileges")
        wait_until(lambda: not others(server))


def test_peers_that_stop_in_the_middle_of_a_frame_are_ended(caplog):
    with besieged(caplog, sink) as server:
        data = frame(FIN | TEXT, b"x" * 1000)
        for size in (1, 2, 5, 8, 500, len(data) - 1):
            with open_raw(address(server)) as sock:
                sock.sendall(data[:size])
                sock.shutdown(socket.SHUT_WR)
                assert ends(sock)
        wait_until(lambda: not others(server))


def test_a_tls_client_that_stops_shaking_hands_does_not_matter(caplog):
    server_context, client_context = contexts()
    with besieged(caplog, ssl=server_context, open_timeout=0.5) as server:
        outgoing, incoming = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = client_context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with dial(address(server)) as sock:
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            sock.sendall(outgoing.read())
            incoming.write(sock.recv(1 << 16))  # the server's part; ours never comes
            assert ends(sock)
        wait_until(lambda: not server._roster.opening)


def test_the_bystander_would_notice(caplog):
    """A control: a server that serves nobody else meanwhile is found out."""
    busy = threading.Event()

    def echo_slowly(ws):
        for message in ws:
            if busy.is_set():
                return
            ws.send(message)

    with serving(echo_slowly) as server:
        witness = Bystander(server.uri)
        assert witness.is_served()
        busy.set()
        assert not witness.is_served()
        with pytest.raises(ConnectionClosedOK):
            witness.leave()
