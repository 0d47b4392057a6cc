"""The demo, and the command that serves it."""

import re
import socket

import pytest
from support.shell import DEADLINE, interrupt, program, terminate

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
    def interrupted(host, port):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_command, "make_server", interrupted)
    assert cli.main(["demo"]) == 0


def test_demo_says_where_its_page_is(monkeypatch, capsys):
    monkeypatch.setattr(syncws.ThreadingServer, "serve_forever", lambda server: None)
    assert cli.main(["demo", "--port", "0"]) == 0
    line = capsys.readouterr().out
    assert re.fullmatch(r"Open http://localhost:\d+/ in a browser; Ctrl-C stops it\.\n", line)
