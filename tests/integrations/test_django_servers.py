"""Django applications under real servers, and what is logged: the project of the examples."""

import pytest
from support.flask_servers import TROUBLE, assert_serves_many, open_page, open_socket, running
from support.snippets import ROOT

from syncws import InvalidStatus

pytest.importorskip("django")

PROJECT = (ROOT / "examples/django/project.py").read_text(encoding="utf-8")


@pytest.fixture(params=["runserver", "gunicorn"], scope="module")
def server(request):
    if request.param == "gunicorn":
        pytest.importorskip("gunicorn")
    with running(PROJECT, request.param) as server:
        yield server


def test_twenty_connections_come_and_go(server):
    assert "<script>" in open_page(server, "/")
    assert_serves_many(server, "/echo/ann", "hello, ann; visits: 0")


def test_refusals_are_answers_of_the_application(server):
    with pytest.raises(InvalidStatus) as info:
        open_socket(server, "/echo/ann", origin="http://evil.example")
    assert info.value.response.status_code == 403
    assert TROUBLE.findall(server.output) == []
