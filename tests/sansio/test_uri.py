from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncws.exceptions import InvalidURI
from syncws.sansio.uri import WebSocketURI, parse_uri


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("ws://localhost", (False, "localhost", 80, "", "")),
        ("wss://localhost/", (True, "localhost", 443, "/", "")),
        ("WSS://Example.COM:80/A?B", (True, "example.com", 80, "/A", "B")),
        ("ws://localhost:8080?a=/?b", (False, "localhost", 8080, "", "a=/?b")),
        ("ws://localhost:/a", (False, "localhost", 80, "/a", "")),
        ("ws://localhost:00080", (False, "localhost", 80, "", "")),
        ("ws://localhost:65535", (False, "localhost", 65535, "", "")),
        ("ws://localhost/?", (False, "localhost", 80, "/", "")),
        ("ws://127.0.0.1:1/", (False, "127.0.0.1", 1, "/", "")),
        ("ws://my_service-1.internal./", (False, "my_service-1.internal.", 80, "/", "")),
        ("ws://[::1]/", (False, "::1", 80, "/", "")),
        ("wss://[2001:DB8::1]:8443", (True, "2001:db8::1", 8443, "", "")),
        ("ws://[fe80::1%25Eth0]:9", (False, "fe80::1%Eth0", 9, "", "")),
        ("ws://[fe80::1%eth0]", (False, "fe80::1%eth0", 80, "", "")),
        ("ws://localhost//a//b;c=d", (False, "localhost", 80, "//a//b;c=d", "")),
        ("ws://localhost/a@b:c", (False, "localhost", 80, "/a@b:c", "")),
        ("ws://localhost/?u=ws://a@b:c", (False, "localhost", 80, "/", "u=ws://a@b:c")),
    ],
)
def test_uri_is_taken_apart(uri, parts):
    parsed = parse_uri(uri)
    assert dataclasses.astuple(parsed) == (*parts, None, None)
    assert parsed.user_info is None


@pytest.mark.parametrize(
    ("uri", "resource_name"),
    [
        ("ws://localhost", "/"),
        ("ws://localhost/a/b", "/a/b"),
        ("ws://localhost?a", "/?a"),
        ("ws://localhost/a?b=c&d", "/a?b=c&d"),
    ],
)
def test_resource_name_is_path_and_query(uri, resource_name):
    assert parse_uri(uri).resource_name == resource_name


@pytest.mark.parametrize(
    ("uri", "user_info"),
    [
        ("ws://user:pass@localhost", ("user", "pass")),
        ("ws://user:@localhost", ("user", "")),
        ("ws://:pass@localhost", ("", "pass")),
        ("ws://us%40er:p%3Aa:s%25s@localhost", ("us@er", "p:a:s%s")),
        ("ws://%C3%BCser:p\xe4ss@localhost", ("\xfcser", "p\xe4ss")),
    ],
)
def test_user_info_is_decoded(uri, user_info):
    assert parse_uri(uri).user_info == user_info
    assert parse_uri(uri).host == "localhost"


def test_non_ascii_host_becomes_punycode():
    assert parse_uri("ws://M\xfcnchen.example/").host == "xn--mnchen-3ya.example"
    assert parse_uri("ws://\u65e5\u672c\u3002jp/").host == "xn--wgv71a.jp"


def test_non_ascii_path_and_query_become_percent_encoded_utf_8():
    parsed = parse_uri("ws://localhost/\xe4/%C3%A4/%/{x}?\u20ac=%20%e2&y='\"")
    assert parsed.path == "/%C3%A4/%C3%A4/%/{x}"
    assert parsed.query == "%E2%82%AC=%20%e2&y='\""


