"""``connect`` in a pipe."""

import os
import re
import socket
import sys
import threading

import pytest
from support.scripted import says, scripted_server
from support.shell import (
    DEADLINE,
    Recorder,
    end,
    interrupt,
    join_stdin_threads,
    program,
    serving,
)
from support.wire import build_frame

from syncws import cli
from syncws.cli import connect_command, piping
from syncws.cli.serve_command import echo
from syncws.cli.showing import with_cause
from syncws.sansio.handshake import accept_value


def test_connect_prints_the_answers_to_piped_lines():
    with serving(echo) as uri, program("connect", uri) as process:
        out, err = process.communicate("one\n\nthree €\nlast without its end", DEADLINE)
        assert out.splitlines() == ["one", "", "three €", "last without its end"]
        assert err == "Connection closed: 1000 (normal closure)\n"
        assert process.returncode == 0


def test_connect_sends_each_line_as_it_is_typed():
    with serving(echo) as uri, program("connect", uri) as process:
        for line in ("first\n", "second\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline() == line


def test_connect_ends_when_the_server_closes_although_input_goes_on():
    with serving(lambda ws: ws.close(1000, "enough")) as uri, program("connect", uri) as process:
        assert end(process) == (0, "Connection closed: 1000 (normal closure) enough\n")


def test_ctrl_c_ends_connect_and_says_so_to_the_server():
    handler = Recorder(echo)
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
        with serving(echo) as uri, program("connect", uri, stdin=slave) as process:
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
    monkeypatch.setattr(piping, "ANSWER_TIMEOUT", 0.01)
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

    monkeypatch.setattr(piping, "ANSWERS_TIMEOUT", 0.05)
    typed()
    with serving(stream) as uri:
        assert cli.main(["connect", uri]) == 0
    assert set(capsys.readouterr().out.splitlines()) <= {"more"}


def test_connect_without_standard_input_only_opens_and_closes(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", None)
    with serving(echo) as uri:
        assert cli.main(["connect", uri]) == 0
        join_stdin_threads()
    assert capsys.readouterr().err == "Connection closed: 1000 (normal closure)\n"


def test_connect_replaces_input_that_is_not_text(typed, capsys):
    typed(b"\xff!\n")
    with serving(echo) as uri:
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
    with serving(echo) as uri, open(path, "w", encoding="ascii") as stdout:
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
    assert cli.main(["connect", uri]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"syncws: {line}\n", err)


@pytest.mark.usefixtures("no_names")
def test_connect_says_that_a_host_is_unknown(capsys):
    assert cli.main(["connect", "ws://nosuch.invalid/"]) == 3
    assert capsys.readouterr().err == (
        "syncws: can't connect to nosuch.invalid port 80: Name or service not known\n"
    )


def test_connect_says_that_nobody_listens_without_the_password(capsys):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    assert cli.main(["connect", f"ws://user:secret@127.0.0.1:{port}/"]) == 3
    assert capsys.readouterr().err == (
        f"syncws: can't connect to 127.0.0.1 port {port}: Connection refused\n"
    )


def test_connect_says_that_the_proxy_can_not_be_reached(monkeypatch, capsys):
    monkeypatch.setenv("http_proxy", "http://user:secret@127.0.0.1:9")
    assert cli.main(["connect", "ws://server.example/"]) == 3
    assert capsys.readouterr().err == (
        "syncws: can't connect to proxy 127.0.0.1 port 9: Connection refused\n"
    )


def test_connect_says_what_to_install_for_a_proxy(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "python_socks", None)
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:9")
    assert cli.main(["connect", "ws://server.example/"]) == 3
    assert capsys.readouterr().err == (
        "syncws: SOCKS proxies need the package python-socks: pip install 'syncws[socks]'\n"
    )


def test_connect_says_that_the_server_refused(capsys):
    with serving(echo, process_request=lambda ws, request: ws.respond(404)) as uri:
        assert cli.main(["connect", uri]) == 4
    err = capsys.readouterr().err
    assert err == "syncws: server rejected the WebSocket connection: HTTP 404 Not Found\n"


def test_connect_says_why_without_control_characters_of_the_server(capsys):
    with scripted_server(says(b"HTTP/1.1 403 No\x9b31m\r\nContent-Length: 0\r\n\r\n")) as server:
        assert cli.main(["connect", server.uri]) == 4
    assert r"HTTP 403 No\x9b31m" in capsys.readouterr().err


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
    def interrupted(uri, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(connect_command, "connect", interrupted)
    assert cli.main(["connect", "ws://localhost/"]) == 130


@pytest.mark.parametrize(
    ("text", "cause", "said"),
    [
        ("lost", None, "lost"),
        ("lost", "reset by peer", "lost (reset by peer)"),
        ("lost: reset by peer", "reset by peer", "lost: reset by peer"),
    ],
)
def test_what_went_wrong_is_said_once(text, cause, said):
    exc = ValueError(text)
    exc.__cause__ = None if cause is None else OSError(cause)
    assert with_cause(exc) == said
