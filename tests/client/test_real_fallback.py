"""Connections by plain HTTP through web servers and proxies that let no WebSocket through."""

import contextlib

import pytest
from support import peers
from support.pairs import SOON
from support.serving import exchange

from syncws import InvalidStatus, connect, serve

COUNT = 3000


def echo(ws):
    for message in ws:
        ws.send(message)


@pytest.fixture(scope="module")
def backend():
    with serve(echo, "127.0.0.1", 0, origins=None, fallback=True, ping_interval=None) as server:
        # Its thread for sessions starts with the first one, and stays as long as the server.
        connect(f"http://127.0.0.1:{server.port}/").close()
        yield server


@pytest.fixture(scope="module")
def nginx(backend):
    """Nginx without a configuration for WebSocket: HTTP/1.0 and 1.1 behind it, buffering or not."""
    target = f"proxy_pass http://127.0.0.1:{backend.port}/; proxy_set_header Host $http_host;"

    def build(port):
        return f"""
            server {{
                listen 127.0.0.1:{port};
                location /plain/ {{ {target} }}
                location /modern/ {{ proxy_http_version 1.1; {target} }}
                location /unbuffered/ {{ proxy_buffering off; {target} }}
                location /kept-back/ {{ proxy_ignore_headers X-Accel-Buffering; {target} }}
                location /impatient/ {{ proxy_read_timeout 2s; proxy_buffering off; {target} }}
                location /small/ {{ client_max_body_size 10k; {target} }}
            }}
        """

    with peers.nginx(build, 1, "127.0.0.1") as peer:
        yield peer


@pytest.fixture(scope="module")
def haproxy(backend):
    """HAProxy that removes the upgrade, and cuts what is silent for two seconds."""

    def configure(directory, port):
        peers.write(
            directory / "haproxy.cfg",
            f"""
            defaults
                mode http
                timeout connect 5s
                timeout client 2s
                timeout server 2s
            frontend web
                bind 127.0.0.1:{port}
                http-request del-header upgrade
                http-request del-header connection
                default_backend app
            backend app
                server app 127.0.0.1:{backend.port}
            """,
        )
        return ["-db", "-f", "haproxy.cfg"]

    with peers.started("haproxy", "haproxy", configure) as peer:
        yield peer


@pytest.mark.parametrize(
    ("path", "transport"),
    [
        ("plain", "streaming"),
        ("modern", "streaming"),
        ("unbuffered", "streaming"),
        ("kept-back", "polling"),
        ("impatient", "streaming"),
        ("small", "streaming"),
    ],
)
def test_nginx(nginx, path, transport):
    uri = f"ws://127.0.0.1:{nginx.port}/{path}/"
    with pytest.raises(InvalidStatus):
        connect(uri)
    with connect(uri, fallback=True, compression=None) as ws:
        exchange(ws, COUNT)
        ws.send("x" * 100_000)
        assert ws.recv(timeout=SOON) == "x" * 100_000
        if path == "impatient":
            with pytest.raises(TimeoutError):
                ws.recv(timeout=5)
            exchange(ws, 10)
        if path == "kept-back":
            with contextlib.suppress(TimeoutError):
                ws.recv(timeout=4)
            exchange(ws, COUNT)
        assert ws.transport == transport
    assert ws.close_code == 1000


def test_haproxy(haproxy):
    with connect(f"ws://127.0.0.1:{haproxy.port}/", fallback=True) as ws:
        assert ws.transport != "websocket"
        exchange(ws, COUNT)
        with pytest.raises(TimeoutError):
            ws.recv(timeout=7)
        exchange(ws, COUNT)
    assert ws.close_code == 1000
