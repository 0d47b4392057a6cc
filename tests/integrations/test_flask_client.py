"""The test client: cookies, sessions and logins across HTTP and WebSockets."""

import datetime

import pytest
from support.pairs import SOON

from syncws import InvalidStatus

pytest.importorskip("flask")

from flask import Flask, request, session
from flask.sessions import SecureCookieSession, SessionInterface
from flask.testing import FlaskClient

from syncws.integrations.flask import Sock, SockClient


@pytest.fixture
def app():
    app = Flask(__name__)
    app.secret_key = "secret"
    app.testing = True

    @app.get("/visit/<name>")
    def visit(name):
        session["name"] = name
        return ""

    return app


@pytest.fixture
def sock(app):
    sock = Sock(app)

    @sock.route("/name")
    def name(ws):
        ws.send(session.get("name", "nobody"))

    return sock


def say(client, path="/name", **options):
    with client.connect(path, **options) as ws:
        return ws.recv(SOON)


# --- sessions ---


def test_a_session_of_http_is_there_in_a_handler(sock):
    client = sock.test_client()
    assert say(client) == "nobody"
    client.get("/visit/ann")
    assert say(client) == "ann"
    assert say(sock.test_client()) == "nobody"


def test_session_transactions(sock):
    client = sock.test_client()
    with client.session_transaction() as state:
        state["name"] = "bob"
    assert say(client) == "bob"


def test_the_session_is_saved_when_the_connection_is_accepted(app, sock):
    @app.before_request
    def count():
        session["count"] = session.get("count", 0) + 1

    client = sock.test_client()
    with client.connect("/name") as ws:
        assert ws.response.headers["Vary"] == "Cookie"
        with client.session_transaction() as state:
            assert state["count"] == 1
    with client.connect("/name"), client.session_transaction() as state:
        assert state["count"] == 2


class StoredSessions(SessionInterface):
    """Sessions on the server; there is one."""

    def __init__(self):
        self.stored = {}

    def open_session(self, app, request):
        return SecureCookieSession(self.stored)

    def save_session(self, app, session, response):
        if session.modified:
            self.stored = dict(session)


@pytest.mark.parametrize(
    ("message", "kept"), [("", {"visits": 2}), ("ann", {"visits": 1, "name": "ann"})]
)
def test_a_session_on_the_server_is_saved_again_only_if_the_handler_changes_it(
    app, sock, message, kept
):
    sessions = app.session_interface = StoredSessions()
    app.before_request(lambda: session.update(visits=1))

    @sock.route("/rename")
    def rename(ws):
        if name := ws.recv():
            session["name"] = name

    with sock.test_client().connect("/rename") as ws:
        assert sessions.stored == {"visits": 1}
        sessions.stored = {"visits": 2}  # by another request
        ws.send(message)
    assert sessions.stored == kept


def test_permanent_sessions(app, sock):
    app.permanent_session_lifetime = datetime.timedelta(hours=1)

    @app.before_request
    def remember():
        session.permanent = True
        session["name"] = "carl"

    with sock.test_client().connect("/name") as ws:
        cookie = ws.response.headers["Set-Cookie"]
    assert "Expires=" in cookie


def test_an_untouched_session_sets_no_cookie(sock):
    with sock.test_client().connect("/name") as ws:
        assert "Set-Cookie" not in ws.response.headers


def test_without_a_secret_key_there_is_no_session():
    app = Flask(__name__)
    sock = Sock(app)
    sock.route("/")(lambda ws: ws.send(str(bool(session))))
    assert say(sock.test_client(), "/") == "False"


def test_cookies_of_a_refusal_are_kept(app, sock):
    @app.before_request
    def refuse():
        session["name"] = "dora"
        if request.args:
            return "no", 403
        return None

    client = sock.test_client()
    with pytest.raises(InvalidStatus):
        client.connect("/name?refuse=1")
    with client.session_transaction() as state:
        assert state["name"] == "dora"


# --- the client ---


def test_it_is_a_flask_client(app, sock):
    assert isinstance(sock.test_client(), FlaskClient)

    class Own(FlaskClient):
        own = True

    app.test_client_class = Own
    client = sock.test_client(use_cookies=False)
    assert isinstance(client, SockClient)
    assert client.own
    assert say(client) == "nobody"


def test_arguments_are_those_of_flasks_client(app, sock):
    @sock.route("/request")
    def tell(ws):
        fields = (request.host, request.scheme, request.query_string.decode())
        more = (request.headers.get("X-Test"), request.user_agent.string, request.remote_addr)
        for field in (*fields, *more, request.script_root, request.path):
            ws.send(field)

    def ask(path="/request", **options):
        with sock.test_client().connect(path, **options) as ws:
            return [ws.recv(SOON) for _ in range(8)]

    answer = ask()
    assert answer[:4] == ["localhost", "http", "", "None"]
    assert answer[4].lower().startswith("werkzeug/")
    assert answer[5:] == ["127.0.0.1", "", "/request"]
    answer = ask(
        base_url="https://example.com/app",
        query_string={"a": "1"},
        headers={"X-Test": "yes", "User-Agent": "test"},
        environ_overrides={"REMOTE_ADDR": "1.2.3.4"},
    )
    assert answer == ["example.com", "https", "a=1", "yes", "test", "1.2.3.4", "/app", "/request"]
    assert ask("/request?a=2")[2] == "a=2"


@pytest.mark.parametrize("path", ["/é/ü b%25%3F%2F?q=ü&r=%26", "/%C3%A9/ü?q", "/é/x"])
def test_paths_are_what_they_are_by_http(app, sock, path):
    app.get("/é/<path:name>")(lambda name: repr((name, request.args)))

    @sock.route("/é/<path:name>")
    def repeat(ws, name):
        ws.send(repr((name, request.args)))

    client = sock.test_client()
    assert say(client, path) == client.get(path).text


def test_options_are_those_of_connect(sock):
    sock.route("/chat", subprotocols=["chat"])(lambda ws: ws.send(ws.subprotocol))
    assert say(sock.test_client(), "/chat", subprotocols=["chat"]) == "chat"


# --- flask-login ---


@pytest.fixture
def login(app):
    flask_login = pytest.importorskip("flask_login")
    manager = flask_login.LoginManager(app)
    manager.session_protection = "strong"
    manager.login_view = "page"

    class User(flask_login.UserMixin):
        def __init__(self, name):
            self.id = name

    manager.user_loader(User)

    @app.get("/login/<name>")
    def login(name):
        flask_login.login_user(User(name))
        return ""

    @app.get("/logout")
    def logout():
        flask_login.logout_user()
        return ""

    return flask_login


def test_login_required_answers_before_and_lets_users_in(app, login, sock):
    decorators = [login.login_required]
    sock.route("/me", decorators=decorators)(lambda ws: ws.send(login.current_user.id))
    app.add_url_rule("/login", "page", lambda: "")
    client = sock.test_client()
    with pytest.raises(InvalidStatus) as info:
        client.connect("/me")
    assert info.value.response.status_code == 302
    client.get("/login/ann")
    assert say(client, "/me") == "ann"
    client.get("/logout")
    with pytest.raises(InvalidStatus):
        client.connect("/me")


def test_without_a_login_page_it_is_401(app, login, sock):
    app.login_manager.login_view = None
    sock.route("/me", decorators=[login.login_required])(lambda ws: None)
    with pytest.raises(InvalidStatus) as info:
        sock.test_client().connect("/me")
    assert info.value.response.status_code == 401
