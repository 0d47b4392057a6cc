from http.cookiejar import CookieJar, DefaultCookiePolicy

import pytest
from support.pairs import SOON, wait_until
from support.serving import serving

from syncws import Headers, InvalidStatus, Response, connect


def setting(*cookies, status=None, location=None):
    """A ``process_request`` or ``process_response`` that sets cookies."""

    def add(headers):
        for cookie in cookies:
            headers["Set-Cookie"] = cookie
        return headers

    def process_request(ws, request):
        if request.path == "/end":
            return None
        headers = add(Headers({"Content-Length": "0"}))
        if location is not None:
            headers["Location"] = location
        return Response(status, "No", headers)

    def process_response(ws, request, response):
        add(response.headers)

    return process_request if status else process_response


def names(jar):
    return sorted(f"{cookie.name}={cookie.value}" for cookie in jar)


def sent(server, jar, path="", **kwargs):
    """The Cookie header of an opening handshake, or None."""
    with connect(server.uri + path, cookies=jar, **kwargs) as ws:
        ws.send("hello")
        assert ws.recv(SOON) == "hello"
        return ws.request.headers.get("Cookie")


def test_cookies_of_the_response_are_kept_and_sent_from_then_on():
    jar = CookieJar()
    with serving(process_response=setting("a=1; Path=/", "b=2; HttpOnly")) as server:
        assert sent(server, jar) is None
        assert names(jar) == ["a=1", "b=2"]
        assert sorted(sent(server, jar).split("; ")) == ["a=1", "b=2"]


def test_cookies_of_a_refusal_are_kept():
    jar = CookieJar()
    with (
        serving(process_request=setting("a=1", status=401)) as server,
        pytest.raises(InvalidStatus),
    ):
        connect(server.uri, cookies=jar)
    assert names(jar) == ["a=1"]


def test_cookies_of_a_redirect_are_sent_to_where_it_leads():
    jar = CookieJar()
    process_request = setting("session=x", status=302, location="/end")
    with serving(process_request=process_request) as server:
        assert sent(server, jar) == "session=x"


def test_cookies_for_other_hosts_paths_and_tls_stay_in_the_jar():
    jar = CookieJar()
    cookies = setting("here=1; Path=/", "deep=1; Path=/deep", "tls=1; Secure; Path=/")
    with serving(process_response=cookies, host="localhost") as server:
        sent(server, jar)
        assert sent(server, jar) == "here=1"
        assert sorted(sent(server, jar, "deep").split("; ")) == ["deep=1", "here=1"]
    with serving(host="127.0.0.1") as other:
        assert sent(other, jar) is None


def test_cookies_go_into_one_header_with_those_of_the_program():
    jar = CookieJar()
    with serving(process_response=setting("a=1")) as server:
        sent(server, jar)
        assert sent(server, jar, additional_headers={"Cookie": "mine=1"}) == "mine=1; a=1"
        assert sent(server, CookieJar(), additional_headers={"Cookie": "mine=1"}) == "mine=1"


def test_the_policy_of_the_jar_decides():
    jar = CookieJar(DefaultCookiePolicy(blocked_domains=["127.0.0.1"]))
    with serving(process_response=setting("a=1")) as server:
        sent(server, jar)
    assert names(jar) == []


def test_cookies_are_removed_when_the_server_says_so():
    jar = CookieJar()
    with serving(process_response=setting("a=1")) as server:
        sent(server, jar)
    with serving(process_response=setting("a=; Max-Age=0")) as server:
        sent(server, jar)
    assert names(jar) == []


def test_cookies_are_a_jar():
    with pytest.raises(TypeError, match=r"cookies= is an http.cookiejar.CookieJar, not \{'a': 1\}"):
        connect("ws://localhost/", cookies={"a": 1})


def test_a_jar_that_fails_leaves_nothing_open():
    class Broken(CookieJar):
        def extract_cookies(self, response, request):
            raise RuntimeError("the jar is broken")

    handlers = []

    def handler(ws):
        handlers.append(ws)
        ws.recv()

    cookies = setting("a=1")
    with serving(handler, process_response=cookies) as server:
        with pytest.raises(RuntimeError, match="the jar is broken"):
            connect(server.uri, cookies=Broken())
        wait_until(lambda: handlers and handlers[0].closed)
