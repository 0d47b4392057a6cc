"""Lines typed on a screen, and a session with them: in this process, with input of the test's."""

import pathlib
import re
import signal
import stat
import sys
import threading

import pytest
from support.pairs import wait_until
from support.shell import DEADLINE, Recorder, serving

import syncws
from syncws import cli
from syncws.cli import connect_command, screen, session
from syncws.cli.incoming import Incoming
from syncws.cli.screen import count_rows, history_file
from syncws.cli.serve_command import echo


def test_history_is_kept_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert history_file() == tmp_path / "syncws" / "history"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert history_file() == pathlib.Path.home() / ".local" / "state" / "syncws" / "history"


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("", 1),
        ("x" * 10, 1),
        ("x" * 11, 2),
        ("a\nb", 2),
        ("漢" * 5, 1),
        ("漢" * 6, 2),
        ("e\N{COMBINING ACUTE ACCENT}" * 10, 1),
        ("\x1b[36m" + "x" * 10 + "\x1b[0m", 1),
    ],
)
def test_rows_that_a_text_takes_are_known(text, rows):
    assert count_rows(text, 10) == rows


class Typist:
    """Input that is typed by the test; each line may do something first."""

    def __init__(self, lines):
        self._lines = iter(lines)

    def __call__(self, prompt):
        line = next(self._lines, None)
        if line is None:
            raise EOFError
        return line() if callable(line) else line


@pytest.fixture
def typing(monkeypatch, tmp_path):
    """Make a screen on which lines are typed, without readline."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def make(*lines):
        monkeypatch.setattr("builtins.input", Typist(lines))
        monkeypatch.setattr(screen, "_import_readline", lambda: None)
        return screen.Screen()

    return make


def test_without_readline_all_else_works(typing, capsys):
    with typing("one", "two") as each:
        assert each.isatty()
        assert each.encoding
        each.write("before\n")
        each.flush()
        assert [each.read_line() for _ in range(3)] == ["one", "two", None]
    assert capsys.readouterr().out == "before\n\n"


def test_what_others_print_while_a_line_is_typed_is_above_it(typing, capsys):
    def line():
        printing = threading.Thread(target=each.print, args=("from another thread",))
        printing.start()
        printing.join(DEADLINE)
        assert not printing.is_alive()
        return "typed"

    with typing(line) as each:
        assert each.read_line() == "typed"
    out = capsys.readouterr().out
    assert re.fullmatch(r".*\r\x1b\[Jfrom another thread\n> .*", out, re.DOTALL)


def test_what_does_not_fit_is_printed_without_going_back(typing, capsys, monkeypatch):
    monkeypatch.setattr(screen.shutil, "get_terminal_size", lambda: (80, 3))

    def line():
        printing = threading.Thread(target=each.print, args=("1\n2\n3",))
        printing.start()
        printing.join(DEADLINE)
        return "typed"

    with typing(line) as each:
        assert each.read_line() == "typed"
    assert capsys.readouterr().out == "\r\x1b[J1\n2\n3\n> "


def test_what_was_to_be_printed_is_printed_after_a_line_that_was_faster(typing, capsys):
    printed = threading.Event()

    def line():
        each._waiting.append(("late", printed))
        return "typed"

    with typing(line) as each:
        assert each.read_line() == "typed"
        assert printed.is_set()
        each._woken()  # a signal that comes later than all of this does nothing
    assert capsys.readouterr().out == "late\n"


def test_lines_that_were_typed_are_kept_at_once(monkeypatch, tmp_path):
    readline = pytest.importorskip("readline")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    readline.clear_history()

    def typed(prompt):
        readline.add_history("a line")
        return "a line"

    monkeypatch.setattr("builtins.input", typed)
    with screen.Screen() as each:
        for number in (1, 2):
            assert each.read_line() == "a line"
            assert history_file().read_text() == "a line\n" * number
    readline.clear_history()
    assert history_file().read_text() == "a line\n" * 2


def test_ending_wakes_who_waits_for_a_line(typing, capsys):
    waiting = threading.Event()

    def line():
        ending = threading.Thread(target=each.end)
        ending.start()
        waiting.wait(DEADLINE)  # until the signal
        raise AssertionError("not woken")

    with typing(line) as each:
        assert each.read_line() is None
        assert each.read_line() is None
        each.end()


def test_a_signal_that_comes_while_one_is_handled_is_no_error(typing, monkeypatch):
    class Output:
        """Like a stream's buffer: handles signals while it writes, and may not be entered twice."""

        def __init__(self):
            self.text = ""
            self._writing = False

        def write(self, text):
            assert not self._writing, "reentrant call"
            self._writing = True
            each._woken()
            self._writing = False
            self.text += text

        def flush(self):
            pass

    def others():
        each.print("from another thread")
        each.end()

    def line():
        other.start()
        other.join(DEADLINE)  # until the signal
        raise AssertionError("not woken")

    other = threading.Thread(target=others)
    output = Output()
    with typing(line) as each:
        monkeypatch.setattr("sys.stdout", output)
        assert each.read_line() is None
        other.join(DEADLINE)
        assert not other.is_alive()
    assert output.text.count("from another thread") == 1


