"""Requests to WSGI applications, made without a server."""

import contextlib
import io
import socket

import pytest
from support.pairs import SOON, socket_pair, wait_until

from syncws import InvalidHandshake
from syncws.integrations import wsgi
from syncws.integrations.takeover import sinks
from syncws.integrations.wsgi_roster import roster

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class Raw(io.RawIOBase):
    """A socket's bytes, for a reader that doesn't keep the socket open."""

    def __init__(self, sock):
        self._sock = sock

    def readable(self):
        return True

    def readinto(self, buffer):
        return self._sock.recv_into(buffer)


def make_environ(sock, path="/", **changes):
    environ = {
        "REQUEST_METHOD": "GET",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "wsgi.url_scheme": "http",
        "HTTP_HOST": "localhost:80",
        "HTTP_UPGRADE": "websocket",
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_SEC_WEBSOCKET_KEY": KEY,
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
        "wsgi.input": io.BytesIO(),
    }
    if sock is not None:
        environ["werkzeug.socket"] = sock
        environ["wsgi.input"] = io.BufferedReader(Raw(sock))
    environ.update(changes)
    return {key: value for key, value in environ.items() if value is not None}


class Started:
    """Keeps what start_response() was called with."""

    def __init__(self):
        self.status = self.headers = None

    def __call__(self, status, headers, exc_info=None):
        self.status, self.headers = status, headers
        return lambda data: None


@contextlib.contextmanager
def request_pair(monkeypatch):
    """Both ends of a request's connection, client and server, of which nothing may be left."""
    monkeypatch.setattr("syncws.integrations.wsgi_roster.INTERVAL", 0.01)
    client, server = socket_pair()
    client.settimeout(SOON)
    with client, server:
        yield client, server
    wait_until(lambda: not (len(roster) or len(sinks)))


@contextlib.contextmanager
def taken(pair, gateway=None, **changes):
    """A connection that was taken over, and the client's socket after the response head."""
    client, server = pair
    ws = (gateway or wsgi.Gateway(compression=None)).accept(make_environ(server, **changes))
    response = b""
    while not response.endswith(b"\r\n\r\n"):
        response += client.recv(1)
    assert response.startswith(b"HTTP/1.1 101 ")
    try:
        yield ws, client
    finally:
        ws.abort()
        assert ws.wait_closed(SOON)


def say_goodbye(client, code=b""):
    """Answer a close frame, or send the first one; check that nothing follows."""
    client.sendall(b"\x88%c\0\0\0\0" % (0x80 + len(code)) + code)
    client.shutdown(socket.SHUT_WR)


def refusal_of(environ, **options):
    with pytest.raises(InvalidHandshake) as raised:
        wsgi.accept(environ, **options)
    return raised.value
