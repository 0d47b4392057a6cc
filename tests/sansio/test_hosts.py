import pytest

from syncws.sansio.hosts import is_host_allowed, parse_host, validate_hosts


def allowed(host, *hosts):
    return is_host_allowed(host, validate_hosts(hosts))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("example.com", ("example.com", None)),
        ("Example.COM:80", ("example.com", 80)),
        ("example.com.", ("example.com", None)),
        ("example.com:", ("example.com", None)),
        ("a_b", ("a_b", None)),
        ("127.0.0.1:8765", ("127.0.0.1", 8765)),
        ("[::1]", ("::1", None)),
        ("[0:0:0:0:0:0:0:1]:1", ("::1", 1)),
        ("[FE80::1%25eth0]", ("fe80::1", None)),
    ],
)
def test_a_host_is_a_name_and_perhaps_a_port(value, expected):
    assert parse_host(value) == expected


NOT_HOSTS = [
    "",
    ":80",
    "a b",
    "a/b",
    "user:password@example.com",
    "bücher.example",
    "a..b",
    "example.com:x",
    "example.com:0",
    "example.com:65536",
    "example.com:80:80",
    "::1",
    "[::1",
    "[::1]80",
    "[127.0.0.1]",
    "example.com, evil.example",
]


@pytest.mark.parametrize("value", NOT_HOSTS)
def test_other_values_are_no_hosts(value):
    with pytest.raises(ValueError, match=r"."):
        parse_host(value)
    with pytest.raises(ValueError, match=r"."):
        allowed(value, "example.com")


def test_without_rules_there_is_nothing_to_check():
    assert validate_hosts(None) is None


@pytest.mark.parametrize(
    ("rule", "accepted", "refused"),
    [
        (
            "example.com",
            ["example.com", "EXAMPLE.com:8765", "example.com."],
            ["www.example.com", "example.com.evil", "evilexample.com", "127.0.0.1"],
        ),
        (
            "Example.com.:8765",
            ["example.com:8765", "example.com.:8765"],
            ["example.com", "example.com:80", "example.com:8766"],
        ),
        (
            "*.example.com",
            ["a.example.com", "b.a.example.com:1"],
            ["example.com", "evilexample.com", "a.example.com.evil.example"],
        ),
        (
            ".example.com:443",
            ["example.com", "example.com:443", "a.example.com"],
            ["example.com:8443", "evilexample.com"],
        ),
        ("example.com:80", ["example.com"], ["example.com:443"]),
        ("127.0.0.1", ["127.0.0.1", "127.0.0.1:8765"], ["127.0.0.2", "localhost", "127.1"]),
        ("::1", ["[::1]", "[0::1]:80"], ["[::2]"]),
        ("[::1]:8765", ["[::1]:8765"], ["[::1]", "[::1]:1"]),
        ("bücher.example", ["xn--bcher-kva.example"], ["bcher.example"]),
    ],
)
def test_a_host_is_accepted_by_name_suffix_and_port(rule, accepted, refused):
    for host in accepted:
        assert allowed(host, rule)
        assert allowed(host, "other.example", rule)
    for host in refused:
        assert not allowed(host, rule)
        assert not allowed(host, rule, "other.example")


def test_rules_are_rules_already():
    rules = validate_hosts(["example.com", "*.example.com"])
    assert validate_hosts(rules) == rules


@pytest.mark.parametrize("hosts", ["example.com", b"example.com"])
def test_a_single_host_is_refused_with_what_to_write_instead(hosts):
    with pytest.raises(TypeError, match=r"hosts must be a list, such as \["):
        validate_hosts(hosts)


def test_a_host_of_another_type_is_refused():
    with pytest.raises(TypeError, match="a host is a str, not 1"):
        validate_hosts(["example.com", 1])


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("*", "None accepts all"),
        ("*example.com", r"only names below another, as in '\*.example.com'"),
        ("*.", "missing"),
        (".", "missing"),
        ("", "missing"),
        ("a.*.example", "only names below another"),
        ("example.com:x", "the port isn't"),
        ("http://example.com", "isn't an IPv6 address|port|characters"),
        ("user:password@example.com", "user name"),
    ],
)
def test_a_rule_that_is_no_host_is_refused(host, reason):
    with pytest.raises(ValueError, match=reason):
        validate_hosts([host])


def test_rules_that_accept_nothing_are_refused():
    with pytest.raises(ValueError, match="hosts is empty"):
        validate_hosts([])
