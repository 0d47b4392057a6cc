"""The fallback in Flask and Django: what judges a WebSocket there judges a session."""

import contextlib

import pytest
from support.fallback_user import Refused, ask, open_by_hand, session
from support.pairs import SOON, wait_until

from syncws import Fallback
from syncws.integrations.wsgi import FallbackMiddleware
from syncws.integrations.wsgi_roster import roster

pytest.importorskip("waitress")

from support.fallback_serving import serving


@contextlib.contextmanager
def no_connections_left():
    yield
    wait_until(lambda: len(roster) == 0)


def cookies_of(headers):
    return "; ".join(each.partition(";")[0] for each in headers.get_all("Set-Cookie", ()))


# --- Flask ------------------------------------------------------------------------


def make_flask(**options):
    flask = pytest.importorskip("flask")
    flask_login = pytest.importorskip("flask_login")
    from syncws.integrations.flask import Sock

    app = flask.Flask("shop")
    app.secret_key = "secret"
    manager = flask_login.LoginManager(app)
    asked = app.config["ASKED"] = []
    sock = Sock(app, **{"fallback": True, **options})

    @manager.user_loader
    def load(name):
        user = flask_login.UserMixin()
        user.id = name
        return user

    @app.before_request
    def note():
        asked.append((flask.request.method, flask.request.path))

    @app.route("/login/<name>", methods=["GET", "POST"])
    def login(name):
        flask_login.login_user(load(name))
        return "welcome"

    @sock.route("/me", decorators=[flask_login.login_required])
    def me(ws):
        flask.session["seen"] = True
        for message in ws:
            ws.send(f"{flask_login.current_user.id} {flask.request.remote_addr}: {message}")

    @sock.route("/few/<int:number>", max_size=5)
    def few(ws, number):
        ws.send(str(number))
        ws.recv()

    @sock.route("/refusing")
    def refusing(ws):
        flask.abort(403, "not you")

    return app


def test_a_session_needs_a_login_where_a_websocket_does():
    app = make_flask()
    with serving(app.wsgi_app) as port, no_connections_left():
        with pytest.raises(Refused) as raised:
            open_by_hand(port, "/me")
        assert (raised.value.status, raised.value.error["code"]) == (401, "refused")
        _, headers, _ = ask(port, "GET", "/login/ann")
        cookie = {"Cookie": cookies_of(headers)}
        for stream in (False, True):
            with session(port, "/me", headers=cookie, stream=stream) as client:
                for number in range(100):
                    client.ws.send(str(number))
                for number in range(100):
                    assert client.ws.recv(SOON) == f"ann 127.0.0.1: {number}"
                client.ws.close()


def test_flask_is_asked_for_the_opening_only():
    app = make_flask()
    with serving(app.wsgi_app) as port, no_connections_left(), session(port, "/few/7") as client:
        assert client.ws.recv(SOON) == "7"
        client.ws.send("too long for it")
        client.ws.wait_closed(SOON)
        assert client.ws.close_code == 1009
    assert app.config["ASKED"] == [("GET", "/few/7")]


def test_the_session_s_cookie_comes_with_the_answer():
    flask = pytest.importorskip("flask")
    app = make_flask()

    @app.before_request
    def change():
        flask.session["number"] = 1

    with serving(app.wsgi_app) as port, no_connections_left():
        headers, told = open_by_hand(port, "/few/7")
        assert cookies_of(headers).startswith("session=")
        assert ask(port, "DELETE", "/few/7", {"Syncws-Session": told["session"]})[0] == 204


def test_an_http_error_of_a_handler_closes_with_1008():
    app = make_flask()
    with serving(app.wsgi_app) as port, no_connections_left(), session(port, "/refusing") as client:
        client.ws.wait_closed(SOON)
        assert (client.ws.close_code, client.ws.close_reason) == (1008, "not you")


def test_a_page_s_path_is_no_websocket_s():
    app = make_flask()
    with serving(app.wsgi_app) as port:
        with pytest.raises(Refused) as raised:
            open_by_hand(port, "/nowhere")
        assert (raised.value.status, raised.value.error["code"]) == (404, "refused")
        with pytest.raises(Refused) as raised:
            open_by_hand(port, "/me", Origin="https://evil.example")
        assert raised.value.status == 401


