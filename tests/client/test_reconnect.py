"""Connecting again and again, to real servers and to some that follow a script."""

import base64
import contextlib
import gc
import itertools
import logging
import os
import queue
import random
import socket
import ssl
import struct
import sys
import threading
import time
import tracemalloc

import pytest
from support.certificates import client_context, contexts
from support.pairs import SOON, run, wait_until
from support.peers import reserved_port
from support.scripted import (
    build_response,
    nothing_left,
    parse_head,
    read_all,
    read_head,
    says,
    scripted_server,
    silent,
)
from support.serving import messages, serving

import syncws.client.reconnect
from syncws import (
    ConnectionClosed,
    HeaderLineTooLong,
    InvalidMessage,
    InvalidProxyStatus,
    InvalidStatus,
    InvalidUpgrade,
    InvalidURI,
    ProxyError,
    SecurityError,
    StatusLineTooLong,
    connect,
    reconnect,
)

#: A delay that no test waits for to the end.
LONG = 3600.0

#: Frames of servers.
CLOSE = b"\x88\x02\x03\xe8"
HELLO = b"\x81\x05hello"
UNKNOWN_FRAME = b"\x83\x00"

NO_DELAYS = itertools.repeat(0.0)


@pytest.fixture
def delays(monkeypatch):
    """The delays between attempts, of which none is waited for."""
    taken = []
    monkeypatch.setattr(
        syncws.client.reconnect, "_pause", lambda stop, delay: taken.append(round(delay, 3))
    )
    return taken


@pytest.fixture
def largest_delays(monkeypatch):
    """Random numbers that are the largest of their range."""
    monkeypatch.setattr(random, "uniform", lambda low, high: high)


