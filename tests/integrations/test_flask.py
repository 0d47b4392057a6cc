"""Routes of WebSockets in Flask applications."""

import threading

import pytest
from support.pairs import SOON

from syncws import ConnectionClosed, InvalidStatus

flask = pytest.importorskip("flask")

from flask import Blueprint, Flask, abort, current_app, g, request, url_for  # noqa: E402
from werkzeug.exceptions import HTTPException  # noqa: E402

from syncws.integrations.flask import Sock  # noqa: E402


def echo(ws):
    for message in ws:
        ws.send(message)


def keep_view(view):
    return view


@pytest.fixture
def app():
    app = Flask(__name__)
    app.secret_key = "secret"
    return app


@pytest.fixture
def sock(app):
    return Sock(app)


def say(sock, path="/", app=None, **options):
    """What a handler says first."""
    with sock.test_client(app).connect(path, **options) as ws:
        return ws.recv(SOON)


def refused(sock, path="/", app=None, **options):
    """The response with which a WebSocket is refused."""
    with pytest.raises(InvalidStatus) as info:
        sock.test_client(app).connect(path, **options)
    return info.value.response


# --- routes ---


def test_a_handler_gets_the_connection_and_the_variables_of_the_path(sock):
    @sock.route("/sum/<int:a>/<int:b>")
    def add(ws, a, b):
        ws.send(a + b)

    assert say(sock, "/sum/1/2") == "3"


def test_the_decorator_returns_the_function(sock):
    assert sock.route("/")(echo) is echo


def test_routes_may_come_before_applications():
    sock = Sock()
    sock.route("/name")(lambda ws: ws.send(current_app.name))
    first, second = Flask("first"), Flask("second")
    sock.init_app(first)
    sock.init_app(second)
    assert say(sock, "/name", first) == "first"
    assert say(sock, "/name", second) == say(sock, "/name") == "second"


def test_routes_after_init_app_belong_to_that_application(app):
    sock = Sock()
    other = Flask("other")
    sock.init_app(other)
    sock.init_app(app)
    sock.route("/later")(echo)
    assert refused(sock, "/later", other).status_code == 404
    with sock.test_client().connect("/later"):
        pass


def test_several_socks_on_one_application(app):
    app.register_blueprint(Blueprint("sock", __name__))
    for name in ("one", "two", "three"):
        sock = Sock()
        sock.route(f"/{name}")(lambda ws, name=name: ws.send(name))
        sock.init_app(app)
    assert [say(sock, f"/{name}") for name in ("one", "two", "three")] == ["one", "two", "three"]


def test_blueprints(app):
    sock = Sock()
    bp = Blueprint("rooms", __name__, url_prefix="/rooms")
    seen = []

    @bp.before_request
    def note():
        seen.append(request.blueprint)

    @bp.url_value_preprocessor
    def pull(endpoint, values):
        g.room = values.pop("room")

    @sock.route("/<room>", bp=bp)
    def room(ws):
        ws.send(f"{g.room} {url_for('.room', room='x')}")

    app.register_blueprint(bp)
    sock.init_app(app)
    assert say(sock, "/rooms/kitchen") == "kitchen ws://localhost/rooms/x"
    assert seen == ["rooms"]


def test_endpoints_and_subdomains():
    app = Flask(__name__, subdomain_matching=True)
    app.config["SERVER_NAME"] = "example.com"
    sock = Sock(app)

    @sock.route("/", subdomain="<user>", endpoint="personal")
    def handler(ws, user):
        ws.send(f"{user} {request.endpoint}")

    assert say(sock, "/", subdomain="ann") == "ann personal"


def test_http_and_websocket_may_share_a_path(app, sock):
    @app.get("/both")
    def page():
        return "a page"

    sock.route("/both")(lambda ws: ws.send("a websocket"))
    assert sock.test_client().get("/both").text == "a page"
    assert say(sock, "/both") == "a websocket"


def test_plain_http_to_a_websocket_is_answered_with_426(app, sock):
    sock.route("/echo")(echo)
    response = app.test_client().get("/echo")
    assert response.status_code == 426
    assert "This URL is for WebSockets." in response.text
    assert app.test_client().post("/echo").status_code == 405


def test_426_goes_to_error_handlers(app, sock):
    sock.route("/echo")(echo)

    @app.errorhandler(HTTPException)
    def page(exc):
        return f"sorry: {exc.code}", exc.code

    assert app.test_client().get("/echo").text == "sorry: 426"


@pytest.mark.parametrize("is_early", [False, True])
def test_routes_may_be_stacked(app, is_early):
    sock = Sock() if is_early else Sock(app)

    @sock.route("/a", max_size=10, decorators=iter([keep_view]))
    @sock.route("/b", max_size=10, decorators=[keep_view])
    def greet(ws):
        ws.send(request.path)

    if is_early:
        sock.init_app(app)
    assert say(sock, "/a") == "/a"
    assert say(sock, "/b") == "/b"


def test_a_websocket_to_plain_http_goes_to_error_handlers(app, sock):
    app.get("/page")(lambda: "page")
    app.register_error_handler(400, lambda exc: ("no such thing", 400))
    assert refused(sock, "/page").body == b"no such thing"


def test_a_websocket_to_plain_http_is_answered_with_400(app, sock):
    app.add_url_rule("/page", view_func=lambda: "a page", endpoint="page")
    assert refused(sock, "/page").status_code == 400


