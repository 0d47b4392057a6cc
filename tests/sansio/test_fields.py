from __future__ import annotations

import base64
import contextlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncws.exceptions import InvalidHeaderFormat, InvalidHeaderValue
from syncws.sansio import fields
from syncws.sansio.fields import (
    build_authorization_basic,
    build_extension,
    build_host,
    build_subprotocol,
    build_www_authenticate_basic,
    parse_authorization_basic,
    parse_connection,
    parse_extension,
    parse_subprotocol,
    parse_upgrade,
    validate_subprotocols,
)

TOKENS = st.text(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~", min_size=1, max_size=9)

# --- lists -----------------------------------------------------------------------


@pytest.mark.parametrize("parse", [parse_connection, parse_upgrade, parse_subprotocol])
@pytest.mark.parametrize(
    ("value", "items"),
    [
        ("upgrade", ["upgrade"]),
        ("keep-alive, Upgrade", ["keep-alive", "Upgrade"]),
        ("a,b\t, \tc", ["a", "b", "c"]),
        (" ,, a ,,b, ", ["a", "b"]),
        ("", []),
        (" , ", []),
    ],
)
def test_list_is_split_at_commas_and_empty_items_are_skipped(parse, value, items):
    assert parse(value) == items


@pytest.mark.parametrize("parse", [parse_connection, parse_upgrade, parse_subprotocol])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("a b", "expected a comma at 2 in a b"),
        ("a, @", "expected a .* at 3 in a, @"),
        ("a;b", "expected a comma at 1 in a;b"),
        ('"a"', "expected a .* at 0"),
        ("\xe4", "expected a .* at 0"),
        ("a\r\nb", "expected a comma at 1"),
        ("a\n", "expected a comma at 1"),
    ],
)
def test_what_is_no_list_of_tokens_is_refused(parse, value, error):
    with pytest.raises(InvalidHeaderFormat, match=error):
        parse(value)


def test_errors_name_the_header():
    with pytest.raises(InvalidHeaderFormat) as caught:
        parse_connection("@")
    assert caught.value.name == "Connection"
    assert str(caught.value) == "invalid Connection header: expected a connection option at 0 in @"


def test_protocol_may_have_a_version():
    assert parse_upgrade("websocket, HTTP/2.0") == ["websocket", "HTTP/2.0"]


@pytest.mark.parametrize("value", ["/", "a/", "/b", "a/b/c"])
def test_half_a_protocol_is_refused(value):
    with pytest.raises(InvalidHeaderFormat):
        parse_upgrade(value)


# --- extensions ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "extensions"),
    [
        ("foo", [("foo", [])]),
        ("foo, bar", [("foo", []), ("bar", [])]),
        ("foo; a; b=1", [("foo", [("a", None), ("b", "1")])]),
        ("foo;a=1,,foo ; a\t= 2 ,", [("foo", [("a", "1")]), ("foo", [("a", "2")])]),
        ('foo; a="10"', [("foo", [("a", "10")])]),
        (r'foo; a="\1\0"; b', [("foo", [("a", "10"), ("b", None)])]),
        (
            "permessage-deflate; client_max_window_bits; server_max_window_bits=10",
            [
                (
                    "permessage-deflate",
                    [("client_max_window_bits", None), ("server_max_window_bits", "10")],
                )
            ],
        ),
    ],
)
def test_extensions_are_parsed_with_parameters(value, extensions):
    for _ in range(2):  # the second time from a cache
        parsed = parse_extension(value)
        assert parsed == extensions
        parsed[0][1].append("ours")


def test_long_values_are_parsed_too():
    assert parse_extension("; ".join(["foo"] + ["a"] * 300)) == [("foo", [("a", None)] * 300)]


@pytest.mark.parametrize("value", ["", " ", ",", " ,\t, "])
def test_there_may_be_no_extension_in_the_list(value):
    assert parse_extension(value) == []


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("foo;", "expected a parameter at 4"),
        ("foo;;a", "expected a parameter at 4"),
        ("foo; a=", "expected a value at 7"),
        ("foo; a=,", "expected a value at 7"),
        ("foo a", "expected a comma at 4"),
        ("foo=a", "expected a comma at 3"),
        ('foo; a="1', "expected a quoted value at 7"),
        ('foo; a="1\\', "expected a quoted value at 7"),
        ('foo; a=""', "expected a token in quotes at 7"),
        ('foo; a="1 2"', "expected a token in quotes at 7"),
        (r'foo; a="\""', "expected a token in quotes at 7"),
        ('foo; a="1"2', "expected a comma at 10"),
    ],
)
def test_what_are_no_extensions_is_refused(value, error):
    with pytest.raises(InvalidHeaderFormat, match=f"Sec-WebSocket-Extensions header: {error}"):
        parse_extension(value)


def test_extensions_are_built_with_parameters():
    assert build_extension([("foo", [("a", None), ("b", "1")]), ("bar", [])]) == "foo; a; b=1, bar"


EXTENSIONS = st.lists(
    st.tuples(TOKENS, st.lists(st.tuples(TOKENS, st.none() | TOKENS), max_size=4)), min_size=1
)


@given(EXTENSIONS)
def test_built_extensions_are_parsed_to_the_same(extensions):
    assert parse_extension(build_extension(extensions)) == extensions