def answer(code, *headers):
    """The bytes of a response without a body."""
    lines = [f"HTTP/1.1 {code} Answer", "Content-Length: 0", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


#: What a server does that accepts the connection, and ends it at once.
WELCOME = (build_response, CLOSE)


class Site:
    """A script: the answers to one request after the other; the last is for all that follow.

    An answer is bytes, or a function that makes them of the request, or several of both. Where
    there are several paths, each has answers of its own.
    """

    def __init__(self, *answers, **paths):
        self._answers = {path: list(some) for path, some in {"": answers, **paths}.items()}
        self.asked = []  # paths
        self.headers = []  # of each request

    def __call__(self, sock):
        request = read_head(sock)
        line, headers, _ = parse_head(request)
        path = line.split(" ")[1]
        self.asked.append(path)
        self.headers.append(headers)
        answers = self._answers.get(path[1:]) or self._answers[""]
        pieces = answers.pop(0) if len(answers) > 1 else answers[0]
        for piece in pieces if isinstance(pieces, tuple) else (pieces,):
            sock.sendall(piece(request) if callable(piece) else piece)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
        read_all(sock)


def in_turn(*scripts):
    """A script that is another one for each connection; the last is for all that follow."""
    following = itertools.chain(scripts, itertools.repeat(scripts[-1]))
    return lambda sock: next(following)(sock)


def reset(sock):
    """A script: read the request, and reset the connection."""
    read_head(sock)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Listening:
    """A handler that answers, and tells with which code each connection was closed."""

    def __init__(self):
        self.codes = queue.Queue()

    def __call__(self, ws):
        with contextlib.suppress(ConnectionClosed):
            for message in ws:
                ws.send(message)
        assert ws.wait_closed(SOON)
        self.codes.put(ws.close_code)

    def code(self):
        return self.codes.get(timeout=SOON)


@pytest.fixture
def listening():
    return Listening()


def drain(ws):
    """Receive to the end, however it comes."""
    with contextlib.suppress(ConnectionClosed):
        for _ in ws:
            pass


def receive_all(connections):
    """Go on, until the loop ends."""
    for ws in connections:
        drain(ws)


def first_connection(connections):
    """Go on until there is a connection, and leave."""
    for ws in connections:
        return ws
    return None


def assert_works(ws):
    ws.send("hello")
    assert ws.recv(SOON) == "hello"


# --- one connection after the other ---


def test_each_turn_has_a_new_connection(listening):
    seen = set()
    with serving(listening) as server:
        for ws in reconnect(server.uri):
            assert_works(ws)
            seen.add(ws.local_address)
            if len(seen) == 3:
                break
        assert [listening.code() for _ in range(3)] == [1000] * 3


def test_what_connect_takes_is_used_for_every_connection(listening):
    with serving(listening, subprotocols=["chat"]) as server:
        arguments = {"subprotocols": ["chat"], "compression": None}
        for turn, ws in enumerate(reconnect(server.uri, **arguments)):
            assert ws.subprotocol == "chat"
            assert ws.extensions == []
            if turn == 2:
                break


@pytest.mark.parametrize("end", ["close", "abort", "fail"])
def test_what_the_server_ends_is_followed_by_another(end, delays):
    def handler(ws):
        ws.send("hello")
        ws.recv()  # so that it was received
        getattr(ws, end)()

    turns = 0
    with serving(handler) as server:
        for ws in reconnect(server.uri):
            assert ws.recv(SOON) == "hello"
            ws.send("thanks")
            drain(ws)
            assert not ws.open
            turns += 1
            if turns == 3:
                break
    assert delays == [0, 0]


def test_what_ends_without_a_word_is_followed_by_another(delays):
    with scripted_server(Site((build_response, HELLO))) as server:
        for turn, ws in enumerate(reconnect(server.uri)):
            assert ws.recv(SOON) == "hello"
            with pytest.raises(ConnectionClosed):
                ws.recv(SOON)
            if turn == 3:
                break
    assert delays == [0, 0, 0]


def test_a_connection_that_is_open_is_closed_before_the_next(listening):
    with serving(listening) as server:
        before = None
        for turn, ws in enumerate(reconnect(server.uri)):
            if before is not None:
                assert not before.open
                assert before.close_code == 1000
                assert listening.code() == 1000
            before = ws
            if turn == 2:
                break
        assert listening.code() == 1000


def test_what_the_program_closed_itself_stays_as_it_is(listening, delays):
    with serving(listening) as server:
        for turn, ws in enumerate(reconnect(server.uri)):
            ws.close(4000, "enough")
            if turn == 2:
                break
        assert [listening.code() for _ in range(3)] == [4000] * 3
    assert delays == [0, 0]


def test_nothing_happens_before_the_first_turn(closed_port):
    with nothing_left():
        reconnect(f"ws://127.0.0.1:{closed_port}/")


# --- leaving the loop ---


def leave_by_break(uri):
    for ws in reconnect(uri):
        assert_works(ws)
        break


def leave_by_return(uri):
    for ws in reconnect(uri):
        assert_works(ws)
        return


def leave_by_exception(uri):
    def loop():
        for ws in reconnect(uri):
            assert_works(ws)
            raise ZeroDivisionError("of the body")

    with pytest.raises(ZeroDivisionError, match="of the body") as info:
        loop()
    assert info.value.__context__ is None


def leave_by_exit(uri):
    def loop():
        for ws in reconnect(uri):
            assert_works(ws)
            raise SystemExit

    with pytest.raises(SystemExit):
        loop()


def leave_by_close(uri):
    connections = reconnect(uri)
    assert_works(next(connections))
    connections.close()


def leave_by_forgetting(uri):
    connections = reconnect(uri)
    assert_works(next(connections))


LEAVES = [
    leave_by_break,
    leave_by_return,
    leave_by_exception,
    leave_by_exit,
    leave_by_close,
    leave_by_forgetting,
]


@pytest.mark.parametrize("leave", LEAVES)
def test_leaving_the_loop_closes_the_connection(leave, listening):
    with serving(listening) as server, nothing_left():
        leave(server.uri)
        assert listening.code() == 1000
        wait_until(lambda: not server.connections)


def test_an_exception_of_the_connection_leaves_the_loop():
    def handler(ws):
        ws.close(4001, "go away")

    def loop(uri):
        for ws in reconnect(uri):
            ws.recv(SOON)

    with serving(handler) as server, nothing_left(), pytest.raises(ConnectionClosed) as info:
        loop(server.uri)
    assert info.value.code == 4001


def test_a_loop_that_was_left_is_over(listening):
    with serving(listening) as server:
        connections = reconnect(server.uri)
        next(connections)
        connections.close()
        assert list(connections) == []


class Mute:
    """A script: accept the connection, and never say anything more; keeps what came."""

    def __init__(self):
        self.received = queue.Queue()

    def __call__(self, sock):
        sock.sendall(build_response(read_head(sock)))
        self.received.put(read_all(sock))

    def close_code(self):
        """The code of the close frame that came, and that was all."""
        data = self.received.get(timeout=SOON)
        assert data[:2] == b"\x88\x82"
        assert len(data) == 8
        return int.from_bytes(bytes(byte ^ key for byte, key in zip(data[6:], data[2:])), "big")


def break_out(uri, **kwargs):
    for _ in reconnect(uri, **kwargs):
        break


def fail_out(uri, **kwargs):
    def loop():
        for _ in reconnect(uri, **kwargs):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop()


@pytest.mark.parametrize(
    ("kwargs", "seconds"), [({"close_timeout": 0.05}, 0.9), ({"close_timeout": None}, 2)]
)
@pytest.mark.parametrize("leave", [break_out, fail_out])
def test_leaving_takes_a_second_at_most_where_the_server_does_not_answer(leave, kwargs, seconds):
    mute = Mute()
    with scripted_server(mute) as server, nothing_left():
        start = time.monotonic()
        leave(server.uri, **kwargs)
        assert time.monotonic() - start < seconds
        assert mute.close_code() == 1000


def test_going_on_takes_close_timeout_at_most():
    mute = Mute()
    with scripted_server(mute) as server, nothing_left():
        start = time.monotonic()
        for turn, _ in enumerate(reconnect(server.uri, close_timeout=0.05)):
            if turn == 2:
                break
        assert [mute.close_code() for _ in range(3)] == [1000] * 3
        assert time.monotonic() - start < 5


# --- what is wrong from the beginning ---


@pytest.mark.parametrize("uri", ["http://localhost/", "localhost", "ws://", "ws://localhost/#x"])
def test_an_invalid_uri_is_an_error_of_the_call(uri):
    with pytest.raises(InvalidURI):
        reconnect(uri)


@pytest.mark.parametrize("kwargs", [{"unknown": 1}, {"uri": "ws://localhost/"}, {"timeout": 1}])
def test_unknown_arguments_are_errors_of_the_call(kwargs):
    with pytest.raises(TypeError):
        reconnect("ws://localhost/", **kwargs)


def test_a_socket_can_not_be_used():
    left, right = socket.socketpair()
    with left, right, pytest.raises(TypeError, match="sock= can't be used"):
        reconnect("ws://localhost/", sock=left)


@pytest.mark.parametrize("most", [0, -1])
def test_there_is_one_attempt_at_least(most):
    with pytest.raises(ValueError, match="max_attempts must be at least 1"):
        reconnect("ws://localhost/", max_attempts=most)


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({"ssl": True}, TypeError),
        ({"server_hostname": "localhost"}, ValueError),
        ({"max_redirects": -1}, ValueError),
        ({"subprotocols": "chat"}, TypeError),
        ({"additional_headers": {"Upgrade": "h2c"}}, ValueError),
        ({"additional_headers": lambda: 1 / 0}, ZeroDivisionError),
    ],
)
def test_wrong_arguments_are_not_tried_again(kwargs, expected, delays):
    with serving() as server, nothing_left(), pytest.raises(expected):
        next(reconnect(server.uri, **kwargs))
    assert delays == []


