"""Flask applications under real servers: sessions, and what is logged."""

from http.cookiejar import CookieJar

import pytest
from support.flask_programs import LOGIN, ported
from support.flask_servers import TROUBLE, assert_serves_many, open_page, open_socket, running
from support.pairs import SOON

from syncws import InvalidStatus

pytest.importorskip("flask")


@pytest.fixture(params=["python", "gunicorn"], scope="module")
def server(request):
    if request.param == "gunicorn":
        pytest.importorskip("gunicorn")
    with running(ported(LOGIN) + "\napplication = app\n", request.param) as server:
        yield server


def test_a_login_by_http_is_there_in_a_websocket(server):
    jar = CookieJar()
    assert open_page(server, "/login/ann", jar) == "welcome"
    with open_socket(server, "/echo", cookies=jar) as ws:
        ws.send("hello")
        assert ws.recv(SOON) == "ann: hello"
    with open_socket(server, "/echo") as ws:
        ws.send("hello")
        assert ws.recv(SOON) == "None: hello"


def test_twenty_connections_come_and_go(server):
    assert_serves_many(server, "/echo", "None: hello")


def test_refusals_are_answers_of_the_application(server):
    with pytest.raises(InvalidStatus) as info:
        open_socket(server, "/echo", origin="http://evil.example")
    response = info.value.response
    assert response.status_code == 403
    assert response.body.startswith(b"Failed to open a WebSocket connection: invalid Origin")
    with pytest.raises(InvalidStatus) as info:
        open_socket(server, "/nowhere")
    assert info.value.response.status_code == 404
    assert TROUBLE.findall(server.output) == []
