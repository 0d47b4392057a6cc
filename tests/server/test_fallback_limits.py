"""How many sessions of the fallback there may be, what they take, and who may have one."""

import contextlib
import socket
import threading

import pytest
from support.fallback_client import (
    BINARY,
    ZERO,
    FallbackClient,
    fallback_session,
    over_http,
    session_over_http,
    texts,
)
from support.pairs import SOON, wait_until
from support.serving import echo, messages, serving, the_connection
from support.wire import build_frame

from syncws import Fallback, Router, ServerConnection, basic_auth
from syncws.fallback import opening
from syncws.fallback import session as session_module
from syncws.server import http_peer


@pytest.fixture
def opened():
    """A server that echoes, and a client with a session."""
    with session_over_http() as pair:
        yield pair


# --- limits ------------------------------------------------------------------------


@contextlib.contextmanager
def late_handler(**kwargs):
    """A handler that receives nothing before it is told to, and the lengths of what it received."""
    go_on, received = threading.Event(), []

    def handler(ws):
        assert go_on.wait(SOON)
        for message in ws:
            received.append(len(message))

    kwargs.update(handler=handler, max_queue=1, read_limit=1)
    with session_over_http(**kwargs) as (server, client):
        yield server, client, go_on, received


def test_a_handler_that_does_not_receive_keeps_the_client_waiting(monkeypatch):
    monkeypatch.setattr(http_peer.HttpPeer, "max_wait", 0.1)
    with late_handler() as (_, client, go_on, received):
        data = build_frame(BINARY, bytes(100_000), ZERO)
        count = 20  # more than all buffers take
        stream = data * count
        while client.sent < len(stream):
            before = client.sent
            answer = client.post(stream[before : before + 200_000])
            assert answer.status == 204
            if client.sent - before < min(200_000, len(stream) - before):
                go_on.set()  # it took less than all
        assert go_on.is_set()
        wait_until(lambda: len(received) == count)


def pause(server, client):
    """Send so many messages that nobody reads any more; return one of their frames."""
    frame = build_frame(BINARY, bytes(100), ZERO)
    for _ in range(2):
        client.post(frame)
    wait_until(the_connection(server)._is_paused)
    return frame


def test_the_time_of_a_session_begins_when_a_body_was_taken():
    with late_handler() as (server, client, go_on, _):
        pause(server, client)
        session, sent = fallback_session(server), client.sent
        body = build_frame(BINARY, bytes(250_000), ZERO)
        client.ask("POST", body, {"Syncws-Position": str(sent)})
        wait_until(lambda: session._post is not None and session._incoming.position > sent)
        session._used_at -= 1000  # it has waited for longer than a session lasts
        go_on.set()
        assert client.answer().status == 204
        assert client.poll(wait=0).status in (200, 204)


def test_a_server_has_only_so_many_http_connections():
    with late_handler(max_connections=2) as (server, client, go_on, _):
        pause(server, client)
        session, position = fallback_session(server), {"Syncws-Position": str(client.sent)}
        body = build_frame(BINARY, bytes(250_000), ZERO)
        client.ask("POST", body, position, over=client.main)
        client.ask("GET", headers=client.wait_headers(), over=client.connect())
        wait_until(lambda: session._get is not None and session._post is not None)
        with pytest.raises(OSError, match=r"closed|reset"):
            client.request("GET", headers={"Syncws-Session": "bad"}, over=client.connect())
        go_on.set()
        assert client.answer().status == 204


def test_a_newer_request_takes_the_place_of_one_that_waits():
    with late_handler() as (server, client, go_on, received):
        first = pause(server, client)
        start, stream = client.sent, build_frame(BINARY, bytes(1_000_000), ZERO)
        session = fallback_session(server)

        def ask(over):
            position = session._incoming.position
            part = stream[position - start :][:250_000]
            client.ask("POST", part, {"Syncws-Position": str(position)}, over=over)
            wait_until(
                lambda: (
                    session._post is not None or session._incoming.position >= position + len(part)
                )
            )
            settled = threading.Event()  # it may be taking it just now
            server._handling.fallback._reactor.call(settled.set)
            assert settled.wait(SOON)

        stuck = client.connect()
        ask(stuck)
        while session._post is None:
            assert client.answer(stuck).status == 204
            ask(stuck)
        newer = client.connect()
        now = str(session._incoming.position)
        assert client.post(b"", ack=0, over=newer).headers["Syncws-Ack"] == now
        assert session._post is not None
        client.ask("POST", first, {"Syncws-Position": "0"}, over=newer)
        acknowledged = client.answer(stuck).headers["Syncws-Ack"]
        assert client.answer(newer).headers["Syncws-Ack"] == acknowledged
        position = str(session._incoming.position)
        waiting = {"Syncws-Position": position, "Syncws-Wait": "1"}
        answer = client.request("POST", stream[int(position) - start :][:250_000], waiting)
        assert answer.headers["Syncws-Ack"] == position
        ask(stuck)
        assert session._post is not None
        stuck.close()  # the client has gone, and comes again
        wait_until(lambda: session._post is None)
        go_on.set()
        client.sent = session._incoming.position
        while client.sent < start + len(stream):
            client.post(stream[client.sent - start :][:250_000])
        wait_until(lambda: received == [100, 100, 1_000_000])