# --- what is not tried again ---


def assert_fails_at_once(expected, script, delays, **kwargs):
    with scripted_server(script) as server, nothing_left():
        connections = reconnect(server.uri, **kwargs)
        with pytest.raises(expected) as info:
            next(connections)
        with pytest.raises(StopIteration):
            next(connections)
    assert delays == []
    return info.value


@pytest.mark.parametrize("code", [200, 400, 401, 403, 404, 410, 426, 501])
def test_permanent_statuses_are_raised_at_once(code, delays):
    site = Site(answer(code, "Retry-After: 1"), WELCOME)
    exc = assert_fails_at_once(InvalidStatus, site, delays)
    assert exc.response.status_code == code
    assert len(site.asked) == 1


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", InvalidMessage),
        (b"HTTP/1.1 101 OK\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", InvalidUpgrade),
        (b"HTTP/1.1 101 " + b"x" * 20_000 + b"\r\n\r\n", StatusLineTooLong),
        (answer(302, "Location: /" + "x" * 20_000), HeaderLineTooLong),
        (answer(302, "Location: /again"), SecurityError),
    ],
    ids=["not HTTP", "not a WebSocket server", "a long line", "a long header", "a loop"],
)
def test_what_is_no_websocket_server_is_raised_at_once(response, expected, delays):
    assert_fails_at_once(expected, Site(response), delays)


def test_a_certificate_that_is_not_trusted_is_raised_at_once(delays):
    untrusted = pytest.raises(ssl.SSLCertVerificationError)
    with serving(ssl=contexts()[0], host="localhost") as server, nothing_left(), untrusted:
        next(reconnect(server.uri))
    assert delays == []


def test_a_certificate_for_another_name_is_raised_at_once(delays):
    server_tls, client_tls = contexts()
    untrusted = pytest.raises(ssl.SSLCertVerificationError)
    with serving(ssl=server_tls) as server, nothing_left(), untrusted:
        next(reconnect(server.uri, ssl=client_tls, server_hostname="example.com"))
    assert delays == []


def test_a_proxy_that_wants_credentials_is_raised_at_once(delays):
    refused = pytest.raises(InvalidProxyStatus)
    with scripted_server(Site(answer(407))) as proxy, nothing_left(), refused:
        next(reconnect("ws://example.com/", proxy=f"http://localhost:{proxy.port}"))
    assert delays == []


def test_an_exception_of_the_programs_functions_is_raised_at_once(delays):
    class Missing(Exception):
        pass

    def headers():
        raise Missing

    with serving() as server, nothing_left(), pytest.raises(Missing):
        next(reconnect(server.uri, additional_headers=headers))
    assert delays == []


def test_a_file_that_the_programs_function_can_not_read_is_raised_at_once(delays):
    def headers():
        with open("/nonexistent/token", encoding="utf-8") as file:
            return {"Authorization": file.read()}

    kwargs = {"additional_headers": headers, "backoff": [0.0]}
    with serving() as server, pytest.raises(FileNotFoundError):
        next(reconnect(server.uri, **kwargs))
    assert delays == []


# --- what is tried again ---


def assert_tried_again(script, failures, delays, **kwargs):
    with scripted_server(script) as server:
        delay = itertools.count(1)
        ws = first_connection(reconnect(server.uri, backoff=delay, **kwargs))
        assert ws is not None
    assert delays == list(range(1, failures + 1))


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
def test_temporary_statuses_are_tried_again(code, delays):
    assert_tried_again(Site(answer(code), answer(code), WELCOME), 2, delays)


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 101 Swi", b"HTTP/1.1 101 OK\r\nUpgrade: webs"])
def test_servers_that_close_instead_of_answering_are_tried_again(part, delays):
    assert_tried_again(Site(part, part, WELCOME), 2, delays)


