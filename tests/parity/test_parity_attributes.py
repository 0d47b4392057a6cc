"""A connection: its attributes."""

import socket
import uuid

import pytest
from support.certificates import client_context, server_context
from support.ends import bare_client, both_ends
from support.pairs import SOON, run, wait_until

from syncws import ClientConnection, ClientProtocol, Request, Response, State
from syncws.legacy import WebSocketClientProtocol


def test_M44_open_tells_whether_messages_can_be_sent():
    with both_ends() as (client, server):
        assert client.open is server.open is True
        client.close()
        assert client.open is False


@pytest.mark.parametrize("create", [{}, {"create_connection": WebSocketClientProtocol}])
def test_M45_host_is_of_older_connections_and_others_say_what_to_use(create):
    with both_ends(create) as (client, _):
        if create:
            assert client.host == "127.0.0.1"
        else:
            with pytest.raises(AttributeError, match="use remote_address or local_address"):
                client.host  # noqa: B018
        assert client.remote_address[0] == "127.0.0.1"


@pytest.mark.parametrize("create", [{}, {"create_connection": WebSocketClientProtocol}])
def test_M46_port_is_of_older_connections_and_others_say_what_to_use(create):
    with both_ends(create) as (client, server):
        if create:
            assert client.port == server.server.port
        else:
            with pytest.raises(AttributeError, match="use remote_address or local_address"):
                client.port  # noqa: B018
        assert client.remote_address[1] == server.server.port


def test_M47_closed_is_false_as_long_as_the_connection_is_closing():
    with bare_client() as (sock, ws):
        assert ws.closed is False
        closing = run(ws.close)
        wait_until(lambda: not ws.open)
        assert (ws.state, ws.closed) == (State.CLOSING, False)
        sock.close()
        closing.result()
        assert (ws.state, ws.closed) == (State.CLOSED, True)


def test_M48_close_code_is_the_one_received():
    with both_ends() as (client, server):
        assert client.close_code is server.close_code is None
        client.close(4001)
        assert server.wait_closed(SOON)
        assert (client.close_code, server.close_code) == (4001, 4001)
    with both_ends() as (client, server):
        server.abort()
        assert client.wait_closed(SOON)
        assert (client.close_code, client.close_reason) == (1006, "")


def test_M49_close_reason_is_the_one_received():
    with both_ends() as (client, server):
        assert client.close_reason is server.close_reason is None
        client.close(4001, "enough")
        assert server.wait_closed(SOON)
        assert (client.close_reason, server.close_reason) == ("enough", "enough")


def test_M50_is_client():
    with both_ends() as (client, server):
        assert client.is_client is True
        assert server.is_client is False


def test_M51_the_local_address_is_kept_after_closing():
    with both_ends() as (client, server):
        before = client.local_address, server.local_address
        assert before[1] == ("127.0.0.1", server.server.port)
        client.close()
        assert server.wait_closed(SOON)
        assert (client.local_address, server.local_address) == before


def test_M52_the_remote_address_is_kept_after_closing():
    with both_ends() as (client, server):
        assert client.remote_address == server.local_address
        assert server.remote_address == client.local_address
        before = server.remote_address
        client.close()
        assert server.wait_closed(SOON)
        assert server.remote_address == before


def test_M53_secure_tells_whether_there_is_tls():
    with both_ends({"ssl": client_context()}, ssl=server_context()) as (client, server):
        assert client.secure is server.secure is True
    with both_ends() as (client, server):
        assert client.secure is server.secure is False


def test_M54_side():
    with both_ends() as (client, server):
        assert (client.side, server.side) == ("client", "server")


def test_M55_what_the_opening_handshake_said():
    with both_ends({"subprotocols": ["chat"]}, subprotocols=["chat"]) as ends:
        client, server = ends
        for ws in ends:
            assert isinstance(ws.request, Request)
            assert isinstance(ws.response, Response)
            assert ws.path == ws.request.path == "/"
            assert ws.request_headers["Upgrade"] == "websocket"
            assert ws.response_headers["Upgrade"] == "websocket"
            assert ws.subprotocol == "chat"
            assert [extension.name for extension in ws.extensions] == ["permessage-deflate"]
            assert ws.state is State.OPEN
        assert client.headers is client.response_headers
        assert server.headers is server.request_headers


def test_M55_what_tells_connections_apart_and_belongs_to_the_program():
    with both_ends() as (client, server):
        assert isinstance(client.id, uuid.UUID)
        assert client.id == client.id != server.id
        assert client.logger.extra["websocket"] is client
        assert client.latency == 0
        server.data["user"] = "me"
        assert server.data == {"user": "me"}


def test_M55_before_the_opening_handshake_there_is_nothing_yet():
    ours, theirs = socket.socketpair()
    with theirs:
        ws = ClientConnection(ours, ClientProtocol("ws://localhost/"))
        assert (ws.path, ws.request_headers, ws.response_headers, ws.headers) == (None,) * 4
        assert (ws.subprotocol, ws.extensions) == (None, [])
        assert ws.state is State.CONNECTING
        with pytest.raises(AssertionError, match="connection is connecting"):
            ws.ensure_open()
        ws.abort()