@pytest.mark.parametrize(
    ("uri", "error"),
    [
        # what isn't ws or wss
        ("", "doesn't start with ws:// or wss://"),
        ("localhost", "doesn't start with"),
        ("localhost:8080/", "doesn't start with"),
        ("http://localhost/", "doesn't start with"),
        ("ws:/localhost", "doesn't start with"),
        ("//localhost", "doesn't start with"),
        # characters
        ("ws://localhost/ HTTP/1.1", "has ' ' at 15"),
        (" ws://localhost/", "has ' ' at 0"),
        ("ws://localhost/\r\nX: Y", r"has '\\r' at 15"),
        ("ws://local\thost/", r"has '\\t' at 10"),
        ("w\ns://localhost/", r"has '\\n' at 1"),
        ("ws://localhost/\x7f", "at 15"),
        ("ws://localhost/\x85", "at 15"),
        ("ws://localhost/\ud800", "at 15"),
        # fragment
        ("ws://localhost/#a", "has a fragment"),
        ("ws://localhost#", "has a fragment"),
        # host
        ("ws://", "host is missing"),
        ("ws:///path", "host is missing"),
        ("ws://?a", "host is missing"),
        ("ws://:80/", "host is missing"),
        ("ws://a:b@/", "host is missing"),
        ("ws://a%20b/", "characters that can't be in a name"),
        ("ws://a\\b/", "characters that can't be in a name"),
        ("ws://a..b/", "empty part"),
        ("ws://./", "empty part"),
        (f"ws://{'a' * 64}.b/", "more than 63 bytes"),
        (f"ws://{'a.' * 127}/", "more than 253 characters"),
        ("ws://" + "\xe4" * 64, "can't be encoded"),
        ("ws://\xe4..b/", "can't be encoded"),
        ("ws://\u2100.example/", "'a/c.example' has characters"),  # NFKC makes it a/c
        ("ws://\xe4\uff20b.example/", "can't be in a name|can't be encoded"),  # NFKC makes it @
        # IPv6
        ("ws://[::1", "']' is missing"),
        ("ws://[::1]8080/", "'8080' comes after"),
        ("ws://[::g]/", "'::g' isn't an IPv6 address"),
        ("ws://[]/", "'' isn't an IPv6 address"),
        ("ws://[127.0.0.1]/", "isn't an IPv6 address"),
        ("ws://[fe80::1%25]/", "'' isn't the zone"),
        ("ws://[fe80::1%25a%b]/", "'a%b' isn't the zone"),
        ("ws://::1/", "goes in brackets"),
        ("ws://[::1]:1:2/", "the port isn't"),
        # port
        ("ws://localhost:0/", "port '0' isn't a number from 1 to 65535"),
        ("ws://localhost:65536/", "port '65536'"),
        ("ws://localhost:-1/", "the port"),
        ("ws://localhost:1e3/", "the port"),
        ("ws://localhost:\u0661/", "the port"),
        ("ws://localhost:000080/", "port '000080'"),
        # user info
        ("ws://user@localhost/", "no password; write user:password@host"),
        ("ws://@localhost/", "no password"),
        ("ws://a:b@c@localhost/", "write %40 for '@'"),
        ("ws://a:b\\@localhost/", "%5C"),
        ("ws://%ff:b@localhost/", "isn't UTF-8"),
        ("ws://a%3Ab:c@localhost/", "the user name has a colon"),
    ],
)
def test_what_is_no_websocket_uri_is_refused(uri, error):
    with pytest.raises(InvalidURI, match=error) as caught:
        parse_uri(uri)
    assert caught.value.uri == uri


@pytest.mark.parametrize(
    "uri",
    [
        "ws://localhost",
        "wss://localhost/",
        "wss://localhost:80/a?b",
        "ws://[::1]:8080/",
        "ws://[fe80::1%25eth0]/",
        "ws://us%40er:p%3A%25%2F%C3%A4@localhost/",
        "ws://:@localhost/",
        "ws://localhost?a",
    ],
)
def test_str_is_the_uri(uri):
    assert str(parse_uri(uri)) == uri


def test_uri_is_immutable_and_comparable():
    parsed = parse_uri("WS://localhost:80/")
    assert parsed == parse_uri("ws://LOCALHOST/") == WebSocketURI(False, "localhost", 80, "/", "")
    assert len({parsed, parse_uri("ws://localhost/")}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        parsed.port = 81


def test_half_a_user_info_is_none():
    assert WebSocketURI(False, "localhost", 80, "/", "", "user").user_info is None


def test_repr_keeps_the_password_secret():
    assert "hunter2" not in repr(parse_uri("ws://user:hunter2@localhost/"))


@given(st.text("ab0:/?#@[]%\\.-\xe4\u2100 \n") | st.text())
def test_any_uri_is_refused_or_survives_a_round_trip(rest):
    try:
        parsed = parse_uri(f"ws://{rest}")
    except InvalidURI:
        return
    assert parse_uri(str(parsed)) == parsed
    assert parsed.resource_name.isascii()
    assert parsed.host.isascii()
    assert parsed.host


def test_uri_can_be_shown_without_credentials():
    uri = parse_uri("ws://user:secret@localhost/x?y").without_credentials()
    assert str(uri) == "ws://localhost/x?y"
    assert uri.user_info is None