def test_a_client_that_does_not_acknowledge_keeps_the_handler_waiting():
    sent = []

    def handler(ws):
        for number in range(50):
            ws.send(bytes(100_000))
            sent.append(number)
        ws.recv()

    with serving(handler, fallback=True) as server, FallbackClient(server) as client:
        client.open()
        events = client.stream()
        session = fallback_session(server)
        while len(client.received) < session_module.MAX_UNACKNOWLEDGED:
            events.next()
        assert len(sent) < 20
        assert len(session._outgoing) <= session_module.MAX_UNACKNOWLEDGED + (1 << 16)
        while len(client.received) < 50 * 100_010:
            client.post(b"", ack=len(client.received))
            events.next()
        assert len(client.frames()) == 50


@pytest.mark.parametrize(
    ("limits", "code", "status"),
    [
        (Fallback(max_sessions=1), "busy", 503),
        (Fallback(max_sessions_per_address=1), "too_many_sessions", 429),
    ],
)
def test_there_are_only_so_many_sessions(limits, code, status):
    with serving(fallback=limits) as server, FallbackClient(server) as client:
        client.open()
        with FallbackClient(server) as other:
            answer = other.open()
            assert (answer.status, answer.code) == (status, code)
            assert answer.headers["Retry-After"] == "5"
            ws = the_connection(server)
            client.close_frame()
            client.receive()
            assert ws.wait_closed(SOON)
            wait_until(lambda: not len(server._handling.fallback._sessions))
            assert other.open().status == 200


def test_connections_that_have_ended_count_no_more(opened):
    server, client = opened
    ws = the_connection(server)
    assert len(server._handling.fallback._sessions) == 1
    ws.abort()  # no request waits
    wait_until(lambda: len(server._handling.fallback._sessions) == 0)
    assert client.poll().headers["Syncws-End"] == "0"


@pytest.mark.parametrize("limits", [{"max_sessions": 2}, {"max_sessions_per_address": 2}])
def test_only_so_many_that_have_ended_are_kept(limits):
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(fallback=Fallback(**limits)))
        sessions = server._handling.fallback._sessions
        clients = [stack.enter_context(FallbackClient(server)) for _ in range(4)]
        for client in clients:
            client.open()
            client.send("x" * 1000)
            client.close_frame()
            wait_until(lambda: not len(sessions))
        assert [client.poll().status for client in clients] == [404, 404, 200, 200]
        clients[2].request("DELETE")
        with FallbackClient(server) as another:
            another.open()
            another.close_frame()
            wait_until(lambda: not len(sessions))
            assert [client.poll().status for client in clients] == [404, 404, 404, 204]


def test_a_session_that_is_over_keeps_nothing(opened):
    """A timer may have it for longer."""
    server, client = opened
    session = fallback_session(server)
    client.send("x" * 1000)
    wait_until(lambda: len(session._outgoing) > 1000)
    client.request("DELETE")
    wait_until(lambda: not len(session._outgoing))


def test_an_opening_that_can_not_start_is_told(monkeypatch, caplog):
    with over_http() as (server, client):
        sessions = server._handling.fallback._sessions
        with monkeypatch.context() as patch:
            patch.setattr(sessions, "_start", lambda *_: 1 / 0)
            assert client.open().code == "busy"
        wait_until(lambda: "the fallback failed" in messages(caplog, "ERROR"))
        assert len(sessions) == 0
        assert client.open().status == 200


def test_sessions_are_connections_of_the_server():
    limits = {"max_connections": 2, "max_connections_per_address": 1}
    with over_http(fallback=Fallback(max_sessions=9), **limits) as (server, client):
        client.open()
        wait_until(lambda: the_connection(server).open)
        with FallbackClient(server) as other:
            answer = other.open()
            assert (answer.status, answer.code) == (503, "busy")
            assert answer.headers["Retry-After"] == "5"
        client.send("hello")
        assert texts(client.receive()) == ["hello"]