@pytest.mark.parametrize(
    "value",
    ["," * 8192, " " * 8192, "a;" * 4096, "a," * 4096, 'a;b="' + "\\" * 8186, "a" * 8191 + "@"],
    ids=["commas", "spaces", "parameters", "items", "backslashes", "token"],
)
def test_each_position_of_a_hostile_header_is_matched_at_most_a_few_times(value, monkeypatch):
    matches = []
    skip, take = fields._Scanner.skip, fields._Scanner.take

    def counting_skip(self, pattern):
        matches.append(self.pos)
        skip(self, pattern)

    def counting_take(self, pattern, expected):
        matches.append(self.pos)
        return take(self, pattern, expected)

    monkeypatch.setattr(fields._Scanner, "skip", counting_skip)
    monkeypatch.setattr(fields._Scanner, "take", counting_take)
    for parse in parse_connection, parse_upgrade, parse_extension, parse_subprotocol:
        matches.clear()
        with contextlib.suppress(InvalidHeaderFormat):
            parse(value)
        assert len(matches) <= 4 * len(value)
        assert matches == sorted(matches)


@given(st.text(',;="\\ \tab@', max_size=30))
def test_any_header_is_parsed_or_refused(value):
    for parse in parse_connection, parse_upgrade, parse_extension, parse_subprotocol:
        with contextlib.suppress(InvalidHeaderFormat):
            assert parse(value) or not value.strip(" \t,")


# --- subprotocols ----------------------------------------------------------------


@given(st.lists(TOKENS, min_size=1))
def test_built_subprotocols_are_parsed_to_the_same(subprotocols):
    assert parse_subprotocol(build_subprotocol(subprotocols)) == subprotocols


def test_distinct_tokens_are_valid_subprotocols():
    validate_subprotocols([])
    validate_subprotocols(["chat", "Chat", "v1.json"])


@pytest.mark.parametrize(
    ("subprotocols", "error", "match"),
    [
        ("chat", TypeError, "must be a list of str, got the str 'chat'"),
        ([b"chat"], TypeError, "must be a str, got b'chat'"),
        (["a", "b c"], ValueError, "invalid subprotocol 'b c'"),
        ([""], ValueError, "invalid subprotocol ''"),
        (["chat", "superchat", "chat"], ValueError, "duplicate subprotocol 'chat'"),
    ],
)
def test_subprotocols_that_cannot_be_offered_are_refused(subprotocols, error, match):
    with pytest.raises(error, match=match):
        validate_subprotocols(subprotocols)


# --- Host ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "port", "secure", "value"),
    [
        ("localhost", 80, False, "localhost"),
        ("localhost", 8080, False, "localhost:8080"),
        ("localhost", 443, False, "localhost:443"),
        ("localhost", 443, True, "localhost"),
        ("localhost", 80, True, "localhost:80"),
        ("127.0.0.1", 80, False, "127.0.0.1"),
        ("::1", 80, False, "[::1]"),
        ("::1", 8080, True, "[::1]:8080"),
        ("fe80::1%eth0", 443, True, "[fe80::1]"),
    ],
)
def test_host_has_brackets_and_a_port_where_needed(host, port, secure, value):
    assert build_host(host, port, secure) == value


# --- Basic credentials -----------------------------------------------------------


def test_basic_credentials_are_those_of_the_rfc():
    header = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="  # RFC 7617 §2
    assert build_authorization_basic("Aladdin", "open sesame") == header
    assert parse_authorization_basic(header) == ("Aladdin", "open sesame")
    assert build_authorization_basic("test", "123\xa3") == "Basic dGVzdDoxMjPCow=="  # §2.1


@given(st.text().filter(lambda user: ":" not in user), st.text())
def test_built_credentials_are_parsed_to_the_same(username, password):
    assert parse_authorization_basic(build_authorization_basic(username, password)) == (
        username,
        password,
    )


def test_scheme_is_read_in_any_case():
    assert parse_authorization_basic("bASIC  dTpw ") == ("u", "p")


def test_user_name_with_a_colon_is_refused():
    with pytest.raises(ValueError, match="user name with a colon"):
        build_authorization_basic("a:b", "c")


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("", "scheme"),
        ("Bearer dTpw", "scheme"),
        ("dTpw", "scheme"),
        ("Basic", "colon"),
        ("Basic dTpwc2VjcmV0!", "base64"),
        ("Basic dTpw dTpw", "base64"),
        ("Basic dTp", "base64"),
        ("Basic \xe4", "base64"),
        ("Basic " + base64.b64encode(b"\xff:\xff").decode(), "UTF-8"),
        ("Basic " + base64.b64encode(b"secret").decode(), "colon"),
    ],
)
def test_bad_credentials_are_refused_without_quoting_them(value, error):
    with pytest.raises(InvalidHeaderValue, match=error) as caught:
        parse_authorization_basic(value)
    assert caught.value.name == "Authorization"
    assert not value or value not in str(caught.value)
    assert caught.value.__cause__ is None


def test_realm_is_quoted():
    assert build_www_authenticate_basic("a") == 'Basic realm="a", charset="UTF-8"'
    assert build_www_authenticate_basic(r'a"\b') == r'Basic realm="a\"\\b", charset="UTF-8"'


def test_realm_with_control_characters_is_refused():
    with pytest.raises(ValueError, match="invalid realm"):
        build_www_authenticate_basic("a\r\nb")
