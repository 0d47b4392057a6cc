"""What ``connect`` can be told, and its exit status."""

import re
import socket

import pytest
from support.certificates import authority, server_context
from support.proxies import tunnel
from support.scripted import scripted_server
from support.shell import DEADLINE, program, serving

from syncws import cli
from syncws.cli.serve_command import echo


@pytest.fixture(scope="module")
def cafile(tmp_path_factory):
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority().cert_pem.write_to_path(str(path))
    return str(path)


def connect(*args):
    return cli.main(["connect", *args])


class Desk:
    """Lets everybody in, and remembers their requests."""

    def __call__(self, ws, request):
        self.headers = request.headers


@pytest.fixture
def asking(typed):
    """Connect with arguments, and return the headers of the request."""

    def ask(*args, userinfo="", **kwargs):
        typed()
        desk = Desk()
        with serving(echo, process_request=desk, origins=None, **kwargs) as uri:
            assert connect(*args, uri.replace("://", f"://{userinfo}")) == 0
        return desk.headers

    return ask


def test_headers_and_cookies_are_sent(asking):
    headers = asking(
        *("--header", "X-One: 1", "--header", "X-Two:2:3"),
        *("--cookie", "a=1", "--cookie", "b=2"),
        *("--origin", "https://site.example", "--subprotocol", "a"),
        subprotocols=["b", "a"],
    )
    assert (headers["X-One"], headers["X-Two"]) == ("1", "2:3")
    assert headers["Cookie"] == "a=1; b=2"
    assert headers["Origin"] == "https://site.example"
    assert headers["Sec-WebSocket-Protocol"] == "a"
    assert "permessage-deflate" in headers["Sec-WebSocket-Extensions"]


def test_compression_need_not_be_offered(asking):
    assert "Sec-WebSocket-Extensions" not in asking("--no-compression")


def test_credentials_are_sent(asking):
    basic = "Basic YW5uYTpzZTpjcmV0"
    assert asking("--auth", "anna:se:cret")["Authorization"] == basic
    assert asking(userinfo="anna:se%3Acret@")["Authorization"] == basic
    assert asking("--auth", "anna:se:cret", userinfo="x:y@")["Authorization"] == basic


