"""Refusals: counted by reason, and logged in moderation."""

import logging
import ssl

import pytest
from support.certificates import client_context, contexts
from support.pairs import run, wait_until
from support.scripted import (
    build_request,
    exchange,
    raw_client,
    read_all,
)
from support.serving import assert_works, messages, serving

from syncws import (
    connect,
)
from syncws.server import refusal_log


@pytest.fixture(autouse=True)
def debug(caplog):
    caplog.set_level("DEBUG")


def logged(caplog, event):
    return [record for record in caplog.records if getattr(record, "ws_event", None) == event]


class Answers:
    """Functions of a program that answers in various ways."""

    @staticmethod
    def process_request(ws, request):
        if request.path == "/fail":
            raise ZeroDivisionError("mine")
        status = {"/401": 401, "/404": 404, "/200": 200}.get(request.path)
        return None if status is None else ws.respond(status)


@pytest.mark.parametrize(
    ("data", "reason", "status"),
    [
        (build_request(Origin="https://example.org"), "origin", 403),
        (build_request(Host="example.org"), "host", 421),
        (build_request("/401"), "authentication", 401),
        (build_request("/404"), "status", 404),
        (build_request("/fail"), "failure", 500),
        (build_request(Upgrade=None), "request", 426),
        (build_request(method="PUT"), "request", 405),
        (b"\0\r\n\r\n", "request", 400),
        (b"", "lost", None),
        (b"GET / HT", "lost", None),
    ],
)
def test_refusals_are_counted_by_reason_and_logged(caplog, data, reason, status):
    with serving(hosts=["localhost"], process_request=Answers.process_request) as server:
        exchange(server, data)
        wait_until(lambda: not server._roster.running)
        assert server.stats().refusals == {reason: 1}
    (record,) = logged(caplog, "refusal")
    assert (record.ws_refusal, record.ws_status) == (reason, status)
    assert record.ws_remote_address[0] == "127.0.0.1"
    assert record.exc_info is None
    assert ("Traceback" in caplog.text) is (reason == "failure")


def test_what_a_client_comes_for_is_no_refusal(caplog):
    with serving(process_request=Answers.process_request) as server:
        assert exchange(server, build_request("/200"))[0] == "HTTP/1.1 200 OK"
        wait_until(lambda: not server._roster.running)
        assert server.stats().refusals == {}
    assert not logged(caplog, "refusal")
    assert any(message.startswith("GET /200 from (") for message in messages(caplog))


def test_failures_of_tls_and_time_are_counted(caplog):
    with serving(ssl=contexts()[0], open_timeout=0.2) as server:
        with raw_client(server) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            read_all(sock)
        with raw_client(server) as sock:
            assert read_all(sock) == b""
        with raw_client(server):
            pass
        wait_until(lambda: server.stats().refusals == {"tls": 1, "timeout": 1, "lost": 1})
    assert "Traceback" not in caplog.text


def test_a_client_that_goes_away_while_it_is_refused_is_counted_once(caplog):
    def process_request(ws, request):
        ws._transport.abort()
        return ws.respond(404)

    with serving(process_request=process_request) as server:
        exchange(server, build_request())
        wait_until(lambda: not server._roster.running)
        assert server.stats().refusals == {"status": 1}
    assert len(logged(caplog, "refusal")) == 1


def test_a_factory_that_fails_is_counted():
    def create(*args, **kwargs):
        raise ZeroDivisionError("mine")

    with serving(create_connection=create) as server, raw_client(server) as sock:
        assert read_all(sock) == b""
        wait_until(lambda: not server._roster.running)
        assert server.stats().refusals == {"failure": 1}


def test_of_many_refusals_the_first_one_is_logged_and_then_how_many(caplog, monkeypatch):
    monkeypatch.setattr(refusal_log, "INTERVAL", 0.2)
    with serving() as server:
        for _ in range(5):
            exchange(server, build_request(Upgrade=None))

        def count_told():
            records = [r for r in caplog.records if hasattr(r, "ws_refusal")]
            loud = [record for record in records if record.levelno > logging.DEBUG]
            return sum(getattr(record, "ws_count", 1) for record in loud)

        # In each interval one of them: the first, or the summary of those after it.
        wait_until(lambda: count_told() == 5)
        summary = logged(caplog, "refusals")[0]
        assert summary.getMessage() == (
            f"{summary.ws_count} more connections refused within 0.2 s: "
            "the request isn't a valid opening handshake"
        )
        wait_until(lambda: not server._refusal_log._unsaid)
        exchange(server, build_request(Upgrade=None))  # news again
        wait_until(lambda: server.stats().refusals == {"request": 6})
    last = [r for r in caplog.records if getattr(r, "ws_event", None) == "refusal"][-1]
    assert last.levelname == "INFO"


def test_what_is_still_to_be_said_is_said_at_the_end(caplog):
    with serving() as server:
        for _ in range(3):
            exchange(server, build_request(Upgrade=None))
        wait_until(lambda: not server._roster.running)
        assert not logged(caplog, "refusals")
    (summary,) = logged(caplog, "refusals")
    assert summary.ws_count == 2
    assert summary.levelname == "INFO"


def test_without_a_timer_each_refusal_is_logged(caplog, monkeypatch):
    def no_more(*args):
        raise RuntimeError("can't start new thread")

    counts = refusal_log.RefusalLog(logging.getLogger("mine"))
    monkeypatch.setattr(refusal_log, "call_later", no_more)
    for _ in range(2):
        counts.refuse("full", logging.WARNING, "full")
    assert messages(caplog, "WARNING") == ["full", "full"]
    counts.finish()


def test_counting_is_exact_with_many_threads():
    counts = refusal_log.RefusalLog(logging.getLogger("mine"))

    def refuse():
        for _ in range(200):
            counts.refuse("full", logging.DEBUG, "full")

    for running in [run(refuse) for _ in range(8)]:
        running.result()
    assert counts.counts == {"full": 1600}
    assert counts._unsaid["full"][1] == 1599
    counts.finish()


def test_certificates_that_clients_do_not_trust_are_told_as_tls():
    with serving(ssl=contexts()[0]) as server:
        with pytest.raises(ssl.SSLError):
            connect(server.uri, ssl=ssl.create_default_context())
        assert_works(connect(server.uri, ssl=client_context()))
        wait_until(lambda: server.stats().refusals == {"tls": 1})
