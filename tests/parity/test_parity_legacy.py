"""Older names, as programs of tutorials use them; and the tutorials' sample programs."""

import functools
import socket
import threading

import pytest
from support.pairs import SOON
from support.serving import assert_works, echo, serving, the_connection
from support.snippets import run, running_server

import syncws as websockets

# --- sample programs ---

SERVER = """
import syncws as websockets

def handler(websocket, path):
    print("connected:", path)
    try:
        for message in websocket:
            print("received:", message)
            websocket.send("got it: " + message)
    except websockets.exceptions.ConnectionClosedOK:
        print("closed normally")
    except Exception as exc:
        print("failed:", type(exc).__name__)

def main():
    server = websockets.serve(handler, "localhost", 8765)
    with server:
        server.serve_forever()

if __name__ == "__main__":
    main()
"""

CLIENT = """
import syncws as websockets

def main():
    connection = websockets.connect("ws://localhost:8765/room")
    with connection as websocket:
        for text in ("hello", "bye"):
            websocket.send(text)
            print("answer:", websocket.recv())

main()
"""

WAITING_SERVER = """
import threading
import syncws as websockets

def echo(websocket):
    for message in websocket:
        websocket.send(message)

def main():
    with websockets.serve(echo, "localhost", 8765):
        threading.Event().wait()  # run forever

try:
    main()
except KeyboardInterrupt:
    print("stopped")
"""


def test_P1_the_sample_server_runs_and_stops_by_ctrl_c():
    with running_server(SERVER) as (port, program):
        with websockets.connect(f"ws://localhost:{port}/room") as ws:
            ws.send("hello")
            assert ws.recv(SOON) == "got it: hello"
        assert program.readline() == "connected: /room"
        assert program.readline() == "received: hello"
        assert program.interrupt() == ("", "")
        assert program.process.returncode == 0


def test_P1_its_handler_sees_an_abnormal_end():
    with running_server(SERVER) as (port, program):
        ws = websockets.connect(f"ws://localhost:{port}/")
        ws.send(b"bytes")  # and text can't be joined
        assert program.readline() == "connected: /"
        assert program.readline() == "received: b'bytes'"
        assert program.readline() == "failed: TypeError"
        ws.close()


def test_P2_the_sample_client_runs():
    with running_server(SERVER) as (port, _):
        assert run(CLIENT, port) == "answer: got it: hello\nanswer: got it: bye\n"


def test_P3_the_sample_echo_server_accepts_while_the_block_lasts():
    with running_server(WAITING_SERVER) as (port, program):
        assert_works(websockets.connect(f"ws://localhost:{port}/"))
        assert program.interrupt() == ("stopped\n", "")


# --- what is called what ---


class Hooked(websockets.WebSocketServerProtocol):
    made, lost = threading.Event(), threading.Event()

    def connection_made(self):
        self.made.set()

    def connection_lost(self, exc):
        self.lost.set()

    def process_request(self, path, request_headers):
        if path == "/closed":
            return 404, [("X-Reason", "closed")], b"nobody here\n"


def test_S4_M23_M24_V9_V12_V16_a_subclass_with_hooks():
    with serving(create_protocol=Hooked) as server:
        Hooked.made.clear()
        Hooked.lost.clear()
        assert_works(websockets.connect(server.uri))
        assert Hooked.made.wait(SOON)
        assert Hooked.lost.wait(SOON)
        with pytest.raises(websockets.InvalidStatusCode) as caught:
            websockets.connect(server.uri + "closed")
        assert caught.value.status_code == 404
        assert caught.value.headers["X-Reason"] == "closed"


def test_K2_a_client_of_a_class_of_its_own():
    class Own(websockets.WebSocketClientProtocol):
        def shout(self, text):
            self.send(text.upper())

    with serving() as server, websockets.connect(server.uri, create_protocol=Own) as ws:
        ws.shout("hello")
        assert ws.recv(SOON) == "HELLO"


def test_V7_extra_headers_are_sent():
    headers = {"X-Server": "mine"}
    with serving(extra_headers=headers) as server, websockets.connect(server.uri) as ws:
        assert ws.response_headers["X-Server"] == "mine"


def test_W3_a_listening_socket_is_wrapped():
    sock = socket.create_server(("127.0.0.1", 0))
    with websockets.WebSocketServer.wrap(sock, echo) as server:
        assert_works(websockets.connect(server.uri))


def test_M9_M10_host_and_port():
    with serving() as server:
        create = websockets.WebSocketClientProtocol
        with websockets.connect(f"ws://localhost:{server.port}/", create_protocol=create) as ws:
            assert (ws.host, ws.port) == ("localhost", server.port)


def test_M12_M13_what_means_nothing_says_so():
    with pytest.raises(TypeError, match="loop= has no meaning here: there is no event loop"):
        websockets.legacy.connect("ws://localhost/", loop=object())
    with pytest.raises(TypeError, match=r"legacy_recv= has no meaning here: recv\(\) raises"):
        websockets.legacy.serve(echo, legacy_recv=True)


def test_M14_timeout_is_the_oldest_name_of_close_timeout():
    with serving() as server, websockets.legacy.connect(server.uri, timeout=5) as ws:
        assert ws.options.close_timeout == 5
    create = functools.partial(websockets.WebSocketClientProtocol, timeout=6)
    with serving() as server, websockets.connect(server.uri, create_protocol=create) as ws:
        assert ws.options.close_timeout == 6


def test_M30_fail_connection():
    create = websockets.WebSocketServerProtocol
    with serving(create_protocol=create) as server, websockets.connect(server.uri) as ws:
        theirs = the_connection(server)
        theirs.fail_connection(1011, "broken")
        with pytest.raises(websockets.ConnectionClosedError) as caught:
            ws.recv(SOON)
        assert caught.value.code == 1011


def test_E7_redirects_are_followed_and_the_exception_is_there():
    assert issubclass(websockets.exceptions.RedirectHandshake, websockets.InvalidHandshake)
    assert websockets.legacy.RedirectHandshake("ws://other/").uri == "ws://other/"
    with serving() as server:

        def redirect(ws, request):
            return ws.respond(302, "", {"Location": server.uri})

        with serving(process_request=redirect) as first:
            assert_works(websockets.connect(first.uri))


def test_E23_the_older_name_of_protocol_errors():
    assert websockets.exceptions.WebSocketProtocolError is websockets.ProtocolError
    assert websockets.WebSocketProtocolError is websockets.ProtocolError


def test_F1_F4_the_factory_demands_a_password():
    class Own(websockets.legacy.BasicAuthWebSocketServerProtocol):
        pass

    factory = websockets.basic_auth_protocol_factory(
        realm="chat", credentials=("ada", "secret"), create_protocol=Own
    )
    with serving(create_protocol=factory) as server:
        with pytest.raises(websockets.InvalidStatusCode) as caught:
            websockets.connect(server.uri)
        assert caught.value.status_code == 401
        with websockets.connect(f"ws://ada:secret@127.0.0.1:{server.port}/"):
            ws = the_connection(server)
            assert isinstance(ws, Own)
            assert ws.username == "ada"
