"""Programs written for flask-sock: the same with it, and with a changed import.

And with flask-sock itself over this library, which stands in for simple-websocket then.
"""

import json

import pytest
from support import flask_programs
from support.flask_servers import TROUBLE, open_page, open_socket, running
from support.pairs import SOON

from syncws import ConnectionClosed

pytest.importorskip("flask")


@pytest.fixture(params=["flask-sock", "syncws", "stand-in"], scope="module")
def library(request):
    if request.param != "syncws":
        pytest.importorskip("flask_sock")
    return request.param


def starting(library, name, how):
    text = getattr(flask_programs, name)
    if library == "syncws":
        text = flask_programs.ported(text)
    elif library == "stand-in":
        text = f'import syncws\n\nsyncws.install_as("simple_websocket")\n{text}'
    return running(text, how)


def test_echo_by_app_run(library):
    with starting(library, "ECHO", "python") as server:
        assert open_page(server, "/") == "a page"
        with open_socket(server, "/echo") as ws:
            for message in ("hello", "é" * 1000, b"\x00\xff", ""):
                ws.send(message)
                assert ws.recv(SOON) == message
            ws.send("close")
            with pytest.raises(ConnectionClosed) as info:
                ws.recv(SOON)
            assert info.value.code == 1000
        with open_socket(server, "/greet/ann/2") as ws:
            assert [ws.recv(SOON), ws.recv(SOON)] == ["0: hello, ann", "1: hello, ann"]
        with open_socket(server, "/end") as ws:
            with pytest.raises(ConnectionClosed) as info:
                ws.recv(SOON)
            assert (info.value.code, info.value.reason) == (3000, "that is all")


def test_a_factory_with_a_blueprint_by_flask_run(library):
    with starting(library, "FACTORY", "flask run") as server:
        for offered, chosen in ((None, "None"), (["other"], "None"), (["other", "chat"], "chat")):
            with open_socket(server, "/where", subprotocols=offered) as ws:
                assert ws.recv(SOON) == f"factory /where {chosen}"
                ws.send("x" * 1000)
                assert ws.recv(SOON) == "1000"
                ws.send("x" * 1001)
                with pytest.raises(ConnectionClosed) as info:
                    ws.recv(SOON)
                assert info.value.code == 1009
        with open_socket(server, "/rooms/kitchen?name=ann") as ws:
            assert ws.recv(SOON) == "kitchen of rooms, ann"


def test_broadcasting_and_waiting(library):
    # Its threads send at once, and without a lock they break what they compress together.
    options = {"compression": None} if library == "flask-sock" else {}
    with starting(library, "BROADCAST", "python") as server:

        def join():
            return open_socket(server, "/chat", **options)

        with join() as ann, join() as bob:
            for ws in (ann, bob):  # by then, both are in
                ws.send("here")
            while json.loads(ann.recv(SOON))["clients"] < 2:
                pass
            bob.send("hello")
            while json.loads(ann.recv(SOON)) != {"text": "hello", "clients": 2}:
                pass
        with open_socket(server, "/waiting") as ws:
            assert ws.recv(SOON) == "nothing came"
            ws.send("something")
            assert ws.recv(SOON) == "17"


def test_a_ported_program_logs_no_trouble():
    with starting("syncws", "ECHO", "python") as server:
        with open_socket(server, "/echo") as ws:
            ws.send("hello")
            assert ws.recv(SOON) == "hello"
        assert TROUBLE.findall(server.output) == []
