"""Functions: who may connect, sending to many, Unix sockets."""

import base64
import os
import re
import socket
import stat
import sys
import time

import pytest
from support.ends import bare_client
from support.pairs import SOON, wait_until
from support.scripted import build_request, exchange
from support.serving import assert_works, echo, messages, serving

from syncws import (
    InvalidStatus,
    SlowPeer,
    ThreadingServer,
    basic_auth,
    broadcast,
    connect,
    unix_connect,
    unix_serve,
)

needs_unix_sockets = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="no Unix sockets on this platform"
)


# --- who may connect ---


def say_name(ws):
    ws.send(f"{ws.username}")


def greet(server, user_info):
    """What a server says to a user with this password."""
    with connect(server.uri.replace("://", f"://{user_info}@")) as ws:
        return ws.recv(SOON)


def status(server, user_info=None):
    """The status with which a server refuses a user."""
    with pytest.raises(InvalidStatus) as info:
        greet(server, user_info) if user_info else connect(server.uri)
    return info.value.response.status_code


def test_F1_the_realm_is_what_the_password_is_for():
    authenticate = basic_auth("chat", ("hello", "iloveyou"))
    with serving(say_name, process_request=authenticate) as server:
        assert greet(server, "hello:iloveyou") == "hello"
        first, headers, _ = exchange(server, build_request())
    assert first == "HTTP/1.1 401 Unauthorized"
    assert headers["www-authenticate"] == 'Basic realm="chat", charset="UTF-8"'
    with serving(process_request=basic_auth(credentials=("a", "b"))) as server:
        _, headers, _ = exchange(server, build_request())
    assert headers["www-authenticate"] == 'Basic realm="", charset="UTF-8"'


@pytest.mark.parametrize(
    "credentials",
    [
        [("hello", "iloveyou"), ("you", "metoo")],
        {"hello": "iloveyou", "you": "metoo"},
    ],
    ids=["list", "dict"],
)
def test_F2_credentials_are_a_list_or_a_dict(credentials):
    with serving(say_name, process_request=basic_auth("", credentials)) as server:
        assert greet(server, "hello:iloveyou") == "hello"
        assert greet(server, "you:metoo") == "you"
        for user_info in ("hello:metoo", "nobody:iloveyou", None):
            assert status(server, user_info) == 401


def test_F2_credentials_are_a_single_pair_too():
    with serving(say_name, process_request=basic_auth("", ("hello", "iloveyou"))) as server:
        assert greet(server, "hello:iloveyou") == "hello"
        assert status(server, "hello:wrong") == 401


def test_F2_both_or_none_are_refused():
    for arguments in ({}, {"credentials": ("a", "b"), "check_credentials": lambda *_: True}):
        with pytest.raises(ValueError, match="give either credentials= or check_credentials="):
            basic_auth(**arguments)


def test_F3_a_function_checks_credentials(caplog):
    def check(username, password):
        if username == "bug":
            raise LookupError("the database is gone")
        return password == username[::-1]

    authenticate = basic_auth(check_credentials=check)
    with serving(say_name, process_request=authenticate) as server:
        assert greet(server, "hello:olleh") == "hello"
        assert status(server, "hello:hello") == 401
        assert status(server, "bug:gub") == 500
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert isinstance(record.exc_info[1], LookupError)


def test_F3_a_coroutine_function_is_refused():
    async def check(username, password):
        """As tutorials write it."""

    with pytest.raises(TypeError, match="drop async and await"):
        basic_auth(check_credentials=check)


def test_F4_the_user_name_is_the_connection_s():
    authorization = "Basic " + base64.b64encode("müller:geheim".encode()).decode()
    authenticate = basic_auth(credentials={"müller": "geheim"})
    with (
        serving(say_name, process_request=authenticate) as server,
        connect(server.uri, additional_headers={"Authorization": authorization}) as ws,
    ):
        assert ws.recv(SOON) == "müller"
    with serving(say_name) as server, connect(server.uri) as ws:
        assert ws.recv(SOON) == "None"


# --- sending to many ---


def connected(server, number, **kwargs):
    """So many connections, which the server knows."""
    clients = [connect(server.uri, **kwargs) for _ in range(number)]
    wait_until(lambda: len(server.connections) == number)
    return clients