def test_flask_s_application_is_wrapped_once():
    flask = pytest.importorskip("flask")
    from syncws.integrations.flask import Sock

    app = flask.Flask("shop")
    sock = Sock(fallback=Fallback(session_timeout=5))
    sock.init_app(app)
    first = app.wsgi_app
    assert isinstance(first, FallbackMiddleware)
    assert first._fallback == Fallback(session_timeout=5)
    Sock(app, fallback=True)
    assert app.wsgi_app is first


@pytest.mark.parametrize(
    ("argument", "key", "is_wrapped"),
    [
        (None, None, False),
        (None, True, True),
        (None, Fallback(), True),
        (None, False, False),
        (False, True, False),
        (True, False, True),
    ],
)
def test_the_configuration_says_so_too(argument, key, is_wrapped):
    flask = pytest.importorskip("flask")
    from syncws.integrations.flask import Sock

    app = flask.Flask("shop")
    if key is not None:
        app.config["SYNCWS_FALLBACK"] = key
    Sock(app, fallback=argument)
    assert isinstance(app.wsgi_app, FallbackMiddleware) is is_wrapped


def test_what_is_neither_is_an_error():
    flask = pytest.importorskip("flask")
    from syncws.integrations.flask import Sock

    with pytest.raises(TypeError, match="fallback is True, False or"):
        Sock(fallback="yes")
    app = flask.Flask("shop")
    app.config["SYNCWS_FALLBACK"] = "yes"
    with pytest.raises(TypeError, match="fallback is True, False or"):
        Sock(app)


# --- Django -----------------------------------------------------------------------


@pytest.fixture
def django_application():
    from django.core.management import call_command
    from django.core.wsgi import get_wsgi_application
    from django.test.utils import override_settings
    from support import django_settings

    assert django_settings.DATABASE
    call_command("migrate", verbosity=0)
    with override_settings(ROOT_URLCONF=make_urls()):
        yield FallbackMiddleware(get_wsgi_application())


def make_urls():
    import types

    from django.contrib.auth.decorators import login_required
    from django.contrib.auth.models import User
    from django.http import HttpResponse
    from django.urls import path

    from syncws.integrations.django import websocket

    def login(request, name):
        from django.contrib.auth import login

        user, _ = User.objects.get_or_create(username=name)
        login(request, user, "django.contrib.auth.backends.ModelBackend")
        return HttpResponse("welcome")

    @login_required(login_url="/login/nobody")
    @websocket(subprotocols=["chat"])
    def me(request, ws):
        for message in ws:
            ws.send(f"{request.user.username} {request.META['REMOTE_ADDR']}: {message}")

    urls = types.ModuleType("urls_of_fallback")
    urls.urlpatterns = [path("login/<name>", login), path("me", me)]
    return urls


def test_django_judges_a_session_as_a_websocket(django_application):
    with serving(django_application) as port, no_connections_left():
        with pytest.raises(Refused) as raised:
            open_by_hand(port, "/me", Syncws_Protocol="chat")
        assert (raised.value.status, raised.value.error["code"]) == (302, "refused")
        assert raised.value.headers["Location"].startswith("/login/nobody")
        _, headers, _ = ask(port, "GET", "/login/ann")
        headers = {"Cookie": cookies_of(headers), "Origin": f"http://127.0.0.1:{port}"}
        for stream in (False, True):
            with session(
                port, "/me", headers=headers, stream=stream, Syncws_Protocol="chat"
            ) as client:
                assert client.told["protocol"] == "chat"
                for number in range(100):
                    client.ws.send(str(number))
                for number in range(100):
                    assert client.ws.recv(SOON) == f"ann 127.0.0.1: {number}"
                client.ws.close(4000)
        with pytest.raises(Refused) as raised:
            open_by_hand(port, "/me", **{**headers, "Origin": "https://evil.example"})
        assert (raised.value.status, raised.value.error["code"]) == (403, "refused")
