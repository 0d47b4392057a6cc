"""Connecting again and again, to real servers and to some that follow a script."""

import itertools
import socket
import threading
import time

import pytest
from support.pairs import SOON, run
from support.reconnecting import (
    HELLO,
    LONG,
    WELCOME,
    Site,
    answer,
    assert_works,
    drain,
    first_connection,
)
from support.scripted import build_response, nothing_left, says, scripted_server
from support.serving import serving

import syncws.client.reconnecting
from syncws import ConnectionClosed, InvalidMessage, InvalidStatus, InvalidURI, reconnect

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


# --- what is wrong from the beginning ---


@pytest.mark.parametrize("uri", ["ftp://localhost/", "localhost", "ws://", "ws://localhost/#x"])
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
    monkeypatch.setattr(syncws.client.reconnecting, "connect", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(reconnect("ws://localhost/", process_exception=asked.append))
    assert asked == []
