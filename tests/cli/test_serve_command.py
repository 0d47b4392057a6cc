"""``serve``: echo and chat."""

import contextlib
import re
import socket
import types
import urllib.request

import pytest
from support.certificates import authority, client_context
from support.fallback_client import TEXT, FallbackClient
from support.first_process import can_be_first, serving_first
from support.shell import DEADLINE, interrupt, program, terminate

import syncws
from syncws import cli
from syncws.demo.line_chat import LineChat


@contextlib.contextmanager
def serve_command(*args):
    """The program, and the URI that it prints."""
    with program("serve", *args, "--port", "0") as process:
        first, second = process.stdout.readline(), process.stdout.readline()
        assert first.startswith("Serving ")
        assert first.endswith("; Ctrl-C stops it.\n")
        assert second.startswith("Connect with: python -m syncws connect ")
        yield process, second.split()[-1]


def test_echo_is_traced_and_ended_by_ctrl_c():
    with serve_command("echo", "--trace") as (process, uri):
        ws = syncws.connect(uri, compression=None)
        ws.send("hello")
        assert ws.recv(DEADLINE) == "hello"
        assert interrupt(process) == (0, "")
        assert ws.wait_closed(DEADLINE)
        assert ws.close_code == 1001
        out = process.stdout.read()
    names = ["←  GET / HTTP/1.1", "→  HTTP/1.1 101 ", "←  TEXT ", "→  TEXT ", "→  CLOSE "]
    places = [out.index(name) for name in names]
    assert places == sorted(places)
    assert all(line.startswith("#1 ") for line in out.splitlines())


@pytest.mark.parametrize("processes", [(), ("--processes", "1")])
def test_it_serves_by_plain_http_as_well_if_it_is_told(processes):
    with serve_command("echo", "--fallback", *processes) as (process, uri):
        port = int(re.search(r":(\d+)/", uri)[1])
        assert process.stdout.readline() == (
            f"Pages find the script for plain HTTP at http://localhost:{port}/syncws.js\n"
        )
        with FallbackClient(types.SimpleNamespace(port=port)) as client:
            script = urllib.request.urlopen(f"http://localhost:{port}/syncws.js", timeout=DEADLINE)
            with script:
                assert b"Syncws" in script.read()
            client.open()
            client.send("hello")
            assert client.receive() == [(TEXT, b"hello")]
        with syncws.connect(uri) as ws:
            ws.send("hello")
            assert ws.recv(DEADLINE) == "hello"
        assert interrupt(process) == (0, "")


def test_of_a_handler_by_http_the_frames_are_traced_and_no_secrets(tmp_path):
    (tmp_path / "app.py").write_text("def handler(ws):\n    ws.send(ws.recv() + '!')\n")
    arguments = ("app:handler", "--fallback", "--trace", "--port", "0")
    with program("serve", *arguments, cwd=tmp_path) as process:
        uri = [process.stdout.readline() for _ in range(3)][1].split()[-1]
        port = int(re.search(r":(\d+)/", uri)[1])
        with FallbackClient(types.SimpleNamespace(port=port)) as client:
            client.open()
            client.send("hello")
            assert client.receive()[0] == (TEXT, b"hello!")
            session = client.session
        assert interrupt(process) == (0, "")
        out = process.stdout.read()
    assert re.search(r"^#2 .* ←  TEXT .*\"hello\"$", out, re.MULTILINE)
    assert re.search(r"^#2 .* →  TEXT .*\"hello!\"$", out, re.MULTILINE)
    assert "Syncws-Session: (not shown)" in out
    assert session not in out


@pytest.mark.parametrize("what", ["echo", "chat"])
def test_sigterm_closes_connections_and_ends_it_well(what):
    with serve_command(what) as (process, uri):
        ws = syncws.connect(uri)
        assert terminate(process) == (0, "")
        assert ws.wait_closed(DEADLINE)
        assert ws.close_code == 1001


@can_be_first
def test_sigterm_ends_the_first_process_of_a_container():
    with serving_first("serve", "--port", "0") as (uri, terminate):
        ws = syncws.connect(uri)
        terminate()
        assert ws.wait_closed(DEADLINE)
        assert ws.close_code == 1001


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificate")
    issued = authority().issue_cert("localhost")
    cert, key = folder / "cert.pem", folder / "key.pem"
    issued.cert_chain_pems[0].write_to_path(str(cert))
    issued.private_key_pem.write_to_path(str(key))
    return str(cert), str(key)


def test_tls_origins_and_clients_of_our_own(certificate):
    cert, key = certificate
    arguments = ("--cert", cert, "--key", key, "--origins", "https://a.example, https://b.example")
    with serve_command("echo", *arguments) as (process, uri):
        assert uri.startswith("wss://localhost:")
        client = ("connect", "--insecure", "--quiet", uri)
        with program(*client, "--origin", "https://b.example") as talking:
            assert talking.communicate("hello\n", DEADLINE)[0] == "hello\n"
        with program(*client) as talking:
            assert talking.communicate("program\n", DEADLINE)[0] == "program\n"
        with program(*client, "--origin", "https://c.example") as talking:
            _, err = talking.communicate("", DEADLINE)
            assert talking.returncode == 4
            assert "403" in err
        status, _ = interrupt(process)
        assert status == 0


def test_any_origin_can_be_let_in():
    with serve_command("--origins", "any") as (process, uri):
        with syncws.connect(uri, origin="https://evil.example") as ws:
            ws.send("hello")
            assert ws.recv(DEADLINE) == "hello"
        assert interrupt(process)[0] == 0


