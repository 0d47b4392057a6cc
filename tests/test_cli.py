"""The command line: in this process where that shows enough, else as a program of its own."""

import base64
import contextlib
import hashlib
import http.client
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest
from support.wire import build_frame

import syncws
from syncws import cli, demo
from syncws.sansio.handshake import accept_value

DEADLINE = 20.0


@contextlib.contextmanager
def program(*args, **kwargs):
    """`python -m syncws` with these arguments, killed if it takes too long."""
    env = {**os.environ, "PYTHONPATH": str(pathlib.Path(syncws.__file__).parents[1])}
    # A function as the handler becomes the default in the child; "ignored" would stay.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "syncws", *args],
            **{
                "stdin": subprocess.PIPE,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                **kwargs,
            },
            env=env,
            text=True,
            encoding="utf-8",
        )
    finally:
        signal.signal(signal.SIGINT, before)
    watchdog = threading.Timer(DEADLINE, process.kill)
    watchdog.start()
    try:
        with process:
            yield process
            process.kill()  # nothing happens if it has ended
    finally:
        process.kill()
        watchdog.cancel()
        watchdog.join()


def end(process):
    """The exit status and what is on standard error, once the program has ended."""
    status = process.wait(DEADLINE)
    return status, process.stderr.read()


def interrupt(process):
    process.send_signal(signal.SIGINT)
    return end(process)


@pytest.fixture
def typed(monkeypatch):
    """Put text on standard input, and by default its end; return the other end of it."""
    with contextlib.ExitStack() as stack:

        def type_in(data=b"", eof=True):
            read, write = os.pipe()
            monkeypatch.setattr(sys, "stdin", stack.enter_context(open(read, encoding="utf-8")))
            stack.callback(join_stdin_threads)
            keyboard = stack.enter_context(open(write, "wb", buffering=0))
            keyboard.write(data)
            if eof:
                keyboard.close()
            return keyboard

        yield type_in


def join_stdin_threads():
    for thread in threading.enumerate():
        if thread.name == "syncws-stdin":
            thread.join(DEADLINE)
            assert not thread.is_alive()


@contextlib.contextmanager
def serving(handler, **kwargs):
    with syncws.serve(handler, "localhost", 0, **kwargs) as server:
        yield server.uri


class Recorder:
    """A handler that runs another, and remembers how the connection was closed."""

    def __init__(self, handler):
        self.handler = handler
        self.opened = threading.Event()
        self.closed = threading.Event()
        self.code = None

    def __call__(self, ws):
        self.opened.set()
        try:
            self.handler(ws)
        finally:
            ws.wait_closed(DEADLINE)
            self.code = ws.close_code
            self.closed.set()


# --- the demo --------------------------------------------------------------------


@pytest.fixture
def demo_server():
    with demo.make_server("localhost", 0) as server:
        yield server


def fetch(server, method="GET", path="/", headers=()):
    connection = http.client.HTTPConnection("localhost", server.port, timeout=DEADLINE)
    with contextlib.closing(connection):
        connection.request(method, path, headers=dict(headers))
        response = connection.getresponse()
        return response, response.read().decode()


@pytest.mark.parametrize("path", ["/", "/?query"])
def test_demo_serves_its_page(demo_server, path):
    response, page = fetch(demo_server, path=path)
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert page == demo.read_page()


def test_demo_answers_head_without_a_body(demo_server):
    response, body = fetch(demo_server, "HEAD")
    assert response.status == 200
    assert int(response.headers["Content-Length"]) == len(demo.read_page().encode())
    assert body == ""


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/favicon.ico", 404), ("GET", "/ws", 404), ("DELETE", "/", 405), ("HEAD", "/x", 404)],
)
def test_demo_refuses_other_requests(demo_server, method, path, status):
    response, _ = fetch(demo_server, method, path)
    assert response.status == status
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Allow"] == ("GET, HEAD" if status == 405 else None)


def test_demo_ignores_an_upgrade_to_something_else(demo_server):
    response, _ = fetch(demo_server, headers={"Connection": "Upgrade", "Upgrade": "h2c"})
    assert response.status == 200


