import subprocess
import sys

import pytest

from syncws import InvalidProxy, connect
from syncws.client.proxy import Proxy, find_proxy, is_excluded, parse_proxy

# --- URLs ---


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://proxy", Proxy("http", "proxy", 80)),
        ("https://proxy", Proxy("https", "proxy", 443)),
        ("socks4://proxy", Proxy("socks4", "proxy", 1080)),
        ("socks4a://proxy", Proxy("socks4a", "proxy", 1080)),
        ("socks5://proxy", Proxy("socks5", "proxy", 1080)),
        ("socks5h://proxy", Proxy("socks5h", "proxy", 1080)),
        ("socks://proxy", Proxy("socks5h", "proxy", 1080)),
        ("http://proxy:3128", Proxy("http", "proxy", 3128)),
        ("HTTP://Proxy:3128/", Proxy("http", "proxy", 3128)),
        ("proxy:3128", Proxy("http", "proxy", 3128)),
        ("proxy", Proxy("http", "proxy", 80)),
        ("http://[::1]:3128", Proxy("http", "::1", 3128)),
        ("http://b\u00fccher.example", Proxy("http", "xn--bcher-kva.example", 80)),
        ("http://user:p%40ss@proxy", Proxy("http", "proxy", 80, "user", "p@ss")),
        ("socks4://user@proxy", Proxy("socks4", "proxy", 1080, "user", "")),
        ("user:pass@proxy:3128", Proxy("http", "proxy", 3128, "user", "pass")),
    ],
)
def test_proxies_have_urls(url, proxy):
    assert parse_proxy(url) == proxy


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://proxy", "its scheme is none of http, https, socks4"),
        ("http://", "the host is missing"),
        ("", "the host is missing"),
        ("http://proxy:0", "port '0' isn't a number from 1 to 65535"),
        ("http://proxy:port", "the port isn't"),
        ("http://proxy/path", "it has a path"),
        ("http://proxy?query", "it has a path, a query"),
        ("http://proxy#fragment", "a fragment"),
        ("http://pro xy", "it has ' ' at 10"),
        ("http://proxy\r\nX: y", r"it has '\\r' at 12"),
        ("http://::1:80", "an IPv6 address goes in brackets"),
        ("http://a@b:c@proxy", "write %40"),
        ("socks5://user@proxy", "1 to 255 ASCII characters"),
        ("socks5h://:pass@proxy", "1 to 255 ASCII characters"),
        ("socks5://us%C3%A9r:pass@proxy", "1 to 255 ASCII characters"),
        (f"socks5://user:{256 * 'p'}@proxy", "1 to 255 ASCII characters"),
    ],
)
def test_what_is_not_the_url_of_a_proxy_is_refused(url, reason):
    with pytest.raises(InvalidProxy, match=reason) as info:
        parse_proxy(url)
    assert info.value.proxy == url


@pytest.mark.parametrize(
    "entry", ["host:\xb2", "host:\u0663", f"host:{'9' * 5000}", "[:1", "\udc80"]
)
def test_whatever_no_proxy_has_is_no_error(entry):
    assert not is_excluded("other.example", 80, entry)


def test_passwords_are_shown_nowhere():
    assert "secret" not in repr(parse_proxy("http://user:secret@proxy"))
    with pytest.raises(InvalidProxy) as info:
        parse_proxy("http://user:secret@proxy:0")
    assert "secret" not in str(info.value)
    assert "proxy:0" in str(info.value)


def test_a_wrong_proxy_is_refused_before_anything_is_sent():
    with pytest.raises(InvalidProxy):
        connect("ws://127.0.0.1:9/", proxy="ftp://proxy")
    with pytest.raises(TypeError, match=r"proxy= is True, None or a URL, not int"):
        connect("ws://127.0.0.1:9/", proxy=3128)


@pytest.mark.parametrize("keyword", ["proxy_ssl", "proxy_server_hostname"])
def test_arguments_for_https_proxies_need_one(keyword):
    import ssl

    value = "proxy" if keyword != "proxy_ssl" else ssl.create_default_context()
    with pytest.raises(ValueError, match="are for https:// proxies"):
        connect("ws://127.0.0.1:9/", proxy="http://proxy", **{keyword: value})


def test_proxy_ssl_is_a_context():
    with pytest.raises(TypeError, match=r"proxy_ssl= is an ssl.SSLContext, not True"):
        connect("ws://127.0.0.1:9/", proxy="https://proxy", proxy_ssl=True)


# --- which one ---