def test_what_is_served_is_said(certificate, monkeypatch, capsys):
    cert, key = certificate

    def visit(server):
        with syncws.connect(server.uri, ssl=client_context()) as ws:
            ws.send("hello")
            assert ws.recv(DEADLINE) == "hello"

    monkeypatch.setattr(syncws.ThreadingServer, "serve_forever", visit)
    arguments = ["--cert", cert, "--key", key, "--origins", "http://a", "--trace", "--port", "0"]
    assert cli.main(["serve", *arguments]) == 0
    first, second, *trace = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"Serving echo on wss://localhost:\d+/; Ctrl-C stops it\.", first)
    assert re.fullmatch(r"Connect with: .* connect --insecure wss://localhost:\d+/", second)
    assert trace[0].startswith("#")


def test_nobody_reads_what_is_said(monkeypatch):
    def broken(args, server):
        raise BrokenPipeError

    monkeypatch.setattr(cli.serve_command, "_announcement", broken)
    with pytest.raises(BrokenPipeError):
        cli.serve_command.run_serve(cli.make_parser().parse_args(["serve", "--port", "0"]))


def test_a_port_that_is_taken_is_said(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert cli.main(["serve", "--port", str(other.getsockname()[1])]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("syncws: the server can't start on localhost: can't listen on 127.0.0.1")


@pytest.mark.parametrize(
    ("args", "status", "text"),
    [
        (["--key", "key.pem"], 2, "give --cert"),
        (["--cert", "/nonexistent"], 1, "No such file"),
        (["--hub", "redis://localhost"], 2, "--hub is for a handler of yours: echo has no use for"),
        (["app:handler", "--hub", "http://localhost"], 2, "isn't a hub's URL"),
        (["chat", "--prefix", "a:"], 2, "--prefix is for a handler of yours: chat has no use for"),
        (["app:handler", "--prefix", "a:"], 2, "--prefix is a hub's: give --hub URL, too, or set"),
        (["echo", "--fallback", "--processes", "2"], 2, "--fallback needs one process"),
    ],
)
def test_what_can_not_be_served_is_said(capsys, args, status, text):
    assert cli.main(["serve", *args, "--port", "0"]) == status
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("origins", ["", "http://a/", "any,http://a", "a.example"])
def test_origins_that_are_none_end_with_status_2(capsys, origins):
    with pytest.raises(SystemExit) as caught:
        cli.main(["serve", "--origins", origins])
    assert caught.value.code == 2
    assert "isn't an origin such as http://localhost" in capsys.readouterr().err


def test_ctrl_c_before_it_serves_is_no_traceback(monkeypatch):
    def interrupted(args, hub):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.serve_command, "_make_server", interrupted)
    assert cli.main(["serve"]) == 0


def test_a_chat_by_the_command():
    with serve_command("chat") as (process, uri):
        with syncws.connect(uri + "?name=anna") as anna:
            assert "You are anna;" in anna.recv(DEADLINE)
        assert interrupt(process)[0] == 0


# --- the room --------------------------------------------------------------------


@pytest.fixture
def room():
    with syncws.serve(LineChat(), "localhost", 0) as server, contextlib.ExitStack() as stack:

        def enter(query=""):
            return stack.enter_context(syncws.connect(server.uri + query))

        yield enter


def test_what_somebody_says_goes_to_all_others(room):
    anna = room("?name=anna")
    assert anna.recv(DEADLINE) == "* You are anna; /name NAME changes that. Here: nobody else."
    ben = room("?name=ben")
    assert ben.recv(DEADLINE) == "* You are ben; /name NAME changes that. Here: anna."
    assert anna.recv(DEADLINE) == "* ben came."
    guest = room()
    assert guest.recv(DEADLINE).startswith("* You are guest-1;")
    assert [each.recv(DEADLINE) for each in (anna, ben)] == ["* guest-1 came."] * 2
    ben.send("hello")
    assert [each.recv(DEADLINE) for each in (anna, guest)] == ["ben: hello"] * 2
    anna.send("hi ben")
    assert [each.recv(DEADLINE) for each in (ben, guest)] == ["anna: hi ben"] * 2
    ben.close()
    assert [each.recv(DEADLINE) for each in (anna, guest)] == ["* ben left."] * 2


@pytest.mark.parametrize("wanted", ["anna", "", "x" * 31, "*", "a\x1bb"])
def test_names_that_can_not_be_had(room, wanted):
    anna = room("?name=anna")
    assert anna.recv(DEADLINE).startswith("* You are anna;")
    guest = room("?name=anna")
    assert guest.recv(DEADLINE).startswith("* You are guest-1;")
    guest.send(f"/name {wanted}")
    line = guest.recv(DEADLINE)
    assert line.endswith("can't be had; you are still guest-1.")
    assert line.isprintable()


def test_names_can_be_changed_and_are_free_again(room):
    anna = room("?name=anna")
    assert anna.recv(DEADLINE).startswith("* You are anna;")
    anna.send("/name zoe")
    assert anna.recv(DEADLINE) == "* anna is zoe now."
    assert room("?name=anna").recv(DEADLINE).startswith("* You are anna;")


def test_a_path_that_is_no_uri_is_let_in(room):
    assert room("/[?name=anna").recv(DEADLINE).startswith("* You are anna;")


def test_only_text_is_passed_on(room):
    anna = room("?name=anna")
    assert anna.recv(DEADLINE).startswith("* You are anna;")
    ben = room("?name=ben")
    assert ben.recv(DEADLINE).startswith("* You are ben;")
    assert anna.recv(DEADLINE) == "* ben came."
    anna.send(b"\0")
    assert anna.recv(DEADLINE) == "* Only text is passed on here."
    anna.send("text")
    assert ben.recv(DEADLINE) == "anna: text"