def test_ctrl_c_while_something_is_printed_leaves_nobody_waiting(typing, monkeypatch):
    def interrupted(text):
        raise KeyboardInterrupt

    def line():
        printing.start()
        printing.join(DEADLINE)  # until the signal
        raise AssertionError("not woken")

    with typing(line) as each:
        monkeypatch.setattr(each, "_put_above", interrupted)
        printing = threading.Thread(target=each.print, args=["lost"])
        with pytest.raises(KeyboardInterrupt):
            each.read_line()
        printing.join(DEADLINE)
        assert not printing.is_alive()


@pytest.mark.skipif(screen.WAKE is None, reason="there is no such signal")
def test_nobody_is_sent_the_signal_once_it_is_somebody_else_s(monkeypatch):
    sent = []
    monkeypatch.setattr(
        "signal.pthread_kill", lambda *args: sent.append(signal.getsignal(screen.WAKE))
    )
    with screen.Screen() as each:
        own = signal.getsignal(screen.WAKE)
        each._typing = True
        waking = threading.Thread(target=each._wake, args=[threading.Event()])
        waking.start()
        wait_until(lambda: sent)
    count = len(sent)
    waking.join(DEADLINE)
    assert not waking.is_alive()
    assert sent == [own] * count
    assert signal.getsignal(screen.WAKE) is not own


def test_history_is_added_to_for_its_owner_only(monkeypatch, tmp_path):
    readline = pytest.importorskip("readline")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "new"))
    path = history_file()
    for _ in range(2):
        with screen.Screen():
            pass
        assert not path.exists()  # nothing was typed
    for line in ("one", "two"):
        readline.clear_history()
        with screen.Screen():
            readline.add_history(line)
    readline.clear_history()
    assert path.read_text() == "one\ntwo\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_python_without_readline_is_fine(monkeypatch):
    monkeypatch.setitem(sys.modules, "readline", None)
    with screen.Screen() as each:
        assert each._readline is None


# --- a session -------------------------------------------------------------------


@pytest.fixture
def talk(typing, capsys):
    """Have a session with an echo server; return its exit status, and what was printed."""

    def start(*lines, handler=echo, as_hex=False, answers=0, last=None):
        def last_line():
            wait_until(lambda: ws.stats.messages_received >= answers)
            if last is None:
                raise EOFError
            return last

        with typing(*lines, last_line) as each, serving(handler) as uri:
            ws = syncws.connect(uri, close_timeout=DEADLINE)
            incoming = Incoming(ws, each.print, each.print)
            status = session.Session(ws, incoming, each, as_hex=as_hex).run()
        return status, capsys.readouterr().out

    return start