def test_a_third_of_the_connections_may_be_sessions():
    assert Fallback().limits(None).max_sessions is None
    assert Fallback().limits(300).max_sessions == 100
    assert Fallback().limits(1).max_sessions == 1
    assert Fallback(max_sessions=7).limits(300).max_sessions == 7


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"session_timeout": 0}, "session_timeout must be positive, got 0"),
        ({"max_sessions": 0}, "max_sessions must be at least 1, got 0"),
        ({"max_sessions_per_address": -1}, "max_sessions_per_address must be at least 1, got -1"),
        ({"script": "syncws.js"}, "script is a path that starts with /, not 'syncws.js'"),
    ],
)
def test_wrong_limits_are_told(wrong, error):
    with pytest.raises(ValueError, match=error):
        Fallback(**wrong)


def test_wrong_fallbacks_are_told():
    with pytest.raises(TypeError, match=r"fallback is True, False or a syncws\.Fallback, not 1"):
        serving(fallback=1).__enter__()


def test_streams_may_be_turned_off():
    with serving(fallback=Fallback(streaming=False)) as server, FallbackClient(server) as client:
        client.open()
        assert client.opened["streaming"] is False
        client.send("hello")
        headers = {**client.wait_headers(), "Accept": "text/event-stream"}
        answer = client.request("GET", headers=headers)
        assert answer.headers["Content-Type"] == "application/octet-stream"


def test_without_descriptors_a_session_is_refused(monkeypatch):
    def fail():
        raise OSError(24, "Too many open files")

    with serving(fallback=True) as server, FallbackClient(server) as client:
        client.request("GET", headers={"Syncws-Session": "bad"})  # starts the thread
        with monkeypatch.context() as patch:
            patch.setattr(socket, "socketpair", fail)
            answer = client.open()
        assert (answer.status, answer.code) == (503, "busy")
        assert client.open().status == 200


# --- who may -----------------------------------------------------------------------


def test_origins_are_those_of_the_server():
    allowed = {"Origin": "https://example.com"}
    with serving(fallback=True, origins=["https://example.com"]) as server:
        with FallbackClient(server, Origin="https://evil.com") as client:
            answer = client.open()
            assert (answer.status, answer.code) == (403, "refused")
            assert "https://evil.com" in answer.json["error"]["message"]
            assert "Access-Control-Allow-Origin" not in answer.headers
        with FallbackClient(server, **allowed) as client:
            answer = client.open()
            assert answer.headers["Access-Control-Allow-Origin"] == "https://example.com"
            assert answer.headers["Access-Control-Allow-Credentials"] == "true"
            assert "Syncws-Ack" in answer.headers["Access-Control-Expose-Headers"]
            assert answer.headers["Vary"] == "Origin"
            client.headers = {"Origin": "https://evil.com"}
            assert (client.poll().status, client.poll().code) == (403, "origin")
            client.headers = {}  # of the same origin browsers say nothing
            client.send("hello")
            assert texts(client.receive()) == ["hello"]


def test_a_program_that_names_origins_itself_does_no_harm():
    """Browsers refuse what has two such headers."""
    page = "https://example.com"

    def allow(ws, request, response):
        response.headers["Access-Control-Allow-Origin"] = page
        response.headers["Access-Control-Allow-Credentials"] = "true"

    options = {"origins": [page], "process_response": allow, "headers": {"Origin": page}}
    with over_http(**options) as (_, client):
        for _ in range(2):  # the same again, by its nonce
            client.session = None
            answer = client.open(nonce="n" * 22)
            assert answer.headers.get_all("Access-Control-Allow-Origin") == [page]
            assert answer.headers.get_all("Access-Control-Allow-Credentials") == ["true"]


def test_same_origin_is_the_default():
    with serving(fallback=True) as server, FallbackClient(server) as client:
        client.headers = {"Origin": "https://evil.com"}
        assert client.open().status == 403
        client.headers = {"Origin": f"http://127.0.0.1:{server.port}"}
        assert client.open().status == 200


def test_browsers_may_ask_whether_pages_may_ask():
    with serving(fallback=True) as server, FallbackClient(server) as client:
        answer = client.request(
            "OPTIONS",
            headers={
                "Origin": "https://example.com",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "content-type,syncws-nonce,syncws-session",
            },
        )
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["Access-Control-Allow-Methods"] == "GET, POST, DELETE"
        assert "Syncws-Session" in answer.headers["Access-Control-Allow-Headers"]
        assert answer.headers["Access-Control-Allow-Origin"] == "https://example.com"
        other = client.request("OPTIONS", over=client.connect())  # goes to the program
        assert other.status == 405