def test_a_password_is_not_asked_for_without_a_terminal(typed, capsys):
    typed()
    assert connect("--auth", "anna", "ws://localhost/") == 2
    assert "no terminal to ask for it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--header", "Upgrade: x", "ws://localhost/"], "belongs to the opening handshake"),
        (["--insecure", "ws://localhost/"], "are for wss:// URIs"),
        (["--insecure", "--cafile", "x", "wss://localhost/"], "give one"),
        (["--cafile", "/nonexistent", "wss://localhost/"], "can't read /nonexistent: No such file"),
        (["--proxy", "gopher://x", "ws://localhost/"], "gopher"),
        (["--subprotocol", "a b", "ws://localhost/"], "a b"),
    ],
)
def test_what_can_not_be_meant_ends_with_status_2(typed, capsys, args, text):
    typed()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        # Accepted by the kernel: some of it is noticed only once there is a connection.
        args = [arg.replace("localhost", f"127.0.0.1:{port}") for arg in args]
        assert connect(*args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert text in err
    assert err.startswith("syncws: ")


@pytest.mark.parametrize(
    "args",
    [
        ["--header", "nothing"],
        ["--header", "a b: c"],
        ["--count", "0"],
        ["--count", "x"],
        ["--connect-timeout", "-1"],
        ["--ping-interval", "often"],
        ["--jso"],
    ],
)
def test_arguments_that_are_wrong_end_with_status_2(capsys, args):
    with pytest.raises(SystemExit) as caught:
        connect(*args, "ws://localhost/")
    assert caught.value.code == 2
    assert "usage: " in capsys.readouterr().err


# --- how to get there ------------------------------------------------------------


def test_certificates_are_checked(typed, capsys):
    typed()
    with serving(echo, ssl=server_context()) as uri:
        assert connect(uri) == 3
    err = capsys.readouterr().err
    assert re.search(r"certificate isn't trusted: .*; --cafile FILE trusts .* --insecure", err)
    assert "create_default_context" not in err


def test_a_certificate_for_another_name_is_not_trusted(typed, capsys, cafile):
    typed()
    with serving(echo, ssl=server_context("other.example")) as uri:
        assert connect("--cafile", cafile, uri) == 3
    assert "certificate isn't trusted: " in capsys.readouterr().err


def test_an_authority_can_be_trusted(typed, capsys, cafile):
    typed(b"hello\n")
    with serving(echo, ssl=server_context()) as uri:
        assert connect("--cafile", cafile, uri) == 0
    assert capsys.readouterr().out == "hello\n"


def test_certificates_need_not_be_checked_and_that_is_said(typed, capsys):
    typed(b"hello\n")
    with serving(echo, ssl=server_context("other.example")) as uri:
        assert connect("--insecure", uri) == 0
    out, err = capsys.readouterr()
    assert out == "hello\n"
    assert "Warning: the server's certificate isn't checked." in err


def test_a_proxy_can_be_used_and_left_out(typed, capsys, monkeypatch):
    requests = []
    with serving(echo) as uri:
        typed(b"by proxy\n")
        with scripted_server(tunnel(requests)) as proxy:
            assert connect("--proxy", f"http://127.0.0.1:{proxy.port}", uri) == 0
        assert len(requests) == 1
        monkeypatch.setenv("ws_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("no_proxy", "")
        typed(b"directly\n")
        assert connect("--proxy", "none", uri) == 0
    assert capsys.readouterr().out == "by proxy\ndirectly\n"


def test_a_server_that_does_not_answer_is_given_up(typed, capsys):
    typed()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        uri = f"ws://127.0.0.1:{sock.getsockname()[1]}/"
        assert connect("--connect-timeout", "0.05", uri) == 3
    assert "timed out during opening handshake" in capsys.readouterr().err


def test_a_server_of_something_else_is_not_taken_for_one(typed, capsys):
    typed()

    def handler(ws, request):
        response = ws.respond(101)
        response.headers["Upgrade"] = "h2c"
        return response

    with serving(echo, process_request=handler) as uri:
        assert connect(uri) == 4
    assert "the opening handshake failed: " in capsys.readouterr().err


# --- messages --------------------------------------------------------------------


def say(*messages):
    def handler(ws):
        for message in messages:
            ws.send(message)
        list(ws)

    return handler


def test_json_is_printed_in_several_lines(typed, capsys):
    typed()
    with serving(say('{"b":1,"a":["x"]}', "not json", b"{}")) as uri:
        assert connect("--json", uri) == 0
    assert capsys.readouterr().out == (
        '{\n  "b": 1,\n  "a": [\n    "x"\n  ]\n}\nnot json\n<2 bytes: 7b 7d>\n'
    )


def test_bytes_can_be_sent(typed, capsys):
    typed(b"00 ff\ncafe\n")
    with serving(echo) as uri:
        assert connect("--hex", uri) == 0
    assert capsys.readouterr().out == "<2 bytes: 00 ff>\n<2 bytes: ca fe>\n"


def test_bytes_that_are_none_end_it_with_status_2_after_the_answers(typed, capsys):
    typed(b"00\nzz\n01\n")
    with serving(echo) as uri:
        assert connect("--hex", "--quiet", uri) == 2
    out, err = capsys.readouterr()
    assert out == "<1 bytes: 00>\n"
    assert err.startswith("syncws: line 2 of the input isn't hexadecimal: ")


@pytest.mark.parametrize(("args", "out"), [(["--once"], "a\n"), (["--count", "2"], "a\nb\n")])
def test_it_ends_after_so_many_messages(typed, capsys, args, out):
    typed(eof=False)
    with serving(say("a", "b", "c")) as uri:
        assert connect(*args, "--quiet", uri) == 0
    assert capsys.readouterr() == (out, "")


def test_it_waits_for_so_many_messages_after_the_end_of_the_input(typed, capsys, monkeypatch):
    monkeypatch.setattr(cli.connect_command, "Piping", impatient(cli.connect_command.Piping))
    typed()

    def handler(ws):
        assert impatient.ended.wait(DEADLINE)
        ws.send("late")
        list(ws)

    with serving(handler) as uri:
        assert connect("--once", uri) == 0
    assert capsys.readouterr().out == "late\n"


def impatient(piping):
    """A class of which objects tell when their input has ended."""
    import threading

    impatient.ended = threading.Event()

    class Impatient(piping):
        def _send_lines(self):
            super()._send_lines()
            impatient.ended.set()

    return Impatient


def test_fewer_messages_than_were_wanted_are_status_1(typed, capsys):
    typed(eof=False)
    with serving(lambda ws: ws.send("only")) as uri:
        assert connect("--count", "2", "--quiet", uri) == 1
    assert capsys.readouterr() == (
        "only\n",
        "syncws: closed after 1 of 2 messages: 1000 (normal closure)\n",
    )


def test_frames_are_traced_to_standard_error(typed, capsys):
    typed(b"hello\n")
    with serving(echo) as uri:
        assert connect("--trace", "--no-compression", uri) == 0
    out, err = capsys.readouterr()
    assert out == "hello\n"
    assert err.splitlines()[0].endswith("→  GET / HTTP/1.1")
    names = re.findall("([→←])  (TEXT|CLOSE) ", err)
    assert names == [("→", "TEXT"), ("←", "TEXT"), ("→", "CLOSE"), ("←", "CLOSE")]
    assert "Connection closed: 1000 (normal closure)\n" in err


def test_scripts_see_what_happened():
    with program("connect", "--quiet", "--once", "ws://127.0.0.1:9/") as process:
        assert process.wait(DEADLINE) == 3
        assert process.stdout.read() == ""