def test_F5_all_get_the_message_with_or_without_compression():
    with serving() as server:
        clients = connected(server, 2) + [
            connect(server.uri, compression=None, max_size=None) for _ in range(2)
        ]
        wait_until(lambda: len(server.connections) == 4)
        broadcast(server, "news " * 100)
        for ws in clients:
            assert ws.recv(SOON) == "news " * 100
            ws.close()


def test_F5_nobody_is_waited_for():
    with bare_client(write_limit=2**40, compression=None) as (_, ws):
        server = ws.server
        with connect(server.uri, max_size=None) as reading:
            wait_until(lambda: len(server.connections) == 2)
            start = time.monotonic()
            for _ in range(16):
                broadcast(server, bytes(2**20))  # to somebody who does not read, too
            assert time.monotonic() - start < SOON / 2
            for _ in range(16):
                assert reading.recv(SOON) == bytes(2**20)
        assert ws.open


def test_F6_connections_are_those_of_a_server_or_any():
    with serving() as server:
        one, two = connected(server, 2)
        broadcast(server, "to all")
        broadcast(server.connections, "to all of these")
        first = next(ws for ws in server.connections if ws.remote_address == one.local_address)
        broadcast((ws for ws in [first]), "to one")
        broadcast([], "to nobody")
        broadcast(server, "last")
        for ws, own in ((one, ["to one"]), (two, [])):
            expected = ["to all", "to all of these", *own, "last"]
            assert [ws.recv(SOON) for _ in expected] == expected
        one.close()
        broadcast([first], "to a closed one")
        two.close()


def test_F7_a_message_is_text_or_binary():
    with serving() as server:
        (ws,) = connected(server, 1)
        for message in ("text", b"bytes", bytearray(b"bytes"), memoryview(b"bytes")):
            broadcast(server, message)
            assert ws.recv(SOON) == (message if isinstance(message, str) else b"bytes")
        broadcast(server, b"bytes", text=True)
        assert ws.recv(SOON) == "bytes"
        for wrong in (["a", "b"], {"a": 1}, 1):
            with pytest.raises(TypeError):
                broadcast(server, wrong)
        ws.close()


def overflow(ws, **kwargs):
    """Broadcast more to somebody who does not read than may wait."""
    for _ in range(64):
        broadcast([ws], bytes(2**20), **kwargs)


def test_F8_failures_are_logged_unless_they_are_to_be_raised(caplog):
    with bare_client(compression=None, close_timeout=0.1) as (_, ws):
        overflow(ws)
        (message,) = messages(caplog, "WARNING")  # then it is closed, and left out
        assert re.fullmatch(r"broadcasting failed: \d+ bytes wait for a slow peer, .*", message)
        assert not ws.open


@pytest.mark.skipif(sys.version_info < (3, 11), reason="no ExceptionGroup")
def test_F8_failures_are_raised_in_a_group():
    with bare_client(compression=None, close_timeout=0.1) as (_, ws):
        with pytest.raises(Exception, match="broadcasting failed") as info:
            overflow(ws, raise_exceptions=True)
        (exc,) = info.value.exceptions
        assert isinstance(exc, SlowPeer)


# --- Unix sockets ---


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "socket")


@needs_unix_sockets
def test_F9_a_client_connects_by_a_unix_socket(path):
    with unix_serve(echo, path) as server:
        assert_works(unix_connect(path))
        with unix_connect(path, "ws://example.com/chat", compression=None) as ws:
            assert (ws.path, ws.request.headers["Host"]) == ("/chat", "example.com")
        assert server.port is None


@needs_unix_sockets
def test_F10_a_server_listens_on_a_unix_socket_and_cleans_up(path):
    server = unix_serve(echo, path)
    assert isinstance(server, ThreadingServer)
    assert stat.S_ISSOCK(os.stat(path).st_mode)
    with pytest.raises(OSError, match="can't listen on"):
        unix_serve(echo, path)
    with server:
        assert_works(unix_connect(path))
    assert not os.path.exists(path)


@needs_unix_sockets
def test_F10_a_stale_socket_file_is_replaced(path):
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    assert os.path.exists(path)
    with unix_serve(echo, path):
        assert_works(unix_connect(path))