def test_what_browsers_may_ask_they_remember_only_where_the_page_has_a_session():
    """Else pages of all origins could send the program what browsers ask about first."""
    page, other = "https://example.com", "https://evil.com"

    def ask(client, path, origin):
        client.path = path
        asked = {"Origin": origin, "Access-Control-Request-Headers": "syncws-session"}
        return client.request("OPTIONS", headers=asked).headers["Access-Control-Max-Age"]

    with over_http("/chat", origins=[page], headers={"Origin": page}) as (_, client):
        assert ask(client, "/chat", page) == "0"
        assert client.open().status == 200
        assert ask(client, "/chat", page) == "600"
        assert ask(client, "/chat", other) == "0"
        assert ask(client, "/delete", page) == "0"
        assert client.request("DELETE").status == 204
        assert ask(client, "/chat", page) == "0"
        client.session = None


def test_authentication_judges_openings():
    check = basic_auth("realm", {"ann": "secret"})
    with over_http(process_request=check) as (server, client):
        answer = client.open()
        assert (answer.status, answer.code) == (401, "refused")
        assert answer.headers["WWW-Authenticate"].startswith("Basic")
        answer = client.open(Authorization="Basic YW5uOnNlY3JldA==")
        assert answer.status == 200
        wait_until(lambda: the_connection(server).username == "ann")


def test_the_program_may_answer_something_else():
    def process_request(ws, request):
        assert "Syncws-Session" not in request.headers
        assert request.method == "GET"
        return ws.respond(302, "elsewhere", {"Location": "/there", "Set-Cookie": "a=b"})

    options = {"fallback": True, "process_request": process_request}
    with serving(**options) as server, FallbackClient(server) as client:
        answer = client.open(Cookie="c=d")
        assert (answer.status, answer.code) == (302, "refused")
        assert answer.json["error"]["message"] == "elsewhere"
        assert answer.headers["Location"] == "/there"
        assert answer.headers["Set-Cookie"] == "a=b"


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_can_have_no_body_has_none(status):
    options = {"process_request": lambda ws, _: ws.respond(status, "")}
    with over_http(**options) as (_, client):
        for _ in range(2):  # over the same connection
            answer = client.open()
            assert (answer.status, answer.body) == (status, b"")
            assert "Content-Length" not in answer.headers


def test_routers_choose_the_handler():
    router = Router()

    @router.route("/echo/<name>")
    def named(ws, name):
        ws.send(name)
        echo(ws)

    with serving(router, fallback=True) as server:
        with FallbackClient(server, "/echo/ann") as client:
            client.open()
            assert texts(client.receive()) == ["ann"]
        with FallbackClient(server, "/nothing") as client:
            answer = client.open()
            assert (answer.status, answer.code) == (404, "refused")


def test_trusted_proxies_say_who_the_client_is():
    headers = {"X_Forwarded_For": "192.0.2.1"}
    with over_http(trusted_proxies=["127.0.0.0/8"], headers=headers) as (server, client):
        client.open()
        assert the_connection(server).remote_address == ("192.0.2.1", 0)


@pytest.mark.parametrize("told", ["X_Forwarded_For", "Forwarded"])
def test_sessions_count_for_the_client_that_a_proxy_tells(told):
    def tell(address):
        value = f"for={address}" if told == "Forwarded" else address
        return {told: value}

    options = {
        "fallback": Fallback(max_sessions_per_address=1),
        "trusted_proxies": ["127.0.0.0/8"],
    }
    with over_http(headers=tell("192.0.2.1"), **options) as (server, client):
        assert client.open().status == 200
        with FallbackClient(server, **tell("192.0.2.1")) as same:
            assert same.open().code == "too_many_sessions"
        with FallbackClient(server, **tell("192.0.2.2")) as other:
            assert other.open().status == 200
        with FallbackClient(server, **tell("nonsense,,")) as wrong:
            assert wrong.open().code == "refused"


def test_an_opening_that_fails_is_told(caplog):
    class Failing(ServerConnection):
        def process_request(self, request):
            self.abort()

    options = {"fallback": True, "create_connection": Failing}
    with serving(**options) as server, FallbackClient(server) as client:
        answer = client.open()
        assert (answer.status, answer.code) == (503, "busy")


def test_an_opening_that_takes_too_long_is_given_up(monkeypatch):
    monkeypatch.setattr(opening, "OPEN_TIMEOUT", 0.1)
    go_on = threading.Event()
    options = {"fallback": True, "process_request": lambda ws, request: go_on.wait(SOON) and None}
    with serving(**options) as server, FallbackClient(server) as client:
        answer = client.open()
        go_on.set()
        assert (answer.status, answer.code) == (503, "busy")
        assert "too long" in answer.json["error"]["message"]