def test_servers_that_reset_the_connection_are_tried_again(delays):
    assert_tried_again(in_turn(reset, reset, says(*WELCOME)), 2, delays)


def test_servers_that_do_not_answer_are_tried_again(delays):
    assert_tried_again(in_turn(silent, silent, says(*WELCOME)), 2, delays, open_timeout=0.1)


def test_tls_that_fails_for_another_reason_is_tried_again(delays):
    with serving() as server:  # without TLS
        connections = reconnect(
            f"wss://127.0.0.1:{server.port}/", ssl=client_context(), backoff=[1, 2]
        )
        with pytest.raises(ssl.SSLError):
            next(connections)
    assert delays == [1, 2]


def test_names_that_are_not_known_are_tried_again(monkeypatch, delays):
    with serving() as server:
        known = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", server.port))]
        asked = []

        def getaddrinfo(host, port, *, flags=0, **kwargs):
            asked.append(flags)
            if flags or len(asked) < 6:
                raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
            return known

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        for ws in reconnect("ws://flaky.example/", backoff=itertools.count(1)):
            assert_works(ws)
            break
    assert delays == [1, 2]


def test_a_port_may_begin_to_listen_later(delays):
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(reserved_port())

        def until_it_listens():
            yield 1.0
            yield 2.0
            stack.enter_context(serving(port=port))
            yield 3.0

        for ws in reconnect(f"ws://127.0.0.1:{port}/", backoff=until_it_listens):
            assert_works(ws)
            break
    assert delays == [1, 2, 3]


def test_a_server_that_is_restarted_is_found_again(delays):
    turns = 0
    with reserved_port() as port, contextlib.ExitStack() as stack:
        servers = [stack.enter_context(serving(port=port))]

        def until_it_is_back():
            yield 1.0
            servers.append(stack.enter_context(serving(port=port)))
            yield 2.0

        for ws in reconnect(f"ws://127.0.0.1:{port}/", backoff=until_it_is_back):
            assert_works(ws)
            turns += 1
            if turns == 2:
                break
            servers[0].close(timeout=SOON)
            drain(ws)
            assert ws.close_code == 1001
    assert delays == [0, 1, 2]


@pytest.mark.parametrize("response", [answer(502), answer(503), b"", b"HTTP/1.1 2"])
def test_proxies_that_fail_are_tried_again(response, delays):
    with scripted_server(Site(response)) as proxy, nothing_left():
        kwargs = {"proxy": f"http://localhost:{proxy.port}", "backoff": [1, 2]}
        with pytest.raises(ProxyError):
            next(reconnect("ws://example.com/", **kwargs))
    assert delays == [1, 2]


def test_a_full_server_tells_when_to_come_back(delays):
    with serving(max_connections=1) as server, connect(server.uri) as other:
        freed = []

        def backoff():
            yield 0.25
            other.close()
            wait_until(lambda: not server._running)
            freed.append(True)
            yield 0.25

        for ws in reconnect(server.uri, backoff=backoff):
            assert freed
            assert_works(ws)
            break
    assert len(delays) == 2
    assert min(delays) >= 1  # what the server asked for


# --- how long to wait, and how often to try ---


def test_retry_after_is_waited_for(delays):
    busy = [answer(503, "Retry-After: 7"), answer(429, "Retry-After: 120"), answer(503)]
    not_busy = answer(500, "Retry-After: 7")
    with scripted_server(Site(*busy, not_busy, WELCOME)) as server:
        first_connection(reconnect(server.uri, backoff=itertools.repeat(0.25)))
    assert delays == [7, 120, 0.25, 0.25]


def test_retry_after_does_not_shorten_a_delay(delays):
    with scripted_server(Site(answer(503, "Retry-After: 7"), WELCOME)) as server:
        first_connection(reconnect(server.uri, backoff=[30.0]))
    assert delays == [30]


def test_retry_after_of_a_day_is_an_hour(delays):
    with scripted_server(Site(answer(503, "Retry-After: 86400"), WELCOME)) as server:
        first_connection(reconnect(server.uri))
    assert delays == [3600]


@pytest.mark.usefixtures("largest_delays")
def test_delays_double_up_to_a_minute(closed_port, delays):
    with pytest.raises(ConnectionRefusedError):
        next(reconnect(f"ws://127.0.0.1:{closed_port}/", max_attempts=10))
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.parametrize("most", [1, 2, 5])
def test_after_max_attempts_failures_the_last_is_raised(most, delays):
    site = Site(*(answer(500 if number < most - 1 else 502) for number in range(most + 1)))
    with scripted_server(site) as server, nothing_left():
        connections = reconnect(server.uri, backoff=NO_DELAYS, max_attempts=most)
        with pytest.raises(InvalidStatus) as info:
            next(connections)
        assert list(connections) == []
    assert info.value.response.status_code == 502
    assert len(site.asked) == most
    assert len(delays) == most - 1


def test_only_failures_in_a_row_count_for_max_attempts(delays):
    turn = (answer(503), answer(503), (build_response, HELLO))
    site = Site(*turn, *turn, *turn, answer(503))
    with scripted_server(site) as server, pytest.raises(InvalidStatus):
        receive_all(reconnect(server.uri, backoff=NO_DELAYS, max_attempts=3))
    assert len(site.asked) == 12