def test_demo_policy_lets_only_the_page_itself_run(demo_server):
    response, page = fetch(demo_server)
    policy = dict(
        directive.split(" ", 1)
        for directive in response.headers["Content-Security-Policy"].split("; ")
    )
    for tag in ("script", "style"):
        [element] = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(element.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"


def test_demo_page_needs_nothing_from_elsewhere_and_inserts_only_text():
    page = demo.read_page()
    assert not re.search(r"<script[^>]+src|<link[^>]+stylesheet|@import|https?://(?!www\.w3)", page)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", page)


@pytest.mark.parametrize("path", ["", "ws", "anything?else"])
def test_demo_echoes_at_any_path(demo_server, path):
    with syncws.connect(demo_server.uri + path) as ws:
        for message in ("text", b"\x00\xff"):
            ws.send(message)
            assert ws.recv(DEADLINE) == message


def test_demo_takes_another_port_when_the_usual_one_is_taken(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr(demo, "DEFAULT_PORT", other.getsockname()[1])
        with demo.make_server() as server:
            assert server.port != demo.DEFAULT_PORT
            assert fetch(server)[0].status == 200


def test_demo_takes_the_usual_port_when_it_is_free(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr(demo, "DEFAULT_PORT", other.getsockname()[1])
    with demo.make_server() as server:
        assert server.port == demo.DEFAULT_PORT


def test_demo_does_not_replace_a_port_that_was_asked_for(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert cli.main(["demo", "--port", str(port)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"syncws: the demo can't start on localhost: .*port {port}: .+\n", err)


@pytest.fixture
def no_names(monkeypatch):
    """Resolve no names, without asking anybody."""

    def getaddrinfo(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.usefixtures("no_names")
def test_demo_says_that_a_host_is_unknown(capsys):
    assert cli.main(["demo", "--host", "nosuch.invalid", "--port", "0"]) == 1
    assert capsys.readouterr().err == (
        "syncws: the demo can't start on nosuch.invalid: Name or service not known\n"
    )


@pytest.mark.parametrize("host", ["a..b", "x" * 64])
def test_demo_says_that_a_host_is_wrong(capsys, host):
    assert cli.main(["demo", "--host", host, "--port", "0"]) == 1
    assert re.fullmatch(rf"syncws: the demo can't start on {host}: .+\n", capsys.readouterr().err)


def test_demo_does_not_hide_other_errors_behind_another_port(capsys):
    assert cli.main(["demo", "--host", "192.0.2.1"]) == 1
    assert "192.0.2.1" in capsys.readouterr().err


def test_demo_serves_until_ctrl_c():
    with program("demo", "--port", "0") as process:
        line = process.stdout.readline()
        found = re.fullmatch(
            r"Open http://localhost:(\d+)/ in a browser; Ctrl-C stops it\.\n", line
        )
        assert found, line
        ws = syncws.connect(f"ws://localhost:{found[1]}/ws")
        ws.send("hello")
        assert ws.recv(DEADLINE) == "hello"
        assert interrupt(process) == (0, "")
        assert process.stdout.read() == ""
        assert ws.wait_closed(DEADLINE)
        assert ws.close_code == 1001


def test_demo_ends_cleanly_when_ctrl_c_comes_outside_of_serving(monkeypatch):
    def interrupted(host, port):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "make_server", interrupted)
    assert cli.main(["demo"]) == 0


# --- connect ---------------------------------------------------------------------


def test_connect_prints_the_answers_to_piped_lines():
    with serving(demo.echo) as uri, program("connect", uri) as process:
        out, err = process.communicate("one\n\nthree €\nlast without its end", DEADLINE)
        assert out.splitlines() == ["one", "", "three €", "last without its end"]
        assert err == "Connection closed: 1000 (normal closure)\n"
        assert process.returncode == 0


def test_connect_sends_each_line_as_it_is_typed():
    with serving(demo.echo) as uri, program("connect", uri) as process:
        for line in ("first\n", "second\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline() == line


def test_connect_ends_when_the_server_closes_although_input_goes_on():
    with serving(lambda ws: ws.close(1000, "enough")) as uri, program("connect", uri) as process:
        assert end(process) == (0, "Connection closed: 1000 (normal closure) enough\n")


def test_ctrl_c_ends_connect_and_says_so_to_the_server():
    handler = Recorder(demo.echo)
    with serving(handler) as uri, program("connect", uri) as process:
        process.stdin.write("hello\n")
        process.stdin.flush()
        assert process.stdout.readline() == "hello\n"
        assert interrupt(process) == (130, "")
        assert handler.closed.wait(DEADLINE)
        assert handler.code == 1001


def test_connect_ends_quietly_when_nobody_reads_its_output():
    def talk(ws):
        while True:
            ws.send("more")

    read, write = os.pipe()
    os.close(read)
    try:
        with serving(talk) as uri, program("connect", uri, stdout=write) as process:
            assert end(process) == (1, "")
    finally:
        os.close(write)


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals")
def test_connect_tells_a_person_what_to_do_and_closes_at_ctrl_d():
    master, slave = os.openpty()
    try:
        with serving(demo.echo) as uri, program("connect", uri, stdin=slave) as process:
            assert process.stderr.readline().startswith("Connected.")
            os.write(master, b"hello\n")
            assert process.stdout.readline() == "hello\n"
            os.write(master, b"\x04")
            assert end(process) == (0, "Connection closed: 1000 (normal closure)\n")
    finally:
        os.close(slave)
        os.close(master)


def test_connect_waits_for_answers_that_come_all_at_the_end(typed, capsys):
    def echo_later(ws):
        for line in [ws.recv() for _ in range(3)]:
            ws.send(line)
        ws.wait_closed(DEADLINE)

    typed(b"a\r\nb\nc\n")
    with serving(echo_later) as uri:
        assert cli.main(["connect", uri]) == 0
    assert capsys.readouterr().out == "a\nb\nc\n"


def test_connect_does_not_wait_long_for_a_server_that_never_answers(typed, monkeypatch, capsys):
    monkeypatch.setattr(cli, "ANSWER_TIMEOUT", 0.01)
    handler = Recorder(lambda ws: list(ws))
    typed(b"hello\n")
    with serving(handler) as uri:
        assert cli.main(["connect", uri]) == 0
        assert handler.closed.wait(DEADLINE)
    assert handler.code == 1000
    assert capsys.readouterr().out == ""


def test_connect_does_not_wait_for_the_end_of_an_endless_stream(typed, monkeypatch, capsys):
    def stream(ws):
        while True:
            ws.send("more")

    monkeypatch.setattr(cli, "ANSWERS_TIMEOUT", 0.05)
    typed()
    with serving(stream) as uri:
        assert cli.main(["connect", uri]) == 0
    assert set(capsys.readouterr().out.splitlines()) <= {"more"}


def test_connect_without_standard_input_only_opens_and_closes(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", None)
    with serving(demo.echo) as uri:
        assert cli.main(["connect", uri]) == 0
        join_stdin_threads()
    assert capsys.readouterr().err == "Connection closed: 1000 (normal closure)\n"


def test_connect_replaces_input_that_is_not_text(typed, capsys):
    typed(b"\xff!\n")
    with serving(demo.echo) as uri:
        assert cli.main(["connect", uri]) == 0
    assert capsys.readouterr().out == "\N{REPLACEMENT CHARACTER}!\n"


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("plain \\ text, äöü €", "plain \\ text, äöü €"),
        ("two\nlines\r\n", r"two\nlines\r\n"),
        ("\x1b[31mred\x07\x00\x7f\x9b\t", r"\x1b[31mred\x07\x00\x7f\x9b\t"),
        ("\u2028 and \u202emirrored\u2066", r"\u2028 and \u202emirrored\u2066"),
        (b"", "<0 bytes: >"),
        (b"\x00\x1bA", "<3 bytes: 00 1b 41>"),
        (bytes(33), f"<33 bytes: {' '.join(['00'] * 32)}...>"),
    ],
)
def test_connect_prints_a_message_on_one_safe_line(typed, capsys, message, line):
    def handler(ws):
        ws.send(message)
        list(ws)

    typed()
    with serving(handler) as uri:
        assert cli.main(["connect", uri]) == 0
    assert capsys.readouterr().out == line + "\n"


def test_connect_prints_what_cannot_be_encoded_as_an_escape(typed, monkeypatch, tmp_path):
    path = tmp_path / "out"
    typed("café\n".encode())
    with serving(demo.echo) as uri, open(path, "w", encoding="ascii") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert cli.main(["connect", uri]) == 0
    assert path.read_text() == "caf\\xe9\n"


@pytest.mark.parametrize(
    ("code", "reason", "status", "line"),
    [
        (1000, "", 0, "Connection closed: 1000 (normal closure)"),
        (1001, "bye", 0, "Connection closed: 1001 (going away) bye"),
        (None, "", 0, "Connection closed: 1005 (no close code)"),
        (1011, "two\nlines", 1, r"syncws: connection closed: 1011 (internal error) two\nlines"),
        (4321, "", 1, "syncws: connection closed: 4321 (private use)"),
    ],
)
def test_connect_says_why_the_connection_was_closed(typed, capsys, code, reason, status, line):
    typed(eof=False)
    with serving(lambda ws: ws.close(code, reason)) as uri:
        assert cli.main(["connect", uri]) == status
    assert capsys.readouterr() == ("", line + "\n")


def test_connect_says_that_the_connection_was_lost(typed, capsys):
    typed(eof=False)
    with serving(lambda ws: ws.abort()) as uri:
        assert cli.main(["connect", uri]) == 1
    assert re.fullmatch(r"syncws: connection lost: no close frame .*\n", capsys.readouterr().err)


def test_connect_says_what_the_server_did_wrong(typed, capsys):
    typed(eof=False)
    with serving(lambda ws: ws.send("x" * 2_000_000)) as uri:
        assert cli.main(["connect", uri]) == 1
    err = capsys.readouterr().err
    assert err.startswith("syncws: connection")
    assert err.count("\n") == 1


def test_connect_stops_sending_when_the_connection_is_closed(typed, capsys):
    closed = threading.Event()
    keyboard = typed(b"one\n", eof=False)

    def handler(ws):
        ws.recv()
        ws.close()
        closed.set()

    with serving(handler) as uri:
        assert cli.main(["connect", uri]) == 0
        assert closed.wait(DEADLINE)
        keyboard.write(b"two\n")  # finds the connection closed
        join_stdin_threads()


@pytest.mark.parametrize(
    ("uri", "line"),
    [
        ("http://localhost/", r"'http://localhost/' isn't a valid WebSocket URI: .*ws://.*"),
        ("ws://", r"'ws://' isn't a valid WebSocket URI: the host is missing"),
    ],
)
def test_connect_says_what_is_wrong_with_a_uri(capsys, uri, line):
    assert cli.main(["connect", uri]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"syncws: {line}\n", err)


@pytest.mark.usefixtures("no_names")
def test_connect_says_that_a_host_is_unknown(capsys):
    assert cli.main(["connect", "ws://nosuch.invalid/"]) == 1
    assert capsys.readouterr().err == (
        "syncws: can't connect to nosuch.invalid port 80: Name or service not known\n"
    )


def test_connect_says_that_nobody_listens_without_the_password(capsys):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    assert cli.main(["connect", f"ws://user:secret@127.0.0.1:{port}/"]) == 1
    assert capsys.readouterr().err == (
        f"syncws: can't connect to 127.0.0.1 port {port}: Connection refused\n"
    )


def test_connect_says_that_the_proxy_can_not_be_reached(monkeypatch, capsys):
    monkeypatch.setenv("http_proxy", "http://user:secret@127.0.0.1:9")
    assert cli.main(["connect", "ws://server.example/"]) == 1
    assert capsys.readouterr().err == (
        "syncws: can't connect to proxy 127.0.0.1 port 9: Connection refused\n"
    )


def test_connect_says_what_to_install_for_a_proxy(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "python_socks", None)
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:9")
    assert cli.main(["connect", "ws://server.example/"]) == 1
    assert capsys.readouterr().err == (
        "syncws: SOCKS proxies need the package python-socks: pip install 'syncws[socks]'\n"
    )


def test_connect_says_that_the_server_refused(capsys):
    with serving(demo.echo, process_request=lambda ws, request: ws.respond(404)) as uri:
        assert cli.main(["connect", uri]) == 1
    err = capsys.readouterr().err
    assert err == "syncws: server rejected the WebSocket connection: HTTP 404\n"


def test_connect_prints_what_arrives_before_the_server_answers_the_close(typed, capsys):
    def serve_one():
        sock, _ = listener.accept()
        with sock, sock.makefile("rb") as stream:
            [key] = [line for line in iter(stream.readline, b"\r\n") if b"-Key" in line]
            accept = accept_value(key.split(b": ")[1].strip().decode())
            sock.sendall(
                b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                + f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
            )
            assert stream.read(2) == b"\x88\x82"  # close, masked, with a code only
            stream.read(6)
            sock.sendall(build_frame(0x81, b"late") + build_frame(0x88, b"\x03\xe8"))

    typed()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE)
        server = threading.Thread(target=serve_one)
        server.start()
        assert cli.main(["connect", f"ws://127.0.0.1:{listener.getsockname()[1]}/"]) == 0
        server.join(DEADLINE)
    assert capsys.readouterr() == ("late\n", "Connection closed: 1000 (normal closure)\n")


def test_ctrl_c_while_connecting_is_no_traceback(monkeypatch):
    def interrupted(uri):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "connect", interrupted)
    assert cli.main(["connect", "ws://localhost/"]) == 130


# --- all of it -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ([], "demo"),
        (["--help"], "demo"),
        (["demo", "--help"], "Ctrl-C stops it"),
        (["connect", "--help"], "ws://localhost:8765/"),
        (["--version"], f"syncws {syncws.__version__}\n"),
    ],
)
def test_it_explains_itself(capsys, args, text):
    try:
        status = cli.main(args)
    except SystemExit as exc:
        status = exc.code
    assert not status
    out, err = capsys.readouterr()
    assert text in out
    assert err == ""


@pytest.mark.parametrize(
    "args",
    [["dance"], ["connect"], ["demo", "--port", "65536"], ["demo", "--port", "x"]],
)
def test_wrong_arguments_end_with_status_2(capsys, args):
    with pytest.raises(SystemExit) as caught:
        cli.main(args)
    assert caught.value.code == 2
    assert "usage: python -m syncws" in capsys.readouterr().err


def test_the_program_ends_with_the_status_of_its_command():
    with program("connect", "http://localhost/") as process:
        status, err = end(process)
    assert status == 1
    assert err.startswith("syncws: 'http://localhost/' isn't")
