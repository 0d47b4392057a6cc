"""From which origins browsers may connect."""

import re

import pytest
from support.asking import ask, echo_once, status
from support.scripted import (
    build_request,
)
from support.serving import messages

from syncws import (
    SAME_ORIGIN,
    serve,
)


@pytest.fixture(autouse=True)
def info(caplog):
    caplog.set_level("INFO")


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("example.com", None),
        ("example.com", "https://example.com"),
        ("example.com:8765", "http://example.com:8765"),
        ("EXAMPLE.com", "http://example.COM"),
        ("[::1]:8765", "http://[::1]:8765"),
    ],
)
def test_the_same_origin_is_accepted_and_so_is_none_at_all(host, origin):
    assert status(ask(build_request(Host=host, Origin=origin))) == 101


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://localhost:81", "http://localhost.evil.example", "null", ""],
)
def test_another_origin_is_refused_and_the_log_says_what_would_accept_it(caplog, origin):
    assert status(ask(build_request(Origin=origin))) == 403
    assert messages(caplog, "WARNING") == [
        f"connection from origin {origin} to host localhost refused; "
        f"origins=[{origin!r}] would accept it"
    ]


def test_what_the_log_says_does_accept_it():
    assert status(ask(build_request(Origin="null"), origins=["null"])) == 101


EXAMPLES = ["https://example.com", re.compile(r"https://.*\.example\.com")]


@pytest.mark.parametrize(
    ("origins", "origin", "accepted"),
    [
        (EXAMPLES, "https://example.com", True),
        (EXAMPLES, "https://www.example.com", True),
        (EXAMPLES, "https://www.example.com.evil.example", False),
        (EXAMPLES, "http://localhost", False),
        (EXAMPLES, None, False),
        ([*EXAMPLES, None], None, True),
        ([*EXAMPLES, SAME_ORIGIN], "http://localhost", True),
        ([], "http://localhost", False),
        (None, "https://evil.example", True),
        (None, None, True),
    ],
)
def test_origins_are_strings_patterns_and_none(origins, origin, accepted):
    answer = ask(build_request(Origin=origin), origins=origins)
    assert status(answer) == (101 if accepted else 403)


@pytest.mark.parametrize("origins", ["https://example.com", re.compile("."), [1]])
def test_origins_of_a_wrong_type_are_refused(origins):
    with pytest.raises(TypeError, match="origin"):
        serve(echo_once, origins=origins)