def test_when_delays_are_over_the_last_failure_is_raised(delays):
    site = Site(answer(500), answer(500), answer(502), WELCOME)
    with scripted_server(site) as server, nothing_left(), pytest.raises(InvalidStatus) as info:
        next(reconnect(server.uri, backoff=[0.5, 0.25]))
    assert info.value.response.status_code == 502
    assert delays == [0.5, 0.25]


def test_delays_are_for_each_outage_anew(delays):
    site = Site(answer(503), answer(503), (build_response, HELLO), answer(503), answer(503))
    asked = []

    def backoff():
        asked.append(True)
        return [1.0, 2.0]

    with scripted_server(site) as server, pytest.raises(InvalidStatus):
        receive_all(reconnect(server.uri, backoff=backoff))
    assert delays == [1, 2, 0, 1, 2]
    assert len(asked) == 2


# --- servers that accept and do nothing ---


@pytest.mark.usefixtures("largest_delays")
@pytest.mark.parametrize(
    "pieces",
    [
        (build_response, CLOSE),
        (build_response, b"\x88\x02\x03\xf4"),  # 1012, service restart
        (build_response,),  # without a close frame
        (build_response, UNKNOWN_FRAME),
        (build_response, b"\x82\x7f" + bytes(4) + b"\xff" * 4),  # too large
    ],
    ids=["close", "restart", "eof", "unknown frame", "large frame"],
)
def test_a_server_that_accepts_and_ends_it_at_once_is_not_hammered(pieces, delays):
    with scripted_server(Site(pieces)) as server:
        for turn, ws in enumerate(reconnect(server.uri)):
            drain(ws)
            if turn == 8:
                break
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_server_that_aborts_at_once_is_not_hammered(delays):
    with serving(lambda ws: ws.abort()) as server:
        for turn, ws in enumerate(reconnect(server.uri, backoff=itertools.count(1))):
            drain(ws)
            if turn == 3:
                break
    assert delays == [1, 2, 3]


def test_nobody_is_hammered_when_delays_are_over(delays):
    with scripted_server(Site(WELCOME)) as server, contextlib.suppress(ConnectionClosed):
        for turn, ws in enumerate(reconnect(server.uri, backoff=[1.0])):
            drain(ws)
            if turn == 3:
                break
    assert 0 not in delays


def test_failures_and_useless_connections_are_one_outage(delays):
    site = Site(answer(503), WELCOME, answer(503), WELCOME, (build_response, HELLO), answer(503))
    with scripted_server(site) as server, pytest.raises(InvalidStatus):
        receive_all(reconnect(server.uri, backoff=lambda: range(1, 6), max_attempts=2))
    assert delays == [1, 2, 3, 4, 0, 1]


def test_a_server_that_sends_a_message_first_is_connected_to_at_once(delays):
    with scripted_server(Site((build_response, HELLO, CLOSE))) as server:
        for turn, ws in enumerate(reconnect(server.uri)):
            assert ws.recv(SOON) == "hello"
            drain(ws)
            if turn == 3:
                break
    assert delays == [0, 0, 0]


