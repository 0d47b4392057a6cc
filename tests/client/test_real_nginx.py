"""Against nginx, which refuses and sets cookies; and by way of it, as a reverse proxy."""

import threading
import urllib.request
from http.cookiejar import CookieJar

import pytest
from support import peers
from support.certificates import client_context
from support.nginx_site import REFUSALS, UPGRADE, assert_works, refused, seen
from support.pairs import SOON, run
from support.scripted import nothing_left

from syncws import ConnectionClosedError, connect

pytestmark = pytest.mark.peers

# --- refusals ---


@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("server", ["plain", "secure"])
def test_refusals_have_status_headers_and_body(site, server, code):
    kwargs = {"ssl": client_context()} if server == "secure" else {}
    response = refused(f"{getattr(site, server)}/{code}", code, **kwargs)
    assert response.headers["Retry-After"] == "7"
    assert response.headers["Server"].startswith("nginx/")
    assert response.body == f"no: {code}\n".encode()


def test_basic_credentials_let_in(site):
    uri = f"{site.plain}/people"
    response = refused(uri, 401)
    assert response.headers["WWW-Authenticate"] == 'Basic realm="people"'
    assert b"401 Authorization Required" in response.body
    refused(uri.replace("://", f"://{peers.USER}:wrong@"), 401)
    assert_works(connect(uri.replace("://", f"://{peers.HARD}@")))
    assert_works(connect(f"{uri}/again".replace("://", f"://{peers.HARD}@")))


@pytest.mark.parametrize(
    ("path", "status", "framing"),
    [
        ("/large", 200, "Content-Length"),
        ("/large/403", 403, "Content-Length"),
        ("/large/chunked", 200, "Transfer-Encoding"),
    ],
)
@pytest.mark.parametrize("server", ["plain", "secure"])
def test_of_a_large_body_the_first_mebibyte_is_kept(site, server, path, status, framing):
    kwargs = {"ssl": client_context()} if server == "secure" else {}
    response = refused(f"{getattr(site, server)}{path}", status, **kwargs)
    assert framing in response.headers
    assert response.body == b"large..\n" * (1 << 17)


def test_a_body_that_takes_too_long_is_cut(site):
    body = refused(f"{site.plain}/large/slow", 200, open_timeout=1).body
    assert 0 < len(body) < 1 << 20
    assert (b"large..\n" * (1 << 17)).startswith(body)


def test_a_server_that_nginx_can_not_reach_is_502(site):
    assert b"502 Bad Gateway" in refused(f"{site.plain}/dead", 502).body


# --- cookies ---


def test_cookies_of_a_redirect_are_sent_on_the_next_hop(site):
    jar = CookieJar()
    assert_works(connect(f"{site.plain}/login", cookies=jar))
    assert {cookie.name: cookie.value for cookie in jar} == {
        "session": "s3cret",
        "theme": "dark",
        "seen": "yes",  # of the response that opened the connection
    }


def test_cookies_are_for_those_who_want_them(site):
    refused(f"{site.plain}/login", 401)


def test_a_login_by_http_lets_in(site):
    jar = CookieJar()
    refused(f"{site.plain}/members", 401, cookies=jar)
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    http = f"http{site.plain[2:]}"
    passwords.add_password(None, http, peers.USER, peers.HARD_PASSWORD)
    opener = urllib.request.build_opener(
        urllib.request.HTTPCookieProcessor(jar), urllib.request.HTTPBasicAuthHandler(passwords)
    )
    with opener.open(f"{http}/login/people", timeout=SOON) as page:
        assert page.read() == b"welcome"
    headers = {"Cookie": "mine=1"}
    with connect(f"{site.plain}/members", cookies=jar, additional_headers=headers) as ws:
        cookies = ws.request.headers["Cookie"].split("; ")
        assert sorted(cookies) == ["mine=1", "seen=yes", "session=s3cret"]
        assert_works(ws)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_cookies_of_a_refusal_are_kept(site, host):
    jar = CookieJar()
    uri = f"{site.plain}/cookies".replace("127.0.0.1", host)
    assert "cookie" not in seen(uri, cookies=jar)
    assert seen(uri, cookies=jar)["cookie"] == "asked=1"


def test_cookies_may_be_for_tls_only(site):
    jar = CookieJar()
    refused(f"{site.secure}/cookies/secure", 403, cookies=jar, ssl=client_context())
    assert seen(f"{site.secure}/seen", cookies=jar, ssl=client_context())["cookie"] == "safe=1"
    assert "cookie" not in seen(f"{site.plain}/seen", cookies=jar)


def test_cookies_are_for_their_host_only(site):
    jar = CookieJar()
    seen(f"{site.plain}/cookies", cookies=jar)
    assert "cookie" not in seen(f"{site.plain}/host/302", cookies=jar)
    assert seen(f"{site.plain}/port/302", cookies=jar)["cookie"] == "asked=1"  # RFC 6265 §8.5


def test_cookies_of_the_jar_go_where_those_of_the_program_do_not(site):
    jar = CookieJar()
    seen(f"{site.plain}/cookies", cookies=jar)
    headers = {"Cookie": "mine=1"}
    assert seen(f"{site.plain}/port/302", cookies=jar, additional_headers=headers)["cookie"] == (
        "asked=1"
    )


# --- nginx as a reverse proxy ---


@pytest.fixture(params=["plain", "secure"])
def reverse_proxy(request, site, trusted):
    return getattr(site, request.param)


def test_megabytes_come_back_through_nginx(reverse_proxy):
    def send_all(ws):
        for number in range(8):
            ws.send(bytes([number]) * (1 << 20))

    with nothing_left():
        with connect(f"{reverse_proxy}/echo", compression=None) as ws:
            sending = run(send_all, ws)
            for number in range(8):
                assert ws.recv(SOON) == bytes([number]) * (1 << 20)
            sending.result()
        assert ws.close_code == 1000


def test_compression_and_fragments_go_through_nginx(reverse_proxy):
    with connect(f"{reverse_proxy}/echo") as ws:
        assert ws.extensions
        ws.send(["a" * 100_000, "b" * 100_000])
        assert ws.recv(SOON) == "a" * 100_000 + "b" * 100_000


def test_pings_keep_a_connection_open_that_nginx_would_cut(site):
    with connect(f"{site.plain}/impatient", ping_interval=0.2) as ws:
        with pytest.raises(TimeoutError):
            ws.recv(3)
        assert_works(ws)


def test_a_connection_that_nginx_cuts_is_closed(site):
    with connect(f"{site.plain}/impatient", ping_interval=None) as ws:
        with pytest.raises(ConnectionClosedError):
            ws.recv(SOON)
        assert ws.close_code == 1006


def test_nginx_that_ends_ends_the_connection(site):
    def build(port):
        return f"server {{ listen 127.0.0.1:{port}; location / {{ {UPGRADE} {target} }} }}"

    target = f"proxy_pass http://127.0.0.1:{site.echo_port};"
    with peers.nginx(build, 1, "127.0.0.1") as nginx, connect(nginx.uri("ws")) as ws:
        nginx.close()
        with pytest.raises(ConnectionClosedError):
            ws.recv(SOON)


def test_many_threads_connect_through_nginx_at_once(reverse_proxy):
    barrier = threading.Barrier(20)

    def connect_with_the_others():
        barrier.wait(SOON)
        assert_works(connect(f"{reverse_proxy}/echo"))

    clients = [run(connect_with_the_others) for _ in range(20)]
    for client in clients:
        client.result()
