import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncws import (
    Close,
    ConnectionClosed,
    InvalidProxy,
    InvalidURI,
    connect,
    exceptions,
    parse_uri,
)
from syncws.client.proxy import parse_proxy
from syncws.exceptions import (
    AbortHandshake,
    InvalidHeader,
    InvalidHeaderFormat,
    InvalidOrigin,
    InvalidParameterValue,
    InvalidProxyStatus,
    InvalidStatus,
    InvalidStatusCode,
    PayloadTooBig,
    ServerBusy,
    SlowPeer,
    WebSocketException,
)
from syncws.foreign import escape, hide_credentials

# --- credentials ---


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("ws://user:secret@host/path", "ws://...@host/path"),
        ("ws://user:se#cret@host/", "ws://...@host/"),
        ("ws://user:se/cret@host/", "ws://...@host/"),
        ("ws://user:se?cret@host/", "ws://...@host/"),
        ("ws://user:se@cret@host/", "ws://...@host/"),
        ("ws://user:se://cret@host/", "ws://...@host/"),
        ("ws://user:se\ncret@host/", "ws://...@host/"),
        ("ws:user:secret@host", "...@host"),
        ("ws:/user:secret@host", "...@host"),
        ("user:secret@host", "...@host"),
        ("user:se://cret@host", "...@host"),
        ("ws://user:secret/", "ws://user:.../"),
        ("ws://user:secret", "ws://user:..."),
        ("user:secret", "user:..."),
        ("http://[::1]:secret/", "http://[::1]:.../"),
        ("ws://localhost:8080/path", "ws://localhost:8080/path"),
        ("ws:/localhost:8080/path", "ws:/localhost:8080/path"),
        ("localhost:8080", "localhost:8080"),
        ("ws://host:/", "ws://host:/"),
        ("ws://::1/", "ws://::1/"),
        ("ws://[::1]:80/x:y", "ws://[::1]:80/x:y"),
        ("ws://host/x:y", "ws://host/x:y"),
        ("", ""),
    ],
)
def test_what_may_be_a_credential_is_hidden(uri, shown):
    assert hide_credentials(uri) == shown


WRONG = [
    "{}user:{}@host:0/",
    "{}user:{}@ho st/",
    "{}user:{}@[::1/",
    "{}user:{}@[::1]x/",
    "{}user:{}@host/?a=b#fragment",
    "{}[user:{}/@host",
    "{}[user:x]{}/@host",
]
PASSWORDS = ["se{}cret", "{}secret", "secret{}", "secret{}secret"]


@pytest.mark.parametrize("scheme", ["{}://", "{}:", "{}:/", "", "x{}://"])
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("parse", [parse_uri, parse_proxy])
def test_no_error_shows_a_password(scheme, wrong, parse):
    scheme = scheme.format("ws" if parse is parse_uri else "http")
    for password in PASSWORDS:
        for mark in "#", "/", "?", "@", "://", ":", "\\", "%", " ", "\x9b":
            uri = wrong.format(scheme, password.format(mark))
            try:
                parse(uri)
            except (InvalidURI, InvalidProxy) as exc:
                shown = "".join(traceback.format_exception(type(exc), exc, None)) + repr(exc)
                assert "secret" not in shown, uri
                assert "cret" not in shown, uri


def test_a_redirect_that_is_raised_does_not_show_credentials():
    exc = exceptions.RedirectHandshake("ws://user:secret@host/")
    assert str(exc) == "redirect to ws://...@host/"


def test_no_error_shows_the_password_of_a_proxy_that_is_not_a_str():
    with pytest.raises(TypeError) as info:
        connect("ws://localhost/", proxy=b"http://user:secret@proxy")
    assert "secret" not in str(info.value)


@given(st.text())
def test_any_text_is_a_uri_or_a_documented_error(text):
    for parse, error in (parse_uri, InvalidURI), (parse_proxy, InvalidProxy):
        for prefix in "", "ws://", "http://", "socks5h://":
            try:
                parse(prefix + text)
            except error as exc:
                str(exc)


# --- characters ---

UNSAFE = "\x00\t\n\r\x1b\x7f\x80\x85\x9b\x9f\u061c\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069"


@pytest.mark.parametrize("char", [*UNSAFE, "\ud800"])
def test_what_is_not_safe_to_show_is_escaped(char):
    shown = escape(f"a{char}b")
    assert shown == "a" + ascii(char)[1:-1] + "b"
    assert shown.isascii()
    assert shown.isprintable()


def test_what_people_write_stays_as_it_is():
    text = "caf\xe9 \u65e5\u672c \U0001f469\u200d\U0001f680 \\x9b 'quoted'"
    assert escape(text) == text


@given(st.text())
def test_escaping_twice_is_escaping_once(text):
    assert escape(escape(text)) == escape(text)
    escape(text).encode()


def test_no_exception_has_a_text_that_is_unsafe():
    for name in exceptions.__all__:
        kind = getattr(exceptions, name)
        if not issubclass(kind, WebSocketException):
            continue
        for exc in examples(kind):
            text = str(exc)
            assert "9b" in text, name
            assert text == escape(text), name


def examples(kind):
    """Exceptions of a kind with something unsafe in every str."""
    evil = f"a{UNSAFE}\ud800"
    if issubclass(kind, ConnectionClosed):
        return [kind(Close(4000, evil), None), kind(None, Close(4000, evil))]
    if kind in (InvalidURI, InvalidProxy):
        return [kind(f"ws://{evil}", evil)]
    if kind in (InvalidStatus, InvalidStatusCode, InvalidProxyStatus, ServerBusy, AbortHandshake):
        return []  # they quote nothing
    if kind in (PayloadTooBig, SlowPeer):
        return []
    if kind is InvalidHeaderFormat:
        return [kind(evil, evil, evil, 0)]
    if issubclass(kind, InvalidHeader) and kind is not InvalidOrigin:
        return [kind(evil), kind(evil, ""), kind(evil, evil)]
    if kind is InvalidParameterValue:
        return [kind(evil, None), kind(evil, evil)]
    return [kind(evil)]


def test_attributes_of_exceptions_are_as_they_came():
    assert InvalidHeader("Upgrade", "\x9b").value == "\x9b"
    assert ConnectionClosed(Close(4000, "\x9b"), None).reason == "\x9b"