@pytest.mark.parametrize(("duration", "is_useful"), [(0.9, False), (1.1, True), (100.0, True)])
def test_a_connection_that_lasted_was_of_use(duration, is_useful, delays, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(syncws.client.reconnect, "clock", lambda: now[0])
    with scripted_server(Site(WELCOME)) as server:
        for turn, ws in enumerate(reconnect(server.uri, backoff=itertools.count(1))):
            now[0] += duration
            drain(ws)
            if turn == 2:
                break
    assert delays == ([0, 0] if is_useful else [1, 2])


# --- stop ---


def test_who_is_stopped_beforehand_does_not_connect():
    site = Site(WELCOME)
    stop = threading.Event()
    stop.set()
    with scripted_server(site) as server:
        assert list(reconnect(server.uri, stop=stop)) == []
    assert site.asked == []


def test_stop_lets_the_body_finish(listening):
    stop = threading.Event()
    turns = 0
    with serving(listening) as server, nothing_left():
        for ws in reconnect(server.uri, stop=stop):
            stop.set()
            assert_works(ws)
            turns += 1
        assert turns == 1
        assert listening.code() == 1000


def waiting(closed_port, stop):
    """A loop that is in a long delay, or about to be."""
    begun = threading.Event()

    def backoff():
        begun.set()
        return [LONG]

    uri = f"ws://127.0.0.1:{closed_port}/"
    return begun, lambda: list(reconnect(uri, backoff=backoff, stop=stop))


def test_stop_ends_a_long_delay_of_another_thread(closed_port):
    stop = threading.Event()
    begun, loop = waiting(closed_port, stop)
    with nothing_left():
        looping = run(loop)
        assert begun.wait(SOON)
        start = time.monotonic()
        stop.set()
        assert looping.result() == []
        assert time.monotonic() - start < 5


def test_stop_ends_a_long_delay_of_the_main_thread(closed_port):
    stop = threading.Event()
    begun, loop = waiting(closed_port, stop)

    def stop_it():
        assert begun.wait(SOON)
        stop.set()
        return time.monotonic()

    with nothing_left():
        stopping = run(stop_it)
        assert loop() == []
        assert time.monotonic() - stopping.result() < 5


def test_stop_ends_the_delay_that_a_server_asks_for():
    begun = threading.Event()

    def script(sock):
        says(answer(503, "Retry-After: 3600"))(sock)
        begun.set()

    stop = threading.Event()
    with scripted_server(script) as server, nothing_left():
        looping = run(lambda: list(reconnect(server.uri, stop=stop)))
        assert begun.wait(SOON)
        stop.set()
        assert looping.result() == []


def test_stop_ends_the_delay_after_a_useless_connection():
    begun, stop = threading.Event(), threading.Event()

    def backoff():
        begun.set()
        return itertools.repeat(LONG)

    def loop():
        for ws in reconnect(server.uri, backoff=backoff, stop=stop):
            drain(ws)

    with scripted_server(Site(WELCOME)) as server, nothing_left():
        looping = run(loop)
        assert begun.wait(SOON)
        stop.set()
        looping.result()


def test_one_event_stops_many_loops(closed_port):
    stop = threading.Event()
    loops = [waiting(closed_port, stop) for _ in range(10)]
    with nothing_left():
        running = [run(loop) for _, loop in loops]
        assert all(begun.wait(SOON) for begun, _ in loops)
        stop.set()
        assert [looping.result() for looping in running] == [[]] * 10


def test_who_is_stopped_while_connecting_gets_no_connection(listening):
    stop = threading.Event()

    def headers():
        stop.set()
        return {}

    with serving(listening) as server:
        turns = sum(1 for _ in reconnect(server.uri, stop=stop, additional_headers=headers))
        assert listening.code() == 1000
    assert turns == 0


def test_delays_that_are_short_are_waited_for():
    site = Site(answer(503), WELCOME)
    with scripted_server(site) as server:
        start = time.monotonic()
        first_connection(reconnect(server.uri, backoff=[0.3]))
        assert 0.3 <= time.monotonic() - start < SOON


@pytest.mark.parametrize("delay", [0, 0.0, -1.0, -float("inf")])
def test_no_delay_is_no_wait(delay):
    with scripted_server(Site(answer(503), WELCOME)) as server:
        assert first_connection(reconnect(server.uri, backoff=[delay])) is not None


@pytest.mark.parametrize("delay", [float("inf"), 1e20])
def test_a_delay_may_be_forever(closed_port, delay):
    begun, stop = threading.Event(), threading.Event()

    def backoff():
        begun.set()
        yield delay

    uri = f"ws://127.0.0.1:{closed_port}/"
    looping = run(lambda: list(reconnect(uri, backoff=backoff, stop=stop)))
    assert begun.wait(SOON)
    stop.set()
    assert looping.result() == []


# --- process_exception ---


def test_the_program_may_try_everything_again(delays):
    site = Site(answer(401), answer(404), b"SSH-2.0-OpenSSH_9.2\r\n", WELCOME)
    seen = []
    with scripted_server(site) as server:
        kwargs = {"backoff": itertools.count(1), "process_exception": seen.append}
        assert first_connection(reconnect(server.uri, **kwargs)) is not None
    assert delays == [1, 2, 3]
    assert [type(exc) for exc in seen] == [InvalidStatus, InvalidStatus, InvalidMessage]


def test_the_program_may_try_nothing_again(delays):
    raised = pytest.raises(InvalidStatus)
    with scripted_server(Site(answer(503), WELCOME)) as server, nothing_left(), raised as info:
        next(reconnect(server.uri, process_exception=lambda exc: exc))
    assert info.value.__cause__ is None
    assert delays == []


def test_the_program_may_raise_something_else(delays):
    class Gone(Exception):
        pass

    raised = pytest.raises(Gone)
    with scripted_server(Site(answer(503), WELCOME)) as server, nothing_left(), raised as info:
        next(reconnect(server.uri, process_exception=lambda exc: Gone("gone")))
    assert isinstance(info.value.__cause__, InvalidStatus)
    assert delays == []


def test_what_the_programs_decision_raises_is_raised(delays):
    def decide(exc):
        raise ZeroDivisionError from exc

    raised = pytest.raises(ZeroDivisionError)
    with scripted_server(Site(answer(503), WELCOME)) as server, nothing_left(), raised:
        next(reconnect(server.uri, process_exception=decide))
    assert delays == []


def test_the_program_is_not_asked_about_what_interrupts(monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    asked = []
    monkeypatch.setattr(syncws.client.reconnect, "connect", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(reconnect("ws://localhost/", process_exception=asked.append))
    assert asked == []


# --- redirects ---


def turns(count, uri, **kwargs):
    """Go on for so many connections; return the last."""
    for turn, ws in enumerate(reconnect(uri, **kwargs)):
        drain(ws)
        if turn == count - 1:
            return ws
    raise AssertionError("the loop ended")


def to(path, code):
    return answer(code, f"Location: {path}")


@pytest.mark.usefixtures("delays")
@pytest.mark.parametrize("code", [302, 303, 307])
def test_a_temporary_redirect_is_for_one_attempt(code):
    site = Site(WELCOME, first=[to("/second", code)])
    with scripted_server(site) as server:
        assert turns(3, server.uri + "first").path == "/second"
    assert site.asked == ["/first", "/second"] * 3


@pytest.mark.usefixtures("delays")
@pytest.mark.parametrize("code", [301, 308])
def test_a_permanent_redirect_is_for_all_attempts(code):
    site = Site(WELCOME, first=[to("/second", code)])
    with scripted_server(site) as server:
        turns(3, server.uri + "first")
    assert site.asked == ["/first", "/second", "/second", "/second"]


@pytest.mark.usefixtures("delays")
@pytest.mark.parametrize(
    ("first", "second", "begin"),
    [(301, 308, "/third"), (301, 302, "/second"), (302, 301, "/first"), (307, 303, "/first")],
)
def test_an_attempt_begins_where_permanent_redirects_have_led(first, second, begin):
    site = Site(WELCOME, first=[to("/second", first)], second=[to("/third", second)])
    way = ["/first", "/second", "/third"]
    with scripted_server(site) as server:
        turns(3, server.uri + "first")
    assert site.asked == way + 2 * way[way.index(begin) :]


@pytest.mark.usefixtures("delays")
def test_a_permanent_redirect_counts_though_what_it_leads_to_fails():
    site = Site(WELCOME, first=[to("/second", 301)], second=[answer(503), WELCOME])
    with scripted_server(site) as server:
        turns(1, server.uri + "first")
    assert site.asked == ["/first", "/second", "/second"]


@pytest.mark.usefixtures("delays")
def test_permanent_redirects_may_come_one_after_the_other():
    site = Site(WELCOME, first=[to("/second", 301)], second=[WELCOME, to("/third", 308)])
    with scripted_server(site) as server:
        turns(4, server.uri + "first")
    assert site.asked == ["/first", "/second", "/second", "/third", "/third", "/third"]


@pytest.mark.usefixtures("delays")
def test_loops_do_not_share_what_a_redirect_has_moved():
    site = Site(WELCOME, first=[to("/second", 301)])
    with scripted_server(site) as server:
        for _ in range(2):
            turns(2, server.uri + "first")
    assert site.asked == ["/first", "/second", "/second"] * 2


@pytest.mark.usefixtures("delays")
@pytest.mark.parametrize("code", [301, 302])
def test_another_server_gets_no_credentials_in_any_attempt(code):
    there = Site(WELCOME)
    with scripted_server(there) as other:
        here = Site(to(other.uri, code))
        with scripted_server(here) as server:
            uri = server.uri.replace("//", "//aladdin:sesame@")
            headers = {"Cookie": "a=b", "X-Api-Key": "c", "X-Other": "d"}
            turns(3, uri, additional_headers=headers, redirect_headers=["X-Other"])
    assert len(there.asked) == 3
    for headers in there.headers:
        assert "authorization" not in headers
        assert "cookie" not in headers
        assert "x-api-key" not in headers
        assert headers["x-other"] == "d"
    assert len(here.asked) == (1 if code == 301 else 3)
    assert all("authorization" in headers for headers in here.headers)


@pytest.mark.usefixtures("delays")
def test_headers_are_asked_for_anew_for_each_request():
    site = Site(WELCOME, first=[answer(503), to("/second", 302)])
    tokens = itertools.count(1)
    with scripted_server(site) as server:
        turns(2, server.uri + "first", additional_headers=lambda: {"X-Token": str(next(tokens))})
    asked = [headers["x-token"] for headers in site.headers]
    assert asked == ["1", "2", "3", "4", "5"]
    assert site.asked == ["/first", "/first", "/second", "/first", "/second"]


# --- logs ---


def test_each_failure_is_logged_with_the_delay(caplog, delays):
    caplog.set_level(logging.INFO, "syncws.client")
    with scripted_server(Site(answer(503), answer(502), WELCOME)) as server:
        first_connection(reconnect(f"{server.uri}chat?room=1", backoff=[1.5, 20.0]))
        where = f"ws://localhost:{server.port}/chat?room=1"
    assert messages(caplog) == [
        f"can't connect to {where}, trying again in 1.5 s:"
        " server rejected the WebSocket connection: HTTP 503",
        f"can't connect to {where}, trying again in 20.0 s:"
        " server rejected the WebSocket connection: HTTP 502",
    ]
    assert {record.name for record in caplog.records} == {"syncws.client"}


def test_what_is_raised_is_not_logged(caplog, delays):
    caplog.set_level(logging.DEBUG)
    with scripted_server(Site(answer(404))) as server, pytest.raises(InvalidStatus):
        next(reconnect(server.uri))
    assert messages(caplog) == []


def test_the_programs_logger_is_used(caplog, delays):
    caplog.set_level(logging.INFO)
    with scripted_server(Site(answer(503), WELCOME)) as server:
        first_connection(reconnect(server.uri, logger=logging.getLogger("of.mine")))
    assert {record.name for record in caplog.records} == {"of.mine"}


def assert_not_logged(caplog, *secrets):
    for record in caplog.records:
        text = f"{record.getMessage()} {record.exc_info} {record.exc_text}"
        assert [secret for secret in secrets if secret in text] == []


def test_credentials_are_never_logged(caplog, delays):
    caplog.set_level(logging.DEBUG)
    with scripted_server(Site(answer(503), to("/x", 301), answer(502))) as server:
        kwargs = {"additional_headers": {"Cookie": "jasmine", "X-Token": "carpet"}}
        uri = f"ws://aladdin:open%20sesame@localhost:{server.port}/"
        with pytest.raises(InvalidStatus):
            next(reconnect(uri, max_attempts=4, **kwargs))
        assert f"ws://localhost:{server.port}/" in messages(caplog)[0]
    assert len(messages(caplog)) == 3
    basic = base64.b64encode(b"aladdin:open sesame").decode()
    assert_not_logged(caplog, "sesame", "aladdin", "jasmine", "carpet", basic)


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_credentials_for_a_proxy_are_never_logged(scheme, caplog, delays, closed_port):
    if scheme == "socks5h":
        pytest.importorskip("python_socks")
    caplog.set_level(logging.DEBUG)
    proxy = f"{scheme}://aladdin:sesame@127.0.0.1:{closed_port}"
    with pytest.raises(ConnectionRefusedError):
        next(reconnect("ws://example.com/", max_attempts=2, proxy=proxy))
    assert len(messages(caplog)) == 1
    assert_not_logged(caplog, "sesame", "aladdin")


def test_credentials_in_a_redirect_are_never_logged(caplog, delays):
    def redirect(request):
        host = parse_head(request)[1]["host"]
        return to(f"//aladdin:sesame@{host}/second", 301)

    caplog.set_level(logging.DEBUG)
    site = Site(answer(503), first=[redirect])
    with scripted_server(site) as server:
        with pytest.raises(InvalidStatus):
            next(reconnect(server.uri + "first", max_attempts=3))
        where = f"ws://localhost:{server.port}/second"
    assert site.asked == ["/first", "/second", "/second", "/second"]
    assert "authorization" in site.headers[-1]
    assert [where in message for message in messages(caplog)] == [True, True]
    assert_not_logged(caplog, "sesame", "aladdin")


# --- a thousand times ---

#: Bytes that a turn may take for good: no connection or socket is as small. Not 0, as caches of
#: the interpreter fill in the first thousands of turns.
MOST = 40

WARM_UP = 100


def memory():
    """Bytes that are allocated, but for timers: up to 1000 that were cancelled are kept."""
    gc.collect()
    filters = [tracemalloc.Filter(False, f"*/{name}.py") for name in ("timekeeper", "tracemalloc")]
    snapshot = tracemalloc.take_snapshot().filter_traces(filters)
    return sum(trace.size for trace in snapshot.traces)


uncovered = pytest.mark.skipif(
    "coverage" in sys.modules, reason="the coverage tool grows with each thread"
)


def assert_no_growth(turn, count=1000):
    """Do something so many times, and find what it leaves behind."""
    tracemalloc.start()
    try:
        for _ in range(WARM_UP):
            turn()
        threads = threading.active_count()
        files = len(os.listdir("/proc/self/fd"))
        sizes = []
        for _ in range(5):  # the last of them: what is made once for all is made by then
            for _ in range(count // 5):
                turn()
            wait_until(lambda: threading.active_count() <= threads)
            wait_until(lambda: len(os.listdir("/proc/self/fd")) <= files)
            sizes.append(memory())
        # A leak is there in each part.
        least = min(after - before for before, after in zip(sizes, sizes[1:]))
        assert least < MOST * count // 5, sizes
    finally:
        tracemalloc.stop()


@uncovered
@pytest.mark.slow
@pytest.mark.parametrize("end", ["abort", "close"])
def test_1000_connections_that_the_server_ends_leave_nothing_behind(end):
    with serving(lambda ws: getattr(ws, end)()) as server:
        connections = reconnect(server.uri, backoff=NO_DELAYS, compression=None)
        with contextlib.closing(connections):
            assert_no_growth(lambda: drain(next(connections)))


@uncovered
@pytest.mark.slow
def test_connections_that_we_close_leave_nothing_behind():
    with serving() as server:
        connections = reconnect(server.uri, backoff=NO_DELAYS, compression=None)
        with contextlib.closing(connections):
            assert_no_growth(lambda: assert_works(next(connections)), 400)


@uncovered
@pytest.mark.slow
def test_loops_that_are_left_leave_nothing_behind():
    with serving() as server:
        assert_no_growth(lambda: break_out(server.uri, compression=None), 200)


@pytest.mark.slow
def test_2000_failed_attempts_leave_nothing_behind(closed_port):
    uri = f"ws://127.0.0.1:{closed_port}/"

    def turn():
        with contextlib.suppress(ConnectionRefusedError):
            next(reconnect(uri, backoff=NO_DELAYS, max_attempts=2))
            raise AssertionError("somebody listens")

    assert_no_growth(turn)


def test_growth_is_found():
    kept = []
    with pytest.raises(AssertionError):
        assert_no_growth(lambda: kept.append(bytes(50)))
