"""Where options of WebSockets in Flask applications come from, and their order."""

import logging

import pytest
from support.pairs import SOON

from syncws import ConnectionClosed, InvalidStatus

pytest.importorskip("flask")

from flask import Flask

from syncws.integrations.flask import Sock, SockConnection
from syncws.integrations.sock_options import merge_options


def accepted_size(config=(), sock_options=None, **route_options):
    """The max_size that a connection has."""
    app = Flask(__name__)
    app.testing = True
    sock = Sock(app, **(sock_options or {}))
    found = []
    sock.route("/", **route_options)(lambda ws: found.append(ws.protocol.max_message_size))
    app.config.update(config)
    with sock.test_client().connect():
        pass
    return found[0]


def test_the_order_of_options():
    config = {"SOCK_SERVER_OPTIONS": {"max_message_size": 1}}
    assert accepted_size() == 2**20
    assert accepted_size(config) == 1
    config["SYNCWS_MAX_SIZE"] = 2
    assert accepted_size(config) == 2
    assert accepted_size(config, {"max_size": 3}) == 3
    assert accepted_size(config, {"max_size": 3}, max_size=4) == 4


def test_keys_of_the_configuration_are_one_per_option():
    logger = logging.getLogger("mine")
    options = merge_options(
        {
            "SYNCWS_ORIGINS": None,
            "SYNCWS_MAX_CONNECTIONS": 3,
            "SYNCWS_PING_INTERVAL": 5,
            "SYNCWS_LOGGER": logger,
            "DEBUG": True,
        }
    )
    assert options == {
        "create_connection": SockConnection,
        "origins": None,
        "max_connections": 3,
        "ping_interval": 5,
        "logger": logger,
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"ping_interval": 25}, {"ping_interval": 25}),
        ({"ping_interval": None}, {"ping_interval": None}),
        ({"ping_interval": 0}, {"ping_interval": None}),
        ({"max_message_size": 10}, {"max_size": 10}),
        ({"max_message_size": None}, {"max_size": None}),
        ({"receive_bytes": 8192}, {}),
        ({"thread_class": None, "event_class": None, "selector_class": None}, {}),
        ({"subprotocols": None}, {"subprotocols": None}),
    ],
)
def test_the_key_of_flask_sock(given, expected):
    options = merge_options({"SOCK_SERVER_OPTIONS": given})
    assert options == {"create_connection": SockConnection, **expected}


@pytest.mark.parametrize("subprotocols", ["chat", ["log", "chat"], ("chat",)])
def test_subprotocols_of_that_key_need_not_be_offered(subprotocols):
    app = Flask(__name__)
    app.config["SOCK_SERVER_OPTIONS"] = {"subprotocols": subprotocols}
    sock = Sock(app)
    sock.route("/")(lambda ws: ws.send(str(ws.subprotocol)))
    for offered, chosen in ((None, "None"), (["x"], "None"), (["x", "chat"], "chat")):
        with sock.test_client().connect(subprotocols=offered) as ws:
            assert ws.recv(SOON) == chosen


def test_subprotocols_given_elsewhere_replace_those_and_their_choice():
    app = Flask(__name__)
    app.config["SOCK_SERVER_OPTIONS"] = {"subprotocols": "chat"}
    sock = Sock(app, subprotocols=["new"])
    sock.route("/")(lambda ws: ws.send(ws.subprotocol))
    with sock.test_client().connect(subprotocols=["chat", "new"]) as ws:
        assert ws.recv(SOON) == "new"
    with pytest.raises(InvalidStatus):
        sock.test_client().connect()


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"SYNCWS_MAX_SISE": 1}, ValueError, "'SYNCWS_MAX_SISE'; did you mean 'SYNCWS_MAX_SIZE'"),
        ({"SYNCWS_max_size": 1}, ValueError, "'SYNCWS_max_size'; did you mean 'SYNCWS_MAX_SIZE'"),
        ({"SYNCWS_NONSENSE": 1}, ValueError, "no configuration key 'SYNCWS_NONSENSE'$"),
        ({"SYNCWS_MAX_CONNECTIONS": 0}, ValueError, "max_connections must be at least 1"),
        ({"SOCK_SERVER_OPTIONS": 5}, TypeError, "SOCK_SERVER_OPTIONS is a dict, not 5"),
        ({"SOCK_SERVER_OPTIONS": {"x": 1}}, ValueError, "SOCK_SERVER_OPTIONS has no key 'x'$"),
        ({"SOCK_SERVER_OPTIONS": {"max_size": 1}}, ValueError, "'max_size'; use SYNCWS_MAX_SIZE"),
        ({"SOCK_SERVER_OPTIONS": {"thread_class": object}}, ValueError, "'thread_class' can't be"),
    ],
)
def test_wrong_configurations_are_errors_that_name_what_is_wrong(config, error, message):
    app = Flask(__name__)
    app.config.update(config)
    with pytest.raises(error, match=message):
        Sock(app)


def test_a_configuration_that_turns_wrong_is_found_by_the_first_connection():
    app = Flask(__name__)
    app.testing = True
    sock = Sock(app)
    sock.route("/")(lambda ws: None)
    app.config["SYNCWS_NONSENSE"] = 1
    with pytest.raises(ValueError, match="SYNCWS_NONSENSE"):
        sock.test_client().connect()


def test_wrong_options_are_errors_where_they_are_given():
    with pytest.raises(TypeError, match=r"Sock\(\) has no option 'max_sise'; did you mean 'max_si"):
        Sock(max_sise=1)
    with pytest.raises(ValueError, match="max_connections"):
        Sock(max_connections=0)
    sock = Sock(Flask(__name__))
    with pytest.raises(ValueError, match="max_connections"):
        sock.route("/", max_connections=0)
    with pytest.raises(TypeError, match="max_sise"):
        sock.route("/", max_sise=1)(lambda ws: None)


def test_hosts_is_ours_and_host_is_flasks():
    app = Flask(__name__, host_matching=True, static_folder=None)
    sock = Sock(app)
    sock.route("/", host="<name>.example.com", hosts=["ann.example.com"])(
        lambda ws, name: ws.send(name)
    )
    with sock.test_client().connect(base_url="http://ann.example.com") as ws:
        assert ws.recv(SOON) == "ann"
    with pytest.raises(InvalidStatus) as info:
        sock.test_client().connect(base_url="http://bob.example.com")
    assert info.value.response.status_code == 421


def test_limits_of_a_route_hold():
    sock = Sock(Flask(__name__))

    @sock.route("/", max_size=10)
    def handler(ws):
        ws.receive()

    with sock.test_client().connect() as ws:
        ws.send("x" * 11)
        with pytest.raises(ConnectionClosed) as info:
            ws.recv(SOON)
    assert info.value.code == 1009


def test_connections_may_be_of_a_class_of_the_program():
    class Own(SockConnection):
        def shout(self, text):
            self.send(text.upper())

    sock = Sock(Flask(__name__), create_connection=Own)
    sock.route("/")(lambda ws: ws.shout("hello"))
    with sock.test_client().connect() as ws:
        assert ws.recv(SOON) == "HELLO"
