"""``proxy``: between a client and a server."""

import contextlib
import io
import logging
import re
import socket
import sys
import threading

import pytest
import websockets.sync.client
from support.certificates import client_context, server_context
from support.pairs import wait_until
from support.scripted import build_request, read_head, scripted_server, silent
from support.shell import DEADLINE, Recorder, interrupt, program, serving, terminate
from support.wire import build_frame

import syncws
from syncws import cli
from syncws.cli import proxy_command, relay
from syncws.cli.relay import Relays, rewrite
from syncws.cli.serve_command import echo
from syncws.cli.trace_lines import Tracer
from syncws.client.reaching import Route
from syncws.sansio.uri import parse_uri
from syncws.server.accepting import Acceptor
from syncws.server.listeners import listen
from syncws.threaded.deadline import Deadline


@contextlib.contextmanager
def proxying(target, context=None, **kwargs):
    """A proxy in this process: its URI, and what it shows."""
    shown = io.StringIO()
    relays = Relays(parse_uri(target), Route(ssl=context, proxy=None), Tracer(shown), **kwargs)
    sockets = listen("127.0.0.1", 0, backlog=16, reuse_port=False, family=0)
    acceptor = Acceptor(sockets, relays.accepted, logging.getLogger("test"))
    acceptor.start()
    try:
        yield f"ws://127.0.0.1:{sockets[0].getsockname()[1]}/", shown
    finally:
        acceptor.stop(Deadline(DEADLINE))
        relays.stop(Deadline(DEADLINE))
    assert not [each for each in threading.enumerate() if each.name == "syncws-proxy"]


def names(shown):
    """Direction and name of the frames that were shown."""
    return re.findall(r"([→←])  ([A-Z]+) +fin=1", shown.getvalue())


CONVERSATION = [
    *(("→", "TEXT"), ("←", "TEXT")),
    *(("→", "BINARY"), ("←", "BINARY")),
    *(("→", "PING"), ("←", "PONG")),
    *(("→", "CLOSE"), ("←", "CLOSE")),
]


def converse(ws):
    text = "hello " * 1000
    ws.send(text)
    assert ws.recv(timeout=DEADLINE) == text
    ws.send(bytes(70_000))
    assert ws.recv(timeout=DEADLINE) == bytes(70_000)
    assert ws.ping().wait(DEADLINE)


@pytest.mark.parametrize("connect", [syncws.connect, websockets.sync.client.connect])
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_frames_are_relayed_and_shown(connect, compression):
    with serving(echo) as target, proxying(target) as (uri, shown):
        with connect(uri, compression=compression, origin=uri.replace("ws", "http")[:-1]) as ws:
            converse(ws)
        wait_until(lambda: "closed" in shown.getvalue())
    assert names(shown) == CONVERSATION
    what = 'compressed, 6000 bytes of text: "hello' if compression else '"hello hello'
    assert shown.getvalue().count(what) == 2
    assert re.search(r"^#1 .* to the server: Host: localhost:\d+$", shown.getvalue(), re.MULTILINE)
    assert re.search(r"to the server: Origin: http://localhost:\d+\n", shown.getvalue())


def test_a_target_may_have_tls():
    context = client_context()
    with serving(echo, ssl=server_context()) as target, proxying(target, context) as (uri, shown):
        with syncws.connect(uri) as ws:
            converse(ws)
        wait_until(lambda: "closed" in shown.getvalue())
    assert names(shown) == CONVERSATION


def test_close_codes_are_relayed_as_they_are():
    handler = Recorder(lambda ws: ws.close(4321, "of the server"))
    with serving(handler) as target, proxying(target) as (uri, shown):
        with syncws.connect(uri) as ws:
            assert ws.wait_closed(DEADLINE)
        assert (ws.close_code, ws.close_reason) == (4321, "of the server")
    assert 'close code 4321 (private use), reason "of the server"' in shown.getvalue()
    handler = Recorder(lambda ws: list(ws))
    with serving(handler) as target, proxying(target) as (uri, shown):
        syncws.connect(uri).close(4322, "of the client")
        assert handler.closed.wait(DEADLINE)
    assert handler.code == 4322


def test_a_client_that_is_cut_off_is_gone_for_the_server_too():
    handler = Recorder(lambda ws: list(ws))
    with serving(handler) as target, proxying(target) as (uri, _):
        ws = syncws.connect(uri)
        assert handler.opened.wait(DEADLINE)
        ws.abort()
        assert handler.closed.wait(DEADLINE)
    assert handler.code == 1006


def test_a_server_that_cuts_is_gone_for_the_client_too():
    with serving(lambda ws: ws.abort()) as target, proxying(target) as (uri, _):
        with syncws.connect(uri) as ws:
            assert ws.wait_closed(DEADLINE)
        assert ws.close_code == 1006


