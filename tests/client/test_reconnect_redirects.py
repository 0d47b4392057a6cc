"""Redirects that reconnect() follows: for one attempt, or for all that come."""

import itertools

import pytest
from support.reconnecting import WELCOME, Site, answer, drain, moved
from support.scripted import scripted_server

from syncws import reconnect


def turns(count, uri, **kwargs):
    """Go on for so many connections; return the last."""
    for turn, ws in enumerate(reconnect(uri, **kwargs)):
        drain(ws)
        if turn == count - 1:
            return ws
    raise AssertionError("the loop ended")


@pytest.mark.usefixtures("delays")
@pytest.mark.parametrize("code", [302, 303, 307])
def test_a_temporary_redirect_is_for_one_attempt(code):
    site = Site(WELCOME, first=[moved("/second", code)])
    with scripted_server(site) as server:
        assert turns(3, server.uri + "first").path == "/second"
    assert site.asked == ["/first", "/second"] * 3


@pytest.mark.usefixtures("delays")
@pytest.mark.parametrize("code", [301, 308])
def test_a_permanent_redirect_is_for_all_attempts(code):
    site = Site(WELCOME, first=[moved("/second", code)])
    with scripted_server(site) as server:
        turns(3, server.uri + "first")
    assert site.asked == ["/first", "/second", "/second", "/second"]


@pytest.mark.usefixtures("delays")
@pytest.mark.parametrize(
    ("first", "second", "begin"),
    [(301, 308, "/third"), (301, 302, "/second"), (302, 301, "/first"), (307, 303, "/first")],
)
def test_an_attempt_begins_where_permanent_redirects_have_led(first, second, begin):
    site = Site(WELCOME, first=[moved("/second", first)], second=[moved("/third", second)])
    way = ["/first", "/second", "/third"]
    with scripted_server(site) as server:
        turns(3, server.uri + "first")
    assert site.asked == way + 2 * way[way.index(begin) :]


@pytest.mark.usefixtures("delays")
def test_a_permanent_redirect_counts_though_what_it_leads_to_fails():
    site = Site(WELCOME, first=[moved("/second", 301)], second=[answer(503), WELCOME])
    with scripted_server(site) as server:
        turns(1, server.uri + "first")
    assert site.asked == ["/first", "/second", "/second"]


@pytest.mark.usefixtures("delays")
def test_permanent_redirects_may_come_one_after_the_other():
    site = Site(WELCOME, first=[moved("/second", 301)], second=[WELCOME, moved("/third", 308)])
    with scripted_server(site) as server:
        turns(4, server.uri + "first")
    assert site.asked == ["/first", "/second", "/second", "/third", "/third", "/third"]


@pytest.mark.usefixtures("delays")
def test_loops_do_not_share_what_a_redirect_has_moved():
    site = Site(WELCOME, first=[moved("/second", 301)])
    with scripted_server(site) as server:
        for _ in range(2):
            turns(2, server.uri + "first")
    assert site.asked == ["/first", "/second", "/second"] * 2


@pytest.mark.usefixtures("delays")
@pytest.mark.parametrize("code", [301, 302])
def test_another_server_gets_no_credentials_in_any_attempt(code):
    there = Site(WELCOME)
    with scripted_server(there) as other:
        here = Site(moved(other.uri, code))
        with scripted_server(here) as server:
            uri = server.uri.replace("//", "//aladdin:sesame@")
            headers = {"Cookie": "a=b", "X-Api-Key": "c", "X-Other": "d"}
            turns(3, uri, additional_headers=headers, redirect_headers=["X-Other"])
    assert len(there.asked) == 3
    for headers in there.headers:
        assert "authorization" not in headers
        assert "cookie" not in headers
        assert "x-api-key" not in headers
        assert headers["x-other"] == "d"
    assert len(here.asked) == (1 if code == 301 else 3)
    assert all("authorization" in headers for headers in here.headers)


@pytest.mark.usefixtures("delays")
def test_headers_are_asked_for_anew_for_each_request():
    site = Site(WELCOME, first=[answer(503), moved("/second", 302)])
    tokens = itertools.count(1)
    with scripted_server(site) as server:
        turns(2, server.uri + "first", additional_headers=lambda: {"X-Token": str(next(tokens))})
    asked = [headers["x-token"] for headers in site.headers]
    assert asked == ["1", "2", "3", "4", "5"]
    assert site.asked == ["/first", "/first", "/second", "/first", "/second"]
