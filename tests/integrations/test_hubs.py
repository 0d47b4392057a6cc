"""Rooms of a hub, wherever a connection comes from."""

import pytest
from support.pairs import SOON
from support.serving import serving

from syncws import Router, connect
from syncws.pubsub import Hub


@pytest.fixture
def hub():
    with Hub() as hub:
        yield hub


def chat(ws):
    ws.group("chat").add(ws)
    ws.send("welcome")
    for message in ws:
        ws.group("chat").publish(message)


def assert_chats(connect_one, connect_two=None):
    with connect_one() as one, (connect_two or connect_one)() as two:
        for ws in (one, two):
            assert ws.recv(SOON) == "welcome"
        one.send("hello")
        assert one.recv(SOON) == two.recv(SOON) == "hello"


def test_router(hub):
    router = Router()
    router.route("/chat")(chat)
    with serving(router, hub=hub) as server:
        assert_chats(lambda: connect(f"{server.uri}chat"))


def test_flask(hub):
    flask = pytest.importorskip("flask")
    from syncws.integrations.flask import Sock

    sock = Sock(flask.Flask(__name__), hub=hub)
    sock.route("/chat")(chat)
    assert_chats(lambda: sock.test_client().connect("/chat"))


def test_flask_by_configuration(hub):
    flask = pytest.importorskip("flask")
    from syncws.integrations.flask import Sock

    app = flask.Flask(__name__)
    app.config["SYNCWS_HUB"] = hub
    sock = Sock(app)
    sock.route("/chat")(chat)
    assert_chats(lambda: sock.test_client().connect("/chat"))


urlpatterns = []


def test_django(hub):
    pytest.importorskip("support.django_settings")
    from django.test import Client, override_settings
    from django.urls import path

    from syncws.integrations.django import connect_client, websocket

    urlpatterns[:] = [path("chat", websocket(hub=hub)(lambda request, ws: chat(ws)))]
    with override_settings(ROOT_URLCONF=__name__, SYNCWS={}):
        assert_chats(lambda: connect_client(Client(), "/chat"))


def test_tornado(hub):
    from syncws.styles.tornado import Application, WebSocketHandler

    class Chat(WebSocketHandler):
        def open(self):
            self.ws_connection.group("chat").add(self.ws_connection)
            self.write_message("welcome")

        def on_message(self, message):
            hub.publish("chat", message)

    with Application([("/", Chat)]).listen(0, "localhost", hub=hub) as server:
        assert_chats(lambda: connect(server.uri))


def test_server_and_application_share_rooms(hub):
    flask = pytest.importorskip("flask")
    from syncws.integrations.flask import Sock

    sock = Sock(flask.Flask(__name__), hub=hub)
    sock.route("/chat")(chat)
    with serving(chat, hub=hub) as server:
        assert_chats(lambda: connect(server.uri), lambda: sock.test_client().connect("/chat"))