def test_connections_have_numbers_and_a_bad_one_costs_only_itself(monkeypatch):
    monkeypatch.setattr(relay, "MAX_HEAD", 1000)
    with serving(echo) as target, proxying(target) as (uri, shown):
        with syncws.connect(uri) as first:
            with connected(uri) as bad:
                bad.sendall(b"x" * 2000)
                assert receive_all(bad).startswith(b"HTTP/1.1 431 ")
            with connected(uri) as gone:
                gone.sendall(b"GET / HT")
            with syncws.connect(uri) as fourth:
                fourth.send("4")
                assert fourth.recv(DEADLINE) == "4"
            first.send("1")
            assert first.recv(DEADLINE) == "1"
        wait_until(lambda: shown.getvalue().count("closed\n") == 4)
    assert re.search(r"^#4 .*→  TEXT .* \"4\"$", shown.getvalue(), re.MULTILINE)
    assert re.search(r"^#1 .*→  TEXT .* \"1\"$", shown.getvalue(), re.MULTILINE)
    assert re.search(r"^#2 .*answered with 431", shown.getvalue(), re.MULTILINE)
    assert "#3 " in shown.getvalue()


def connected(uri):
    """A socket connected to a proxy."""
    parsed = parse_uri(uri)
    return socket.create_connection((parsed.host, parsed.port))


def receive_all(sock):
    sock.settimeout(DEADLINE)
    received = b""
    while data := sock.recv(65536):
        received += data
    return received


def test_a_client_that_says_nothing_is_told_so(monkeypatch):
    monkeypatch.setattr(relay, "HEAD_TIMEOUT", 0.05)
    with proxying("ws://127.0.0.1:9/") as (uri, _), connected(uri) as sock:
        assert receive_all(sock).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(("target", "status"), [("ws://127.0.0.1:9/", 502), ("silent", 504)])
def test_a_server_that_can_not_be_reached_is_told(target, status, monkeypatch):
    monkeypatch.setattr(relay, "DIAL_TIMEOUT", 0.1)
    with scripted_server(silent) as server:
        if target == "silent":
            target = f"wss://127.0.0.1:{server.port}/"
        with proxying(target) as (uri, shown):
            with pytest.raises(syncws.InvalidStatus) as caught:
                syncws.connect(uri)
            assert caught.value.response.status_code == status
            assert f"answered with {status}: the server can't be reached" in shown.getvalue()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 421),
        ("evil.example:8766", 421),
        ("other:8766", 101),
        ("Proxy.Example", 101),
    ],
)
def test_only_names_of_the_proxy_are_relayed(host, status):
    with serving(echo) as target, proxying(target, name="proxy.example") as (uri, _):
        at = parse_uri(uri)
        with socket.create_connection((at.host, at.port), DEADLINE) as sock:
            sock.sendall(build_request(Host=host, Origin=f"http://{host}"))
            assert read_head(sock).startswith(f"HTTP/1.1 {status} ".encode())


def test_pages_are_relayed_too():
    page = {"process_request": lambda ws, request: ws.respond(200, "a page")}
    with serving(echo, **page) as target, proxying(target) as (uri, shown):
        with connected(uri) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = receive_all(sock)
        assert answer.endswith(b"a page")
    assert "no WebSocket: the server answered with status 200" in shown.getvalue()


def test_a_side_that_does_not_read_keeps_the_other_from_sending():
    full = threading.Event()

    def flood(ws):
        try:
            while True:
                ws.send(bytes(1 << 16))
        except syncws.SendTimeout:
            full.set()
        ws.abort()

    server = serving(flood, send_timeout=0.3, compression=None)
    with server as target, proxying(target) as (uri, _), connected(uri) as sock:
        sock.sendall(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Version: 13\r\n\r\n"
        )
        assert full.wait(DEADLINE)


def test_a_direction_that_does_not_end_is_cut_off(monkeypatch):
    monkeypatch.setattr(relay, "LINGER_TIMEOUT", 0.05)
    server = scripted_server(lambda sock: sock.recv(1))
    with (
        server as target,
        proxying(f"ws://127.0.0.1:{target.port}/") as (uri, shown),
        connected(uri) as sock,
    ):
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n" + build_frame(0x81, b"x"))
        with contextlib.suppress(ConnectionError):
            assert receive_all(sock) == b""
        wait_until(lambda: "closed" in shown.getvalue())