def found(proxy=True, host="server.example", port=80, secure=False):
    """Host of the proxy that is used, or None."""
    result = find_proxy(proxy, host, port, secure=secure)
    return None if result is None else result.host


@pytest.mark.parametrize("none", [None, False])
def test_no_proxy_is_used_if_none_is_wanted(monkeypatch, none):
    monkeypatch.setenv("https_proxy", "http://proxy")
    assert found(none) is None


def test_a_proxy_that_is_given_is_used_whatever_is_configured(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://other")
    monkeypatch.setenv("no_proxy", "*")
    assert found("http://proxy") == "proxy"


def test_nothing_configured_is_no_proxy():
    assert found() is None
    assert found(secure=True) is None


@pytest.mark.parametrize(
    ("secure", "names"),
    [
        (True, ["wss", "socks", "https", "all"]),
        (False, ["ws", "socks", "https", "http", "all"]),
    ],
)
def test_the_environment_has_proxies_of_which_the_most_special_is_used(monkeypatch, secure, names):
    for name in reversed(names):
        monkeypatch.setenv(f"{name}_proxy", f"http://{name}.example")
        assert found(secure=secure) == f"{name}.example"


def test_names_of_the_environment_may_be_in_capitals(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    assert found() == "proxy"


def test_proxies_of_the_other_scheme_are_not_used(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://proxy")
    assert found(secure=True) is None
    monkeypatch.delenv("http_proxy")
    monkeypatch.setenv("wss_proxy", "http://proxy")
    assert found(secure=False) is None


def test_an_empty_variable_is_no_proxy(monkeypatch):
    monkeypatch.setenv("https_proxy", "")
    assert found(secure=True) is None


def test_a_socks_proxy_that_is_called_one_of_http_is_one_of_socks(monkeypatch):
    monkeypatch.setenv("socks_proxy", "http://proxy:1080")
    assert find_proxy(True, "server.example", 80, secure=True).scheme == "socks5h"


def test_in_a_cgi_program_a_request_can_not_set_the_proxy(monkeypatch):
    monkeypatch.setenv("REQUEST_METHOD", "GET")
    monkeypatch.setenv("HTTP_PROXY", "http://attacker")
    assert found() is None


def test_the_proxy_of_the_environment_is_refused_if_it_is_not_one(monkeypatch):
    monkeypatch.setenv("https_proxy", "ftp://proxy")
    with pytest.raises(InvalidProxy):
        found()


# --- no_proxy ---


@pytest.mark.parametrize(
    ("no_proxy", "host", "excluded"),
    [
        ("*", "server.example", True),
        ("", "server.example", False),
        ("server.example", "server.example", True),
        ("SERVER.example", "server.EXAMPLE", True),
        ("server.example.", "server.example", True),
        ("server.example", "server.example.", True),
        ("example", "server.example", True),
        (".example", "server.example", True),
        ("*.example", "server.example", True),
        (".server.example", "server.example", True),
        ("ver.example", "server.example", False),
        ("server.example", "example", False),
        (".", "server.example", False),
        ("a.example, b.example", "b.example", True),
        ("a.example b.example", "b.example", True),
        (",a.example,", "b.example", False),
        ("server.example:80", "server.example", True),
        ("server.example:81", "server.example", False),
        ("example:80", "server.example", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.4", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.1.2.3/8", "10.9.9.9", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "ten.example", False),
        ("10.0.0.0/33", "10.0.0.1", False),
        ("10.1.2.3:80", "10.1.2.3", True),
        ("10.1.2.3:81", "10.1.2.3", False),
        ("::1", "::1", True),
        ("[::1]", "::1", True),
        ("[::1]:80", "::1", True),
        ("[::1]:81", "::1", False),
        ("fd00::/8", "fd12::1", True),
        ("fd00::/8", "fe80::1", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("fd00::/8", "10.0.0.1", False),
        ("localhost,127.0.0.1", "localhost", True),
    ],
)
def test_hosts_suffixes_and_networks_are_reached_without(monkeypatch, no_proxy, host, excluded):
    assert is_excluded(host, 80, no_proxy) is excluded
    monkeypatch.setenv("http_proxy", "http://proxy")
    monkeypatch.setenv("no_proxy", no_proxy)
    assert found(host=host) == (None if excluded else "proxy")


# --- weight ---


def test_without_a_proxy_nothing_is_imported_for_one():
    program = (
        "import sys, syncws; from syncws.client.proxy import find_proxy\n"
        "before = set(sys.modules)\n"
        "find_proxy(True, 'server.example', 80, secure=True)\n"
        "assert set(sys.modules) == before\n"
        "assert 'urllib.request' not in before\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=50)
