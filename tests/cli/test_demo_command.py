"""The demo, and the command that serves it."""

import contextlib
import os
import pathlib
import re
import signal
import socket
import types

import pytest
from support.chatting import Window
from support.fallback_client import FallbackClient
from support.pairs import wait_until
from support.redis_server import needs_redis
from support.shell import DEADLINE, end, interrupt, program, terminate
from support.snippets import free_port
from support.supervised import PATIENCE, children, process_of

import syncws
from syncws import cli, demo
from syncws.cli import demo_command


def test_demo_takes_another_port_when_the_usual_one_is_taken(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr(demo, "DEFAULT_PORT", other.getsockname()[1])
        with demo.make_server() as server:
            assert server.port != demo.DEFAULT_PORT
            with syncws.connect(server.uri) as ws:
                ws.send("hello")
                assert ws.recv(DEADLINE) == "hello"


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


@pytest.mark.parametrize("path", ["echo", "chat?name=ann"])
def test_demo_closes_connections_at_sigterm(path):
    with program("demo", "--port", "0") as process:
        uri = process.stdout.readline().split()[1].replace("http", "ws", 1)
        ws = syncws.connect(f"{uri}{path}")
        assert terminate(process) == (0, "")
        assert ws.wait_closed(DEADLINE)
        assert ws.close_code == 1001


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


def test_demo_for_all_machines_says_where_they_find_it(monkeypatch):
    monkeypatch.setattr(demo, "find_own_address", lambda: "192.0.2.7")
    with demo.make_server("0.0.0.0", 0) as server:
        url = f"http://192.0.2.7:{server.port}/"
        assert demo.find_network_url(server, "0.0.0.0") == url
        assert demo.find_network_url(server, "localhost") is None
        monkeypatch.setattr(demo, "find_own_address", lambda: None)
        assert demo.find_network_url(server, "0.0.0.0") is None


def test_demo_ends_cleanly_when_ctrl_c_comes_outside_of_serving(monkeypatch):
    def interrupted(host, port, chat):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_command, "make_server", interrupted)
    assert cli.main(["demo"]) == 0


def test_demo_says_where_its_page_is(monkeypatch, capsys):
    monkeypatch.setattr(syncws.ThreadingServer, "serve_forever", lambda server: None)
    assert cli.main(["demo", "--port", "0"]) == 0
    line = capsys.readouterr().out
    assert re.fullmatch(r"Open http://localhost:\d+/ in a browser; Ctrl-C stops it\.\n", line)


# --- several processes -----------------------------------------------------------

needs_proc = pytest.mark.skipif(
    not pathlib.Path("/proc/net/tcp").exists(), reason="finds out in /proc who has a connection"
)


class Demo:
    """The program, served by several processes."""

    def __init__(self, process, stack):
        self.process = process
        found = re.fullmatch(r"Open http(\S+) in .*\n", process.stdout.readline())
        self.uri = f"ws{found[1]}"
        self._stack = stack

    def open_window(self, but=None):
        """A window, on another process than this one; ``window.pid`` is its own."""
        pids = children(self.process.pid)
        while True:
            window = Window(syncws.connect(f"{self.uri}chat"))
            window.pid = process_of(window.ws, pids)
            if window.pid not in (but, None):
                self._stack.callback(window.ws.close)
                return window
            window.ws.close()


@contextlib.contextmanager
def demo_by_processes(*args):
    arguments = ("demo", "--port", "0", "--processes", "2", *args)
    env = {"SYNCWS_HUB": ""}
    with (
        program(*arguments, patience=PATIENCE, env=env) as process,
        contextlib.ExitStack() as stack,
    ):
        yield Demo(process, stack)


