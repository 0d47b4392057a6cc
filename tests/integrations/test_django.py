"""Views with WebSockets in Django applications."""

import contextlib
import logging
import os
import unittest

import pytest
from support.django_settings import DATABASE
from support.pairs import SOON

from syncws import ConnectionClosed, InvalidStatus

pytest.importorskip("django")

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.core.exceptions import BadRequest, ImproperlyConfigured, PermissionDenied
from django.core.management import call_command
from django.core.signals import got_request_exception
from django.db import connection, connections
from django.http import Http404, HttpResponse
from django.test import Client, RequestFactory, override_settings
from django.urls import path

from syncws.integrations.django import connect_client, websocket


@websocket
def echo(request, ws, name):
    for message in ws:
        ws.send(f"{name}: {message}")


@websocket(subprotocols=["chat"], max_size=10)
def chat(request, ws):
    ws.send(f"{ws.subprotocol} {ws.protocol.max_message_size}")


@websocket
def limits(request, ws):
    ws.send(str(ws.protocol.max_message_size))


@login_required
@websocket
def private(request, ws):
    ws.send(f"hello, {request.user.username}")


@websocket
def failing(request, ws):
    raise ValueError("broken")


@websocket
def refusing(request, ws, kind):
    raise {
        "forbidden": PermissionDenied("not you"),
        "unsaid": PermissionDenied(),
        "missing": Http404("nothing here"),
        "strange": Http404({"path": "x"}),
        "bad": BadRequest("é" * 100),
    }[kind]


@websocket
def session(request, ws):
    ws.send(str(request.session.get("count")))
    for message in ws:
        request.session["last"] = message


def count(view):
    def counting(request):
        request.session["count"] = request.session.get("count", 0) + 1
        return view(request)

    return counting


def use_database(view):
    def using(request, *args):
        connection.ensure_connection()
        return view(request, *args)

    return using


@use_database
@websocket
def database_connection(request, ws):
    ws.send(str(connection.connection))


@websocket
def writing(request, ws, kind):
    User.objects.create(username=kind)
    ws.send("written")
    if kind == "closed":
        ws.recv()
    elif kind != "none":
        raise {"ValueError": ValueError, "Http404": Http404}[kind]


@websocket
@login_required
def too_late(request, ws):
    ws.send("hello")


@websocket
def host(request, ws):
    ws.send(request.get_host())


def page(request):
    return HttpResponse(request.session.get("last", ""))


def set_last(request, name):
    request.session["last"] = name
    return HttpResponse()


def breaking(request):
    raise ValueError("no view")


urlpatterns = [
    path("echo/<name>", echo),
    path("chat", chat),
    path("limits", limits),
    path("private", private),
    path("failing", failing),
    path("refusing/<kind>", refusing),
    path("session", session),
    path("counting", count(session)),
    path("database", database_connection),
    path("writing/<kind>", writing),
    path("late", too_late),
    path("host", host),
    path("set/<name>", set_last),
    path("page", page),
    path("breaking", breaking),
]


@pytest.fixture(scope="module", autouse=True)
def database():
    call_command("migrate", verbosity=0)
    yield
    connection.close()
    os.unlink(DATABASE)


@pytest.fixture
def client():
    with override_settings(ROOT_URLCONF=__name__):
        yield Client()


@contextlib.contextmanager
def atomic_requests():
    """Let the application's thread have a transaction for each request."""
    with override_settings(ROOT_URLCONF=__name__):
        connections.settings["default"]["ATOMIC_REQUESTS"] = True
        try:
            yield
        finally:
            connections.settings["default"]["ATOMIC_REQUESTS"] = False


def say(client, uri, **options):
    with connect_client(client, uri, **options) as ws:
        return ws.recv(SOON)


def refused(client, uri, **options):
    with pytest.raises(InvalidStatus) as info:
        connect_client(client, uri, **options)
    return info.value.response


def closing(client, uri):
    with connect_client(client, uri) as ws:
        with pytest.raises(ConnectionClosed) as info:
            ws.recv(SOON)
        return info.value.code, info.value.reason


# --- views ---


def test_a_view_gets_request_connection_and_the_variables_of_the_path(client):
    with connect_client(client, "/echo/ann") as ws:
        ws.send("hello")
        assert ws.recv(SOON) == "ann: hello"
    assert ws.close_code == 1000


def test_options_of_a_view(client):
    assert say(client, "/chat", subprotocols=["chat"]) == "chat 10"
    assert echo.__name__ == "echo"


def test_settings_have_defaults_for_all_views(client):
    assert say(client, "/limits") == str(2**20)
    with override_settings(SYNCWS={"max_size": 5}):
        assert say(client, "/limits") == "5"
        assert say(client, "/chat", subprotocols=["chat"]) == "chat 10"
    assert say(client, "/limits") == str(2**20)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"max_sise": 5},
            r"settings\.SYNCWS: it has no option 'max_sise'; did you mean 'max_size'",
        ),
        ({"max_connections": 0}, r"settings\.SYNCWS: max_connections must be at least 1"),
        (5, r"settings\.SYNCWS: it is a dict, not 5"),
    ],
)
def test_wrong_settings_are_errors(client, value, message):
    with override_settings(SYNCWS=value), pytest.raises(ImproperlyConfigured, match=message):
        connect_client(client, "/limits")


def test_wrong_options_are_errors():
    with pytest.raises(TypeError, match=r"websocket\(\) has no option 'max_sise'"):
        websocket(max_sise=1)
    with pytest.raises(ValueError, match="max_connections"):
        websocket(max_connections=0)

    async def view(request, ws):
        pass

    with pytest.raises(TypeError, match="drop async"):
        websocket(view)