# --- the head --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "target", "changed", "notes"),
    [
        (
            "GET /x HTTP/1.1\r\nhOST: localhost:1\r\nUpgrade: WebSocket\r\nConnection: Upgrade",
            "wss://server.example/y",
            "GET /x HTTP/1.1\r\nhOST: server.example\r\nUpgrade: WebSocket\r\nConnection: Upgrade",
            ["hOST: server.example"],
        ),
        (
            "GET / HTTP/1.1\r\nHost: a:1\r\nOrigin: http://a:1\r\nUpgrade: websocket",
            "wss://[::1]:99/",
            "GET / HTTP/1.1\r\nHost: [::1]:99\r\nOrigin: https://[::1]:99\r\nUpgrade: websocket",
            ["Host: [::1]:99", "Origin: https://[::1]:99"],
        ),
        (
            "GET / HTTP/1.1\r\nHost: b:80\r\nOrigin: http://other\r\nUpgrade: websocket",
            "ws://b:80/",
            "GET / HTTP/1.1\r\nHost: b\r\nOrigin: http://other\r\nUpgrade: websocket",
            ["Host: b"],
        ),
        (
            "GET / HTTP/1.1\r\nHost: b\r\nConnection: keep-alive\r\nX: \xff",
            "ws://b/",
            "GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\nX: \xff",
            ["Connection: close"],
        ),
        (
            "GET / HTTP/1.1\r\nHost: b",
            "ws://user:secret@b/",
            "GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\n"
            "Authorization: Basic dXNlcjpzZWNyZXQ=",
            ["Authorization: (not shown)"],
        ),
        (
            "GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\nAuthorization: own",
            "ws://user:secret@b/",
            "GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\nAuthorization: own",
            [],
        ),
    ],
)
def test_only_what_must_be_changed_is(head, target, changed, notes):
    found = rewrite(head.encode("latin-1") + b"\r\n\r\n", parse_uri(target))
    assert found == (changed.encode("latin-1") + b"\r\n\r\n", notes)


# --- the command -----------------------------------------------------------------


def test_the_command_relays_until_ctrl_c():
    with serving(echo) as target, program("proxy", target + "path?q", "--port", "0") as process:
        assert process.stdout.readline() == f"Relaying to {target}path?q; Ctrl-C stops it.\n"
        uri = process.stdout.readline().split()[-1]
        assert re.fullmatch(r"ws://localhost:\d+/path\?q", uri)
        ws = syncws.connect(uri)
        ws.send("hello")
        assert ws.recv(DEADLINE) == "hello"
        assert interrupt(process) == (0, "")
        assert ws.wait_closed(DEADLINE)
        assert "→  GET /path?q HTTP/1.1" in process.stdout.read()


def test_the_command_ends_well_at_sigterm():
    with serving(echo) as target, program("proxy", target, "--port", "0") as process:
        process.stdout.readline()
        ws = syncws.connect(process.stdout.readline().split()[-1])
        assert terminate(process) == (0, "")
        assert ws.wait_closed(DEADLINE)


def test_relaying_ends_what_is_open(monkeypatch, capsys):
    visits = []

    class Visit:
        def wait(self):
            uri = capsys.readouterr().out.split()[-1]
            visits.append(syncws.connect(uri))
            raise KeyboardInterrupt

    with serving(echo) as target:
        monkeypatch.setattr(proxy_command, "Latch", Visit)
        assert cli.main(["proxy", target, "--port", "0"]) == 0
        assert visits[0].wait_closed(DEADLINE)


@pytest.mark.parametrize(
    ("args", "status", "text"),
    [
        (["http://x"], 2, "isn't a valid WebSocket URI"),
        (["wss://localhost/", "--cafile", "/nonexistent"], 1, "No such file"),
        (["ws://localhost/", "--host", "192.0.2.1"], 1, "192.0.2.1"),
    ],
)
def test_what_can_not_be_relayed_is_said(capsys, args, status, text):
    assert cli.main(["proxy", *args, "--port", "0"]) == status
    assert text in capsys.readouterr().err


def test_certificates_need_not_be_checked(monkeypatch, capsys):
    made = []

    def interrupted(sockets, accepted, logger):
        made.append(accepted.__self__._route.ssl)
        for sock in sockets:
            sock.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(proxy_command, "Acceptor", interrupted)
    assert cli.main(["proxy", "--insecure", "wss://localhost/", "--port", "0"]) == 130
    assert made[0].verify_mode == 0
    assert sys.exc_info() == (None, None, None)


def test_an_address_is_shown_as_one_can_connect_to_it(capsys):
    proxy_command._announce("::", 1, parse_uri("ws://user:secret@x/"))
    out = capsys.readouterr().out
    assert "Connect to ws://[::1]:1/\n" in out
    assert "secret" not in out


def test_after_stopping_nobody_is_relayed():
    relays = Relays(parse_uri("ws://localhost/"), Route(), Tracer(io.StringIO()))
    relays.stop(Deadline(0))
    near, far = socket.socketpair()
    with far:
        relays.accepted(near)
        assert far.recv(1) == b""


def test_without_threads_a_connection_is_refused(monkeypatch):
    relays = Relays(parse_uri("ws://localhost/"), Route(), Tracer(io.StringIO()))

    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    near, far = socket.socketpair()
    with near, far, pytest.raises(OSError, match="can't start new thread"):
        relays.accepted(near)
    relays.stop(Deadline(0))
