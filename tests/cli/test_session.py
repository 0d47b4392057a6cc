"""``connect`` in a terminal: a pseudo-terminal, with readline in the program."""

import os
import stat
import threading
import time

import pytest
from support.shell import DEADLINE, Recorder, Terminal, serving

from syncws.cli.serve_command import echo

pytestmark = pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals")


@pytest.fixture
def state(tmp_path):
    """Where the program keeps its history."""
    return {"XDG_STATE_HOME": str(tmp_path)}


def test_a_conversation(state, tmp_path):
    with serving(echo) as uri, Terminal("connect", uri, env=state) as terminal:
        terminal.expect(r"Connected\. Each line that you type is sent; /help tells more\.\r\n> ")
        terminal.type("hello\n")
        terminal.expect(r"< hello\r\n> ")
        terminal.type("//slash\n")
        terminal.expect(r"< /slash\r\n> ")
        terminal.type("/ping\n")
        terminal.expect(r"The pong came after [0-9.]+ ms\.\r\n> ")
        terminal.type("/ping " + "x" * 126 + "\n")
        terminal.expect(r"No ping was sent: .*125")
        terminal.type("/binary 00 ff\n")
        terminal.expect(r"< <2 bytes: 00 ff>\r\n> ")
        terminal.type("/binary 0x\n")
        terminal.expect(r"Nothing was sent: it isn't hexadecimal")
        terminal.type("/nonsense\n")
        terminal.expect(r"There is no command /nonsense\.")
        terminal.type("/help\n")
        terminal.expect(r"/close \[CODE \[REASON\]\]")
        terminal.type("/close x\n")
        terminal.expect(r"The code is a number")
        terminal.type("/close 1005\n")
        terminal.expect(r"The connection is still open: close code 1005")
        terminal.end_input()
        terminal.expect(r"Connection closed: 1000 \(normal closure\)\r\n")
        assert terminal.end() == 0
    history = tmp_path / "syncws" / "history"
    assert history.read_text().splitlines()[:2] == ["hello", "//slash"]
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


def test_lines_can_be_edited_and_are_remembered(state, tmp_path):
    with serving(echo) as uri:
        with Terminal("connect", uri, env=state) as terminal:
            terminal.expect("> ")
            terminal.type("wrold\x1b[D\x1b[D\x1b[D\x7f\x1b[Cr\n")
            terminal.expect("< world\r\n")
            terminal.end_input()
            assert terminal.end() == 0
        with Terminal("connect", uri, env=state) as terminal:
            terminal.expect("> ")
            terminal.type("\x1b[A\n")
            terminal.expect("< world\r\n")
            terminal.type("second\n")
            terminal.expect("< second")
            terminal.end_input()
            assert terminal.end() == 0
    lines = (tmp_path / "syncws" / "history").read_text().splitlines()
    assert lines == ["world", "second"]


def test_a_message_that_comes_while_typing_leaves_the_line_alone(state):
    tick = threading.Event()

    def handler(ws):
        assert tick.wait(DEADLINE)
        ws.send("tick")
        ws.send(ws.recv())
        list(ws)

    with serving(handler) as uri, Terminal("connect", uri, env=state) as terminal:
        terminal.expect("> ")
        terminal.type("half lien\x1b[D\x1b[D")
        terminal.expect("half lien\x08\x08")
        tick.set()
        # The line again, with the cursor where it was; then typing goes on.
        terminal.expect("\x1bD\x1b\\[1A\x1b7\r\x1b\\[J< tick\r\n> half lien\x1b8\x1b\\[1B")
        terminal.type("\x1b[D\x1b[3~\x1b[3~\x1b[3~ne!\n")
        terminal.expect("< half lne!\r\n")
        terminal.end_input()
        assert terminal.end() == 0


def test_the_end_of_the_connection_ends_it_while_somebody_types(state):
    close = threading.Event()

    def handler(ws):
        assert close.wait(DEADLINE)
        ws.close(4000, "go\x1b[2J")

    with serving(handler) as uri, Terminal("connect", uri, env=state) as terminal:
        terminal.expect("> ")
        terminal.type("never sent")
        terminal.expect("never sent")
        close.set()
        terminal.expect(r"syncws: connection closed: 4000 \(private use\) go\\x1b\[2J\r\n")
        assert terminal.end() == 1