@needs_redis
@needs_proc
def test_windows_on_different_processes_chat(redis_server):
    with demo_by_processes("--hub", redis_server.url, "--prefix", "demo of two:") as demo:
        ada = demo.open_window()
        grace = demo.open_window(but=ada.pid)
        ada.join("Ada", "processes")
        wait_until(lambda: "Ada" in grace.join("Grace", "processes")["members"])
        assert ada.expect("arrived")["name"] == "Grace"
        ada.say("hello")
        assert grace.expect("said")["text"] == "hello"
        grace.say("hi")
        assert [ada.expect("said")["text"] for _ in range(2)] == ["hello", "hi"]
        keys = redis_server.command("KEYS", "demo of two:*").splitlines()
        assert "demo of two:{demo/room/processes}" in keys
        assert terminate(demo.process) == (0, "")
        for window in (ada, grace):
            assert window.ws.wait_closed(DEADLINE)
            assert window.ws.close_code == 1001


@needs_redis
@needs_proc
def test_who_was_on_a_process_that_is_killed_comes_back_by_the_same_name(redis_server):
    with demo_by_processes("--hub", redis_server.url) as demo:
        ada = demo.open_window()
        grace = demo.open_window(but=ada.pid)
        ada.join("Ada", "killed")
        wait_until(lambda: "Ada" in grace.join("Grace", "killed")["members"])
        os.kill(ada.pid, signal.SIGKILL)
        assert ada.ws.wait_closed(DEADLINE)
        back = demo.open_window()
        joined = back.join("Ada", "killed", resume=ada.welcome["token"])
        assert (joined["name"], sorted(joined["members"])) == ("Ada", ["Ada", "Grace"])
        back.say("back again")
        assert grace.expect("said")["text"] == "back again"
        status, errors = terminate(demo.process)
        assert status == 0
        assert errors.startswith(f"syncws: process {ada.pid} was ended by SIGKILL; another one")


def test_demo_by_one_process_has_plain_http_and_by_several_has_none():
    for count, status in (("1", 200), ("2", 405)):
        arguments = ("demo", "--port", "0", "--processes", count)
        with program(*arguments, patience=PATIENCE, env={"SYNCWS_HUB": ""}) as process:
            port = int(re.search(r":(\d+)/", process.stdout.readline())[1])
            with FallbackClient(types.SimpleNamespace(port=port), "/chat") as client:
                assert client.open().status == status
            assert terminate(process)[0] == 0


@needs_proc
def test_frames_are_shown_by_the_process_that_has_the_connection():
    with demo_by_processes() as demo:
        ada = demo.open_window()
        refused = 0
        while True:  # what the page does
            with syncws.connect(f"{demo.uri}wire") as ws:
                ws.send(ada.welcome["token"])
                try:
                    assert ws.recv(DEADLINE).startswith("[")
                    break
                except syncws.ConnectionClosed:
                    assert (ws.close_code, ws.close_reason) == (4403, "no such connection")
                    refused += 1
        assert refused < 100
        assert terminate(demo.process) == (
            0,
            "syncws: rooms aren't shared by the processes: each has its own, without a hub\n",
        )


@pytest.mark.parametrize("processes", [[], ["--processes", "2"]])
def test_demo_needs_the_hub_that_it_is_given(processes):
    url = f"redis://127.0.0.1:{free_port()}/"
    with program("demo", "--port", "0", "--hub", url, *processes) as process:
        status, errors = end(process)
    assert status == 3
    assert re.fullmatch(r"syncws: Redis can't be reached: .*\n", errors)


def test_demo_says_that_a_hub_is_none(capsys):
    assert cli.main(["demo", "--port", "0", "--hub", "http://localhost/"]) == 2
    assert "isn't a hub's URL" in capsys.readouterr().err


def test_demo_has_no_use_for_a_prefix_without_a_hub(capsys, monkeypatch):
    monkeypatch.delenv("SYNCWS_HUB", raising=False)
    assert cli.main(["demo", "--port", "0", "--prefix", "a:"]) == 2
    assert "--prefix is a hub's" in capsys.readouterr().err


def test_demo_of_several_processes_takes_another_port_when_the_usual_one_is_taken(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr(demo, "DEFAULT_PORT", other.getsockname()[1])
        for sockets in demo.make_sockets("localhost", None, 2):
            for sock in sockets:
                assert sock.getsockname()[1] != demo.DEFAULT_PORT
                sock.close()