def test_plain_http_is_answered_with_426(client):
    response = client.get("/echo/ann")
    assert (response.status_code, response.content) == (426, b"This URL is for WebSockets.\n")


def test_other_pages_are_refused(client):
    response = refused(client, "/echo/ann", origin="http://evil.example")
    assert response.status_code == 403
    assert response.body.startswith(b"Failed to open a WebSocket connection: invalid Origin")
    assert say(client, "/limits", origin="http://testserver") == str(2**20)


def test_asgi_is_an_error_that_says_so():
    request = RequestFactory().get("/")
    del request.environ
    with pytest.raises(ImproperlyConfigured, match="need WSGI"):
        limits(request)


# --- the database ---


def test_database_connections_that_are_too_old_are_closed_before_a_view(client):
    assert say(client, "/database") == "None"


@pytest.mark.parametrize(
    ("kind", "kept"), [("ValueError", False), ("Http404", False), ("closed", True), ("none", True)]
)
def test_atomic_requests_roll_back_if_the_view_fails(kind, kept):
    client = Client(raise_request_exception=False)
    with atomic_requests(), connect_client(client, f"/writing/{kind}") as ws:
        assert ws.recv(SOON) == "written"
    assert User.objects.filter(username=kind).exists() == kept


# --- sessions and users ---


def test_login_required_answers_before_and_lets_users_in(client):
    response = refused(client, "/private")
    assert response.status_code == 302
    assert response.headers["Location"] == "/accounts/login/?next=/private"
    user = User.objects.create_user("ann", password="secret")
    client.force_login(user)
    assert say(client, "/private") == "hello, ann"


def test_the_session_is_saved_when_the_connection_is_accepted(client):
    with connect_client(client, "/counting") as ws:
        assert ws.recv(SOON) == "1"
        assert ws.response.headers["Vary"] == "Cookie"
        assert client.session["count"] == 1
    assert say(client, "/counting") == "2"


def test_the_session_of_a_refused_connection_is_saved(client):
    assert refused(client, "/counting", origin="http://evil.example").status_code == 403
    assert client.session["count"] == 1


def test_a_session_that_a_view_changes_is_saved_at_its_end(client):
    with connect_client(client, "/counting") as ws:
        ws.send("hello")
    assert client.get("/page").content == b"hello"


def test_a_session_that_others_change_meanwhile_stays(client):
    with override_settings(SESSION_SAVE_EVERY_REQUEST=True):
        client.get("/set/first")
        with connect_client(client, "/session") as ws:
            assert ws.recv(SOON) == "None"
            client.get("/set/second")
        assert client.get("/page").content == b"second"


def test_an_untouched_session_sets_no_cookie(client):
    with connect_client(client, "/session") as ws:
        assert "Set-Cookie" not in ws.response.headers


def test_without_sessions_there_is_none(client):
    with override_settings(MIDDLEWARE=[]):
        assert say(client, "/limits") == str(2**20)


# --- ends ---


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("forbidden", "not you"),
        ("unsaid", "Forbidden"),
        ("missing", "nothing here"),
        ("strange", "Not Found"),
        ("bad", "é" * 61),
    ],
)
def test_http_errors_close_with_1008(client, caplog, kind, reason):
    assert closing(client, f"/refusing/{kind}") == (1008, reason)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_an_answer_that_comes_too_late_closes_with_1008(client, caplog):
    assert closing(client, "/late") == (1008, "302 Found")


def test_exceptions_are_raised_to_the_test(client):
    with pytest.raises(ValueError, match="broken"):
        closing(client, "/failing")
    with pytest.raises(ValueError, match="no view"):
        connect_client(client, "/breaking")


def test_exceptions_close_with_1011_and_are_logged(caplog):
    sent = []

    def note(sender, request, **kwargs):
        sent.append(request.path)

    got_request_exception.connect(note)
    try:
        with override_settings(ROOT_URLCONF=__name__):
            assert closing(Client(raise_request_exception=False), "/failing") == (1011, "")
            (record,) = (r for r in caplog.records if r.levelno >= logging.WARNING)
            assert record.name == "django.request"
            assert record.getMessage() == "WebSocket view failed: /failing"
            assert str(record.exc_info[1]) == "broken"
            with override_settings(DEBUG=True):
                client = Client(raise_request_exception=False)
                assert closing(client, "/failing") == (1011, "ValueError: broken")
            assert refused(client, "/breaking").status_code == 500
    finally:
        got_request_exception.disconnect(note)
    assert sent == ["/failing", "/failing", "/breaking"]


# --- the test client ---


def test_the_host_is_that_of_djangos_client(client):
    with override_settings(ALLOWED_HOSTS=["testserver", "example.com"]):
        assert say(client, "/host") == "testserver"
        assert say(Client(SERVER_NAME="example.com"), "/host") == "example.com"
        assert say(Client(HTTP_HOST="example.com:81"), "/host") == "example.com:81"
        assert say(client, "ws://example.com/host") == "example.com"


class LogsTest(unittest.TestCase):
    def test_connecting_leaves_the_logging_as_it_is(self):
        changes = {"LOGGING_CONFIG": "logging.config.dictConfig", "ROOT_URLCONF": __name__}
        with override_settings(**changes), self.assertLogs("django.request") as logs:
            closing(Client(raise_request_exception=False), "/failing")
        assert len(logs.records) == 1