def test_commands_do_what_they_say(talk):
    status, out = talk(
        *("//slash", "/ping", "/ping " + "x" * 126, "/binary 00 ff", "/binary zz"),
        *("/help", "/nonsense \x1b", "/close x", "/close " + "9" * 5000, "/close 1005"),
        answers=2,
        last="/close",
    )
    assert status == 0
    out = re.sub(r"\x1b\[?[0-9]*[A-Z]?", "\n", out)  # all that moves the cursor
    for line in (
        r"/slash",
        r"The pong came after [0-9.]+ ms\.",
        r"No ping was sent: .*\.",
        r"<2 bytes: 00 ff>",
        r"Nothing was sent: it isn't hexadecimal, such as 00 ff: .*",
        r"  /help +show this",
        r"There is no command /nonsense\. /help shows them; // sends a line with /\.",
        r"The code is a number of four digits: /close 1000 bye",
        r"The connection is still open: .*",
        r"Connection closed: 1000 \(normal closure\)",
    ):
        assert re.search(f"^{line}$", out, re.MULTILINE), line


def test_lines_may_be_bytes(talk):
    status, out = talk("00 ff", as_hex=True, answers=1)
    assert status == 0
    assert "<2 bytes: 00 ff>\n" in out


def test_the_server_may_end_it(talk):
    closed = threading.Event()

    def handler(ws):
        ws.close(4000)
        closed.set()

    def line():
        assert closed.wait(DEADLINE)
        threading.Event().wait(DEADLINE)  # until the signal

    status, out = talk(line, handler=handler)
    assert status == 1
    assert "syncws: connection closed: 4000 (private use)\n" in out


def test_ctrl_c_ends_it_and_nothing_is_said(typing, capsys):
    def line():
        raise KeyboardInterrupt

    handler = Recorder(lambda ws: list(ws))
    with typing(line) as each, serving(handler) as uri:
        ws = syncws.connect(uri)
        incoming = Incoming(ws, each.print, each.print)
        with pytest.raises(KeyboardInterrupt):
            session.Session(ws, incoming, each, as_hex=False).run()
        assert handler.closed.wait(DEADLINE)
    assert handler.code == 1001
    assert capsys.readouterr().out == ""


def test_a_pong_that_does_not_come_is_told(typing, capsys, monkeypatch):
    monkeypatch.setattr(session, "PONG_TIMEOUT", 0.01)

    class Ping:
        latency = None

        def wait(self, timeout):
            return False

    with typing() as each, serving(echo) as uri, syncws.connect(uri) as ws:
        monkeypatch.setattr(ws, "ping", lambda text: Ping())
        session.Session(ws, None, each, as_hex=False)._do("/ping")
    assert capsys.readouterr().out == "No pong came within 0 s.\n"


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
@pytest.mark.parametrize("trace", [[], ["--trace"]])
def test_connect_has_a_session_where_there_is_a_terminal(typing, capsys, monkeypatch, quiet, trace):
    typing("hello", "/ping")
    monkeypatch.setattr(connect_command, "_is_terminal", lambda stream: True)
    with serving(echo, subprotocols=["chat"]) as uri:
        assert cli.main(["connect", *quiet, *trace, "--subprotocol", "chat", uri]) == 0
    out, err = capsys.readouterr()
    assert ("→  TEXT " in out) == bool(trace)
    assert ("Connected (subprotocol chat)." in err) == (not quiet)
    assert ("Connection closed" in out) == (not quiet)
    assert "The pong came after" in out


def test_a_password_is_asked_for_where_there_is_a_terminal(typing, monkeypatch):
    typing()
    seen = []
    monkeypatch.setattr(connect_command, "_is_terminal", lambda stream: True)
    monkeypatch.setattr(connect_command.getpass, "getpass", lambda prompt: "secret")

    def check(ws, request):
        seen.append(request.headers["Authorization"])

    with serving(echo, process_request=check) as uri:
        assert cli.main(["connect", "--auth", "anna", uri]) == 0
    assert seen == ["Basic YW5uYTpzZWNyZXQ="]


def test_without_a_password_nothing_is_sent(typing, monkeypatch, capsys):
    def nobody(prompt):
        raise EOFError

    typing()
    monkeypatch.setattr(connect_command, "_is_terminal", lambda stream: True)
    monkeypatch.setattr(connect_command.getpass, "getpass", nobody)
    assert cli.main(["connect", "--auth", "anna", "ws://localhost:1/"]) == 2
    assert capsys.readouterr().err == "syncws: no password was typed\n"
