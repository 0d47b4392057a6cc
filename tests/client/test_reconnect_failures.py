"""Failures: which of them reconnect() tries again, when, and how often."""

import contextlib
import itertools
import socket
import ssl

import pytest
from support.certificates import client_context, contexts
from support.pairs import SOON, wait_until
from support.peers import reserved_port
from support.reconnecting import (
    CLOSE,
    HELLO,
    NO_DELAYS,
    UNKNOWN_FRAME,
    WELCOME,
    Site,
    answer,
    assert_works,
    drain,
    first_connection,
    in_turn,
    receive_all,
    reset,
)
from support.scripted import build_response, nothing_left, says, scripted_server, silent
from support.serving import serving

import syncws.client.reconnecting
from syncws import (
    ConnectionClosed,
    HeaderLineTooLong,
    InvalidMessage,
    InvalidProxyStatus,
    InvalidStatus,
    InvalidUpgrade,
    ProxyError,
    SecurityError,
    StatusLineTooLong,
    connect,
    reconnect,
)

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
            wait_until(lambda: not server._roster.running)
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
    monkeypatch.setattr(syncws.client.reconnecting, "clock", lambda: now[0])
    with scripted_server(Site(WELCOME)) as server:
        for turn, ws in enumerate(reconnect(server.uri, backoff=itertools.count(1))):
            now[0] += duration
            drain(ws)
            if turn == 2:
                break
    assert delays == ([0, 0] if is_useful else [1, 2])