def test_ctrl_c_ends_it_quietly_and_says_so_to_the_server(state):
    handler = Recorder(lambda ws: list(ws))
    with serving(handler) as uri, Terminal("connect", uri, env=state) as terminal:
        terminal.expect("> ")
        terminal.type("half")
        terminal.expect("half")
        terminal.interrupt()
        assert terminal.end() == 130
        assert handler.closed.wait(DEADLINE)
        assert handler.code == 1001
    assert "closed" not in terminal.output
    assert "Traceback" not in terminal.output


def test_closing_says_code_and_reason(state):
    handler = Recorder(lambda ws: list(ws))
    with serving(handler) as uri, Terminal("connect", uri, env=state) as terminal:
        terminal.expect("> ")
        terminal.type("/close 4001 that was all\n")
        terminal.expect(r"4001 \(private use\) that was all")
        assert terminal.end() == 1
        assert handler.closed.wait(DEADLINE)
    assert handler.code == 4001


def test_what_is_traced_appears_above_the_line(state):
    arguments = ("connect", "--trace", "--json", "--hex", "--subprotocol", "chat")
    handler = Recorder(lambda ws: [ws.send('{"a":1}') for _ in ws])
    server = serving(handler, subprotocols=["chat"])
    with server as uri, Terminal(*arguments, uri, env=state) as terminal:
        terminal.expect("→  GET / HTTP/1.1")
        terminal.expect(r"\(subprotocol chat\)")
        terminal.type("00 ff\n")
        terminal.expect("→  BINARY fin=1")
        terminal.expect("←  TEXT   fin=1")
        terminal.expect('< {\r\n  "a": 1\r\n}\r\n')
        terminal.end_input()
        terminal.expect("→  CLOSE  fin=1")
        assert terminal.end() == 0


def test_quiet_is_only_messages(state):
    with serving(echo) as uri, Terminal("connect", "--quiet", uri, env=state) as terminal:
        terminal.expect("^> ")
        terminal.type("hello\n")
        terminal.expect("< hello\r\n> ")
        terminal.end_input()
        assert terminal.end() == 0
    assert "onnect" not in terminal.output


def test_a_password_is_asked_for(state):
    seen = []

    def check(ws, request):
        seen.append(request.headers["Authorization"])

    server = serving(echo, process_request=check)
    with server as uri, Terminal("connect", "--auth", "anna", uri, env=state) as terminal:
        terminal.expect("Password of anna: ")
        terminal.type("secret\n")
        terminal.expect("> ")
        terminal.end_input()
        assert terminal.end() == 0
    assert seen == ["Basic YW5uYTpzZWNyZXQ="]
    assert "secret" not in terminal.output


def test_a_home_that_can_not_be_written_to_costs_only_the_history(tmp_path):
    (tmp_path / "syncws").write_text("a file")
    state = {"XDG_STATE_HOME": str(tmp_path)}
    with serving(echo) as uri, Terminal("connect", uri, env=state) as terminal:
        terminal.expect("> ")
        terminal.type("hello\n")
        terminal.expect("< hello")
        terminal.end_input()
        assert terminal.end() == 0
    assert "Traceback" not in terminal.output


def test_a_flood_of_messages_is_printed_while_nobody_types(state):
    def handler(ws):
        for _ in ws:
            for number in range(1000):
                ws.send(f"message {number}")

    with serving(handler) as uri, Terminal("connect", uri, env=state) as terminal:
        terminal.expect("> ")
        terminal.type("go\n")
        start = time.monotonic()
        terminal.expect("< message 999\r\n")
        assert time.monotonic() - start < 10  # not a twentieth of a second for each
        terminal.end_input()
        assert terminal.end() == 0


def test_half_a_character_is_sent_as_its_replacement(state):
    with serving(echo) as uri, Terminal("connect", uri, env=state) as terminal:
        terminal.expect("> ")
        terminal.type(b"a\xffb\n")
        terminal.expect("< a\ufffdb\r\n")
        terminal.end_input()
        assert terminal.end() == 0
