"""What reconnect() logs, and what it never does."""

import base64
import logging

import pytest
from support.reconnecting import WELCOME, Site, answer, first_connection, moved
from support.scripted import parse_head, scripted_server
from support.serving import messages

from syncws import InvalidStatus, reconnect


def test_each_failure_is_logged_with_the_delay(caplog, delays):
    caplog.set_level(logging.INFO, "syncws.client")
    with scripted_server(Site(answer(503), answer(502), WELCOME)) as server:
        first_connection(reconnect(f"{server.uri}chat?room=1", backoff=[1.5, 20.0]))
        where = f"ws://localhost:{server.port}/chat?room=1"
    assert messages(caplog) == [
        f"can't connect to {where}, trying again in 1.5 s:"
        " server rejected the WebSocket connection: HTTP 503",
        f"can't connect to {where}, trying again in 20.0 s:"
        " server rejected the WebSocket connection: HTTP 502",
    ]
    assert {record.name for record in caplog.records} == {"syncws.client"}


def test_what_is_raised_is_not_logged(caplog, delays):
    caplog.set_level(logging.DEBUG)
    with scripted_server(Site(answer(404))) as server, pytest.raises(InvalidStatus):
        next(reconnect(server.uri))
    assert messages(caplog) == []


def test_the_programs_logger_is_used(caplog, delays):
    caplog.set_level(logging.INFO)
    with scripted_server(Site(answer(503), WELCOME)) as server:
        first_connection(reconnect(server.uri, logger=logging.getLogger("of.mine")))
    assert {record.name for record in caplog.records} == {"of.mine"}


def assert_not_logged(caplog, *secrets):
    for record in caplog.records:
        text = f"{record.getMessage()} {record.exc_info} {record.exc_text}"
        assert [secret for secret in secrets if secret in text] == []


def test_credentials_are_never_logged(caplog, delays):
    caplog.set_level(logging.DEBUG)
    with scripted_server(Site(answer(503), moved("/x", 301), answer(502))) as server:
        kwargs = {"additional_headers": {"Cookie": "jasmine", "X-Token": "carpet"}}
        uri = f"ws://aladdin:open%20sesame@localhost:{server.port}/"
        with pytest.raises(InvalidStatus):
            next(reconnect(uri, max_attempts=4, **kwargs))
        assert f"ws://localhost:{server.port}/" in messages(caplog)[0]
    assert len(messages(caplog)) == 3
    basic = base64.b64encode(b"aladdin:open sesame").decode()
    assert_not_logged(caplog, "sesame", "aladdin", "jasmine", "carpet", basic)


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_credentials_for_a_proxy_are_never_logged(scheme, caplog, delays, closed_port):
    if scheme == "socks5h":
        pytest.importorskip("python_socks")
    caplog.set_level(logging.DEBUG)
    proxy = f"{scheme}://aladdin:sesame@127.0.0.1:{closed_port}"
    with pytest.raises(ConnectionRefusedError):
        next(reconnect("ws://example.com/", max_attempts=2, proxy=proxy))
    assert len(messages(caplog)) == 1
    assert_not_logged(caplog, "sesame", "aladdin")


def test_credentials_in_a_redirect_are_never_logged(caplog, delays):
    def redirect(request):
        host = parse_head(request)[1]["host"]
        return moved(f"//aladdin:sesame@{host}/second", 301)

    caplog.set_level(logging.DEBUG)
    site = Site(answer(503), first=[redirect])
    with scripted_server(site) as server:
        with pytest.raises(InvalidStatus):
            next(reconnect(server.uri + "first", max_attempts=3))
        where = f"ws://localhost:{server.port}/second"
    assert site.asked == ["/first", "/second", "/second", "/second"]
    assert "authorization" in site.headers[-1]
    assert [where in message for message in messages(caplog)] == [True, True]
    assert_not_logged(caplog, "sesame", "aladdin")
