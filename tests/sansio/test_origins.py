import re

import pytest

from syncws.sansio.origins import SAME_ORIGIN, is_origin_allowed, validate_origins


def test_origins_become_a_tuple_of_rules():
    pattern = re.compile("x")
    assert validate_origins(None) is None
    assert validate_origins(SAME_ORIGIN) == (SAME_ORIGIN,)
    assert validate_origins([]) == ()
    rules = ["http://a", None, pattern, SAME_ORIGIN]
    assert validate_origins(rules) == tuple(rules)


@pytest.mark.parametrize("origins", ["http://a", b"http://a", re.compile("x")])
def test_single_origin_is_refused_with_what_to_write_instead(origins):
    with pytest.raises(TypeError, match=r"origins must be a list, such as \["):
        validate_origins(origins)


@pytest.mark.parametrize("rule", [1, b"http://a", ["http://a"]])
def test_origin_of_another_type_is_refused(rule):
    with pytest.raises(TypeError, match="an origin is a str, a compiled pattern or None"):
        validate_origins(["http://b", rule])


HOST = "example.com"


def allowed(origin, origins, host=HOST):
    return is_origin_allowed(origin, validate_origins(origins), host)


def test_every_origin_is_allowed_without_rules():
    assert allowed("https://evil.example", None)
    assert allowed(None, None)


def test_no_origin_is_allowed_by_an_empty_list():
    assert not allowed("https://example.com", [])
    assert not allowed(None, [])


@pytest.mark.parametrize(
    ("origin", "rule", "is_allowed"),
    [
        ("https://a.example", "https://a.example", True),
        ("https://a.example:443", "https://a.example", False),
        ("http://a.example", "https://a.example", False),
        ("https://a.example.evil", "https://a.example", False),
        (None, "https://a.example", False),
        (None, None, True),
        ("https://a.example", None, False),
        ("null", None, False),
        ("null", "null", True),
        ("https://a.example", re.compile(r"https://\w+\.example"), True),
        ("https://a.example.evil", re.compile(r"https://\w+\.example"), False),
        ("xhttps://a.example", re.compile(r"https://\w+\.example"), False),
        (None, re.compile(r".*"), False),
    ],
)
def test_origin_is_compared_as_a_whole(origin, rule, is_allowed):
    assert allowed(origin, [rule]) is is_allowed
    assert allowed(origin, ["https://other", rule]) is is_allowed


@pytest.mark.parametrize(
    ("origin", "host", "is_allowed"),
    [
        (None, HOST, True),
        (None, "", True),
        ("http://example.com", "example.com", True),
        ("http://EXAMPLE.com", "Example.COM", True),
        ("http://example.com:80", "example.com", True),
        ("http://example.com", "example.com:80", True),
        ("https://example.com", "example.com:443", True),
        ("https://example.com", "example.com", True),  # behind a proxy that takes TLS off
        ("http://example.com:8080", "example.com:8080", True),
        ("http://[::1]:8080", "[::1]:8080", True),
        ("http://127.0.0.1:1", "127.0.0.1:1", True),
        ("http://example.com", "example.com:8080", False),
        ("http://example.com:8080", "example.com", False),
        ("https://example.com", "example.com:80", False),
        ("http://evil.example", "example.com", False),
        ("http://example.com.evil", "example.com", False),
        ("http://example.com@evil.example", "example.com", False),
        ("http://sub.example.com", "example.com", False),
        ("null", "example.com", False),
        ("null", "null", False),
        ("", "", False),
        ("http://", "", False),
        ("file://", "example.com", False),
        ("chrome-extension://example.com", "example.com", False),
        ("http://example.com:99999", "example.com", False),
        ("http://example.com:x", "example.com", False),
        ("http://[::1", "[::1", False),
        ("http://example.com", "example.com:x", False),
    ],
)
def test_same_origin_compares_host_and_port(origin, host, is_allowed):
    assert allowed(origin, SAME_ORIGIN, host) is is_allowed


def test_same_origin_may_be_one_of_several_rules():
    rules = ["https://app.example", SAME_ORIGIN]
    assert allowed("https://app.example", rules)
    assert allowed("http://example.com", rules)
    assert not allowed("https://evil.example", rules)
    assert repr(SAME_ORIGIN) == "SAME_ORIGIN"


@pytest.mark.parametrize(
    ("site", "origin", "is_allowed"),
    [
        # The browser knows: a proxy may have changed Host.
        ("same-origin", "https://public.example", True),
        ("same-origin", "http://example.com", True),
        ("same-origin", None, True),
        ("same-site", "http://example.com", False),
        ("same-site", None, False),
        ("cross-site", "http://example.com", False),
        ("cross-site", None, False),
        # It promises nothing: Origin decides.
        ("none", "http://example.com", True),
        ("none", "https://evil.example", False),
        ("none", None, True),
        ("", "https://evil.example", False),
        ("same-origin, same-origin", "https://evil.example", False),
        ("Same-Origin", "https://evil.example", False),
        ("new-value", "http://example.com", True),
        (None, "http://example.com", True),
    ],
)
def test_same_origin_is_what_the_browser_says_it_is(site, origin, is_allowed):
    assert is_origin_allowed(origin, validate_origins(SAME_ORIGIN), HOST, site) is is_allowed


@pytest.mark.parametrize("site", ["cross-site", "same-site", "same-origin", "none"])
def test_explicit_origins_are_accepted_whatever_the_browser_says(site):
    rules = validate_origins(["https://app.example", None, re.compile("https://.*[.]b")])
    assert is_origin_allowed("https://app.example", rules, HOST, site)
    assert is_origin_allowed("https://a.b", rules, HOST, site)
    assert is_origin_allowed(None, rules, HOST, site)
    assert not is_origin_allowed("http://example.com", rules, HOST, site)
    assert is_origin_allowed("https://evil.example", None, HOST, site)
