import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncws import InvalidProxy, InvalidURI, connect, parse_uri
from syncws.client.proxy import parse_proxy
from syncws.foreign import hide_credentials

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
