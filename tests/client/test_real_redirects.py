"""Redirects by nginx: which are followed, and what the next server is told."""

import ssl

import pytest
from support import peers
from support.certificates import client_context
from support.nginx_site import CODES, assert_works, refused, seen
from support.scripted import nothing_left

from syncws import InvalidHeader, InvalidStatus, SecurityError, connect

pytestmark = pytest.mark.peers

# --- redirects ---


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("how", ["absolute", "schemeless", "websocket", "path"])
def test_redirects_are_followed(site, how, code):
    assert seen(f"{site.plain}/{how}/{code}") == {"host": site.plain[5:], "path": "/seen"}


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize(("how", "path"), [("name", "{}/seen"), ("up", "/seen")])
def test_redirects_may_be_relative_to_the_path(site, how, path, code):
    assert seen(f"{site.plain}/{how}/{code}")["path"] == path.format(f"/{how}")


@pytest.mark.parametrize("code", CODES)
def test_redirects_may_change_the_query_only(site, code):
    headers = {"X-Token": f"query-{code}"}
    with nothing_left(), pytest.raises(SecurityError, match="more than 3 redirects"):
        connect(f"{site.plain}/query/{code}", max_redirects=3, additional_headers=headers)
    site.assert_answered(4, f"query-{code}")


@pytest.mark.parametrize("code", CODES)
def test_a_redirect_leads_to_a_connection_that_works(site, code):
    ws = connect(f"{site.plain}/works/{code}")
    assert ws.path == "/echo"
    assert_works(ws)


@pytest.mark.parametrize("code", CODES)
def test_tls_is_redirected_to_tls(site, code):
    uri = f"{site.secure}/works/{code}"
    assert_works(connect(uri, ssl=client_context()))
    assert seen(f"{site.secure}/absolute/{code}", ssl=client_context())["path"] == "/seen"


@pytest.mark.parametrize("code", CODES)
def test_ws_is_redirected_to_wss(site, trusted, code):
    ws = connect(f"{site.plain}/to-tls/{code}")
    assert ws.secure
    assert_works(ws)


def test_the_certificate_is_checked_after_a_redirect_to_wss(site):
    untrusted = pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer")
    with nothing_left(), untrusted:
        connect(f"{site.plain}/to-tls/302")


@pytest.mark.parametrize("code", CODES)
def test_wss_is_never_redirected_to_ws(site, code):
    arguments = {"ssl": client_context(), "additional_headers": {"X-Token": f"from-tls-{code}"}}
    with nothing_left(), pytest.raises(SecurityError, match="wss"):
        connect(f"{site.secure}/from-tls/{code}", **arguments)
    site.assert_answered(1, f"from-tls-{code}")


def test_a_loop_of_redirects_ends(site):
    with nothing_left(), pytest.raises(SecurityError, match="more than 10 redirects"):
        connect(f"{site.plain}/loop", additional_headers={"X-Token": "loop"})
    site.assert_answered(11, "loop")


def test_as_many_redirects_are_followed_as_may_be(site):
    assert seen(f"{site.plain}/chain/{'x' * 10}")["path"] == "/chain/"
    assert seen(f"{site.plain}/chain/{'x' * 3}", max_redirects=3)["path"] == "/chain/"
    for uri, kwargs in [("x" * 11, {}), ("x" * 4, {"max_redirects": 3})]:
        with nothing_left(), pytest.raises(SecurityError) as info:
            connect(f"{site.plain}/chain/{uri}", **kwargs)
        assert isinstance(info.value.__cause__, InvalidStatus)
        assert info.value.__cause__.response.headers["Location"].endswith("/chain/")


def test_redirects_need_not_be_followed(site):
    response = refused(f"{site.plain}/works/302", 302, max_redirects=0)
    assert response.headers["Location"] == f"http{site.plain[2:]}/echo"


def test_other_codes_redirect_nobody(site):
    assert refused(f"{site.plain}/choices", 300).headers["Location"].endswith("/seen")


def test_a_redirect_to_what_is_no_web_server_is_an_error(site):
    with nothing_left(), pytest.raises(InvalidHeader, match="ftp://"):
        connect(f"{site.plain}/elsewhere/302")


def test_redirects_go_by_the_proxy_too(site, http_proxy):
    uri = f"{site.plain}/port/302"
    before = http_proxy.output.count("CONNECT 127.0.0.1")
    assert seen(uri, proxy=http_proxy.uri("http"))["path"] == "/seen"
    assert http_proxy.output.count("CONNECT 127.0.0.1") == before + 2


# --- what the next server is told ---


OTHERS = ["port", "host", "scheme", "further", "there-and-back"]


@pytest.mark.parametrize("code", CODES)
def test_credentials_stay_with_the_server_that_redirects_to_itself(site, code):
    uri = f"{site.plain}/absolute/{code}"
    basic = seen(uri.replace("://", f"://{peers.HARD}@"))["authorization"]
    assert basic == "Basic YWxhZGRpbjpvcGVuIHNlc2FtZTogQC8/JQ=="
    headers = {"Authorization": "Bearer token", "Cookie": "a=1", "X-Token": "t"}
    found = seen(uri, additional_headers=headers)
    assert (found["authorization"], found["cookie"]) == ("Bearer token", "a=1")
    assert found["token"] == "t"


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("how", OTHERS)
def test_credentials_of_the_uri_are_not_for_another_server(site, trusted, how, code):
    uri = f"{site.plain}/{how}/{code}".replace("://", f"://{peers.HARD}@")
    assert "authorization" not in seen(uri)


@pytest.mark.parametrize("how", OTHERS)
@pytest.mark.parametrize("as_function", [False, True])
def test_authorization_and_cookie_are_not_for_another_server(site, trusted, how, as_function):
    headers = {"Authorization": "Bearer token", "Cookie": "a=1", "X-Token": "t"}
    found = seen(
        f"{site.plain}/{how}/302", additional_headers=(lambda: headers) if as_function else headers
    )
    assert "authorization" not in found
    assert "cookie" not in found
    assert "token" not in found  # what it is, only the program knows
    assert headers == {"Authorization": "Bearer token", "Cookie": "a=1", "X-Token": "t"}


@pytest.mark.parametrize("how", OTHERS)
def test_headers_that_are_for_all_servers_are_sent_to_another_one(site, trusted, how):
    headers = {"Cookie": "a=1", "X-Token": "t"}
    found = seen(
        f"{site.plain}/{how}/302", additional_headers=headers, redirect_headers=["X-Token"]
    )
    assert "cookie" not in found
    assert found["token"] == "t"


def test_a_host_header_of_the_program_is_not_for_another_server(site):
    found = seen(f"{site.plain}/port/302", additional_headers={"Host": "chat.example"})
    assert found["host"] == site.other[5:]


def test_a_redirect_may_bring_credentials_of_its_own(site):
    uri = f"{site.plain}/credentials/302".replace("://", f"://{peers.HARD}@")
    assert seen(uri)["authorization"] == "Basic anVkeTpwYXNz"