def test_coroutine_functions_are_refused(sock):
    with pytest.raises(TypeError, match="drop async"):

        @sock.route("/")
        async def handler(ws):
            pass


def test_generator_functions_are_refused(sock):
    with pytest.raises(TypeError, match="drop yield"):

        @sock.route("/")
        def handler(ws):
            yield


def test_a_test_client_needs_an_application():
    with pytest.raises(RuntimeError, match="init_app"):
        Sock().test_client()


# --- before a handler ---


def test_decorators_answer_before_the_connection_is_accepted(sock):
    def outer(view):
        def wrapped(**values):
            if request.args.get("who") is None:
                abort(401)
            return view(**values)

        return wrapped

    def inner(view):
        def wrapped(**values):
            if request.args["who"] != "ann":
                return flask.redirect("/login")
            return view(**values)

        return wrapped

    sock.route("/", decorators=[inner, outer])(lambda ws: ws.send("welcome"))
    assert refused(sock).status_code == 401
    response = refused(sock, "/?who=bob")
    assert (response.status_code, response.headers["Location"]) == (302, "/login")
    assert say(sock, "/?who=ann") == "welcome"


def test_before_request_may_answer(app, sock):
    sock.route("/")(echo)
    app.before_request(lambda: ("closed for today", 503))
    response = refused(sock)
    assert (response.status_code, response.body) == (503, b"closed for today")


def test_refusals_are_sent_as_they_are(app, sock):
    sock.route("/")(echo)

    @app.after_request
    def mark(response):
        response.headers["X-Mark"] = "after"
        return response

    response = refused(sock, origin="http://evil.example")
    assert response.status_code == 403
    assert response.body.startswith(b"Failed to open a WebSocket connection: invalid Origin")
    assert response.headers["X-Mark"] == "after"


def test_refusals_go_to_error_handlers(app, sock):
    sock.route("/")(echo)

    @app.errorhandler(403)
    def forbidden(exc):
        return f"<h1>{exc.description}</h1>", 403

    response = refused(sock, origin="http://evil.example")
    assert response.body.startswith(b"<h1>Failed to open")


def test_refusals_that_werkzeug_has_no_name_for(sock):
    sock.route("/", hosts=["example.com"])(echo)
    assert refused(sock).status_code == 421


# --- in a handler ---


def test_contexts_hold_and_end_with_the_handler(app, sock):
    ended = threading.Event()
    released = threading.Event()

    @app.before_request
    def before():
        g.user = "ann"

    @app.teardown_request
    def teardown(exc):
        ended.set()

    @sock.route("/who")
    def who(ws):
        ws.send(f"{current_app.name} {request.path} {g.user}")
        released.wait(SOON)

    with sock.test_client().connect("/who") as ws:
        assert ws.recv(SOON) == f"{app.name} /who ann"
        assert not ended.is_set()
        released.set()
    assert ended.is_set()


def test_threads_may_have_the_request_context(sock):
    @sock.route("/thread")
    def handler(ws):
        @flask.copy_current_request_context
        def work():
            ws.send(f"{request.path} {current_app.name}")

        thread = threading.Thread(target=work)
        thread.start()
        thread.join(SOON)

    assert say(sock, "/thread").startswith("/thread ")


def test_a_connection_has_the_ways_of_flask_sock(app, sock):
    app.testing = True

    @sock.route("/")
    def handler(ws):
        assert ws.receive(timeout=0) is None
        assert ws.receive(timeout=0.01) is None
        assert ws.connected
        for message in (1, 1.5, None, ["a", 1], {"b": 2}, b"bytes", bytearray(b"more"), "text"):
            ws.send(message)
        ws.send(iter(["two", " fragments"]))
        assert ws.receive(timeout=SOON) == "done"
        ws.close(1001, "bye")
        assert not ws.connected
        with pytest.raises(ConnectionClosed) as info:
            ws.receive()
        assert (info.value.sent.code, info.value.sent.reason) == (1001, "bye")

    with sock.test_client().connect() as ws:
        received = [ws.recv(SOON) for _ in range(9)]
        ws.send("done")
        assert list(ws) == []
    assert received[:5] == ["1", "1.5", "None", "['a', 1]", "{'b': 2}"]
    assert received[5:] == [b"bytes", b"more", "text", "two fragments"]
    assert (ws.close_code, ws.close_reason) == (1001, "bye")


@pytest.mark.parametrize(
    ("args", "kwargs", "closed"),
    [
        ((), {}, (1000, "")),
        ((3000,), {}, (3000, "")),
        ((3000, "bye"), {}, (3000, "bye")),
        ((), {"code": 3000, "reason": "bye"}, (3000, "bye")),
        ((), {"reason": 3000, "message": "bye"}, (3000, "bye")),
        ((3000,), {"message": "bye"}, (3000, "bye")),
        ((), {"reason": 3000}, (3000, "")),
        ((), {"message": "bye"}, (1000, "bye")),
        ((), {"reason": None, "message": None}, (1000, "")),
        ((None,), {}, (1005, "")),
    ],
)
def test_close_takes_the_arguments_of_both(sock, args, kwargs, closed):
    sock.route("/")(lambda ws: ws.close(*args, **kwargs))
    with sock.test_client().connect() as ws, pytest.raises(ConnectionClosed) as info:
        ws.recv(SOON)
    assert (info.value.code, info.value.reason) == closed
