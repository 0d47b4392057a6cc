import ipaddress
import random

import pytest

from syncws import Headers, InvalidHandshake, InvalidHeaderFormat, InvalidHeaderValue
from syncws.sansio.forwarded import Client, TrustedProxies

PROXY = ("10.0.0.1", 50000)
PROXIES = TrustedProxies(["10.0.0.0/8", "fd00::/8"])


def identify(*fields, peer=PROXY, proxies=PROXIES):
    return proxies.identify(peer, Headers([("Host", "inner:8765"), *fields]))


def forwarded(*values, **kwargs):
    return identify(*[("Forwarded", value) for value in values], **kwargs)


def x_forwarded(*, peer=PROXY, **values):
    return identify(*[(f"X-Forwarded-{name}", value) for name, value in values.items()], peer=peer)


# --- who is trusted ---

CLAIM = "for=203.0.113.9;proto=https;host=example.com"
CLAIMED = Client(("203.0.113.9", 0), True, "example.com")


@pytest.mark.parametrize(
    ("proxies", "peer", "trusted"),
    [
        (["10.0.0.0/8"], ("10.9.8.7", 1), True),
        (["10.0.0.0/8"], ("11.0.0.1", 1), False),
        (["10.0.0.1"], ("10.0.0.1", 1), True),
        (["10.0.0.1"], ("10.0.0.2", 1), False),
        ([ipaddress.ip_address("10.0.0.1")], ("10.0.0.1", 1), True),
        ([ipaddress.ip_network("10.0.0.0/31")], ("10.0.0.1", 1), True),
        (["10.0.0.0/8"], ("::ffff:10.0.0.1", 1, 0, 0), True),
        (["::1"], ("::1", 1, 0, 0), True),
        ([ipaddress.ip_address("::1")], ("::1", 1, 0, 0), True),
        ([ipaddress.ip_network("fe80::/10")], ("fe80::1%eth0", 1, 0, 3), True),
        (["::1"], ("127.0.0.1", 1), False),
        (["0.0.0.0/0", "::/0"], ("a name", 1), False),
        (["0.0.0.0/0", "::/0"], (2, 1), False),
        (["0.0.0.0/0", "::/0"], "", False),
        (["0.0.0.0/0", "::/0", "unix"], None, False),
        (["unix"], "", True),
        (["unix"], "/run/socket", True),
        (["unix"], b"\0abstract", True),
        (["unix"], ("10.0.0.1", 1), False),
        ([], ("10.0.0.1", 1), False),
    ],
)
def test_only_trusted_peers_are_believed(proxies, peer, trusted):
    proxies = TrustedProxies(proxies)
    assert forwarded(CLAIM, peer=peer, proxies=proxies) == (CLAIMED if trusted else None)
    if not trusted:  # not even read
        assert forwarded("not valid", peer=peer, proxies=proxies) is None


def test_a_proxy_that_says_nothing_changes_nothing():
    assert identify() is None


@pytest.mark.parametrize("proxies", ["10.0.0.0/8", b"unix", 1, None])
def test_proxies_that_are_no_list_are_refused(proxies):
    with pytest.raises(TypeError, match="trusted_proxies must be a list"):
        TrustedProxies(proxies)


@pytest.mark.parametrize("proxy", [1, None, b"10.0.0.1", ("10.0.0.1", 1)])
def test_a_proxy_of_another_type_is_refused(proxy):
    with pytest.raises(TypeError, match="a network or an address, not"):
        TrustedProxies(["10.0.0.1", proxy])


@pytest.mark.parametrize("proxy", ["", "*", "localhost", "10.0.0.1/8", "10.0.0.0/33", "Unix"])
def test_a_proxy_that_is_no_network_is_refused(proxy):
    with pytest.raises(ValueError, match="invalid trusted proxy: "):
        TrustedProxies([proxy])


# --- Forwarded ---


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("for=192.0.2.60", Client(("192.0.2.60", 0))),
        ("For=192.0.2.60", Client(("192.0.2.60", 0))),
        ('for="192.0.2.60"', Client(("192.0.2.60", 0))),
        ('for="192.0.2.60:4711"', Client(("192.0.2.60", 4711))),
        ('for="192.0.2.60:_port"', Client(("192.0.2.60", 0))),
        ('for="[2001:db8:CAFE::17]"', Client(("2001:db8:cafe::17", 0))),
        ('for="[2001:db8:cafe:0::17]:4711"', Client(("2001:db8:cafe::17", 4711))),
        ('for="[::ffff:192.0.2.60]"', Client(("192.0.2.60", 0))),
        ('for="1\\92.0.2.60"', Client(("192.0.2.60", 0))),
        ("for=unknown", Client(("unknown", 0))),
        ("for=Unknown", Client(("Unknown", 0))),
        ("for=_gazonk", Client(("_gazonk", 0))),
        ('for="_SEVKISEK:80"', Client(("_SEVKISEK", 80))),
        ("for=192.0.2.60;proto=http;by=203.0.113.43", Client(("192.0.2.60", 0), False)),
        ("for=192.0.2.60; proto=http; by=203.0.113.43", Client(("192.0.2.60", 0), False)),
        (" \t for=192.0.2.60 \t ;\tproto=HTTPS ", Client(("192.0.2.60", 0), True)),
        (";for=192.0.2.60;;proto=wss;", Client(("192.0.2.60", 0), True)),
        ("proto=ws", Client(None, False)),
        ("host=example.com", Client(host="example.com")),
        ('host="example.com:8080";proto=https', Client(None, True, "example.com:8080")),
        ('host="[::1]:80"', Client(host="[::1]:80")),
        ('by=anything;secret="a, b; \\"c=d\\""', Client()),
        (", , for=192.0.2.60,", Client(("192.0.2.60", 0))),
        (CLAIM, CLAIMED),
    ],
)
def test_forwarded_is_read_with_all_its_syntax(value, expected):
    assert forwarded(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # Only the rightmost was written by a proxy that we trust.
        ("for=198.51.100.1, for=203.0.113.9", Client(("203.0.113.9", 0))),
        ("for=10.0.0.3, for=203.0.113.9, for=10.0.0.2", Client(("203.0.113.9", 0))),
        # All are proxies of ours: the first of them is the client.
        ("for=10.0.0.3, for=10.0.0.2", Client(("10.0.0.3", 0))),
        ('for=198.51.100.1, for="[fd00::2]", for=10.0.0.2', Client(("198.51.100.1", 0))),
        # Nobody knows who is behind these.
        ("for=198.51.100.1, for=_hidden", Client(("_hidden", 0))),
        ("for=198.51.100.1, for=unknown, for=10.0.0.2", Client(("unknown", 0))),
        ("for=198.51.100.1, proto=https, for=10.0.0.2", Client(("10.0.0.2", 0), True)),
        ("for=198.51.100.1, ;", Client()),
        # Closer to the client counts, as far as it is trusted.
        (
            "for=10.0.0.9;host=evil;proto=http, for=203.0.113.9;host=a;proto=https, "
            "for=10.0.0.2;host=b;proto=http",
            Client(("203.0.113.9", 0), True, "a"),
        ),
        ("for=203.0.113.9, for=10.0.0.2;host=b;proto=https", Client(("203.0.113.9", 0), True, "b")),
        # What is not trusted is not even looked at, but for where it ends.
        ('for=nonsense;proto=gopher;host="a/b", for=203.0.113.9', Client(("203.0.113.9", 0))),
    ],
)
def test_forwarded_is_read_from_the_right_through_trusted_proxies(value, expected):
    assert forwarded(value) == expected
    assert forwarded(*value.split(", ")) == expected


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        ",",
        "for",
        "for=",
        "=a",
        "for =192.0.2.60",
        "for= 192.0.2.60",
        "for=192.0.2.60 proto=http",
        "for=192.0.2.60:80",
        "for=[::1]",
        'for="192.0.2.60',
        'for="192.0.2.60\\"',
        'for="192.0.2.60"x',
        'for=a"192.0.2.60"',
        "for=192.0.2.60;for=192.0.2.60",
        "for=192.0.2.60;FOR=192.0.2.61",
        'a="x, for=192.0.2.60',
        "a=b" + " " * 8000 + "c",
        "a" * 8000,
        " " * 8000 + "é",
    ],
)
def test_forwarded_that_can_not_be_parsed_is_refused(value):
    with pytest.raises(InvalidHeaderFormat, match="Forwarded"):
        forwarded(value)
    if value.strip(" ,"):  # empty ones don't count beside others
        with pytest.raises(InvalidHeaderFormat, match="Forwarded"):
            forwarded(value, "for=192.0.2.60")


WRONG_NODES = [
    '""',
    "localhost",
    "192.0.2",
    "192.0.2.256",
    '"192.0.2.60:"',
    '"192.0.2.60:65536"',
    '"192.0.2.60:123456"',
    '"192.0.2.60:http"',
    '"::1"',
    '"[::1"',
    '"[::1]80"',
    '"[192.0.2.60]"',
    '"[fe80::1%eth0]"',
    '"[]"',
    "_",
    '"_ä"',
    "unknown2",
]


@pytest.mark.parametrize(
    "value",
    [
        *[f"for={node}" for node in WRONG_NODES],
        "proto=gopher",
        'proto=""',
        'host=""',
        'host="a/b"',
        'host="user@example.com"',
        "for=192.0.2.60, for=10.0.0.2;proto=x",
    ],
)
def test_a_value_of_a_trusted_proxy_that_makes_no_sense_is_refused(value):
    with pytest.raises(InvalidHeaderValue, match="Forwarded"):
        forwarded(value)


# --- X-Forwarded ---


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("203.0.113.9", ("203.0.113.9", 0)),
        ("203.0.113.9:4711", ("203.0.113.9", 4711)),
        ("2001:DB8::17", ("2001:db8::17", 0)),
        ("[2001:db8::17]", ("2001:db8::17", 0)),
        ("[2001:db8::17]:4711", ("2001:db8::17", 4711)),
        ("::ffff:203.0.113.9", ("203.0.113.9", 0)),
        ("unknown", ("unknown", 0)),
        ("198.51.100.1, 203.0.113.9", ("203.0.113.9", 0)),
        ("198.51.100.1,\t203.0.113.9 ,10.0.0.2, ::ffff:10.0.0.3", ("203.0.113.9", 0)),
        ("10.0.0.3, 10.0.0.2", ("10.0.0.3", 0)),
        ("not an address, 203.0.113.9", ("203.0.113.9", 0)),
        (", 203.0.113.9", ("203.0.113.9", 0)),
    ],
)
def test_x_forwarded_for_is_read_from_the_right_through_trusted_proxies(value, expected):
    assert x_forwarded(For=value) == Client(expected)
    first, comma, last = value.rpartition(",")
    if comma:
        fields = [("X-Forwarded-For", first), ("x-forwarded-for", last)]
        assert identify(*fields) == Client(expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"Proto": "https"}, Client(None, True)),
        ({"Proto": "WSS"}, Client(None, True)),
        ({"Proto": "ws"}, Client(None, False)),
        ({"Host": "example.com"}, Client(None, None, "example.com")),
        ({"Host": "a, b", "Proto": "http, https"}, Client(None, True, "b")),
        # One value is for all proxies; several are one for each.
        ({"For": "1.1.1.1, 10.0.0.2", "Proto": "https"}, Client(("1.1.1.1", 0), True)),
        ({"For": "1.1.1.1, 10.0.0.2", "Proto": "https, http"}, Client(("1.1.1.1", 0), True)),
        ({"For": "1.1.1.1, 2.2.2.2", "Proto": "https, http"}, Client(("2.2.2.2", 0), False)),
        ({"For": "2.2.2.2", "Proto": "https, http"}, Client(("2.2.2.2", 0), False)),
        ({"For": "2.2.2.2", "Host": "evil, a"}, Client(("2.2.2.2", 0), None, "a")),
        # A port is one of the host that was asked for.
        ({"Port": "8443"}, Client(None, None, None)),
        ({"Host": "a", "Port": "8443"}, Client(None, None, "a:8443")),
        ({"Host": "a:", "Port": "8443"}, Client(None, None, "a:8443")),
        ({"Host": "a:1", "Port": "8443"}, Client(None, None, "a:1")),
        ({"Host": "[::1]", "Port": "8443"}, Client(None, None, "[::1]:8443")),
        ({"Host": "a", "Port": "443"}, Client(None, None, "a")),
        ({"Host": "a", "Port": "80"}, Client(None, None, "a")),
        ({"Port": "80"}, Client()),
    ],
)
def test_x_forwarded_says_protocol_host_and_port(values, expected):
    if values == {"Port": "8443"}:
        expected = Client(None, None, "inner:8765")  # the Host has a port already
    assert x_forwarded(**values) == expected


def test_a_port_is_added_to_the_host_header_where_no_other_is_forwarded():
    fields = [("Host", "example.com"), ("X-Forwarded-Port", "8443")]
    assert PROXIES.identify(PROXY, Headers(fields)) == Client(host="example.com:8443")
    assert PROXIES.identify(PROXY, Headers(fields[1:])) == Client()
    with pytest.raises(InvalidHeaderValue, match="Host"):
        PROXIES.identify(PROXY, Headers([("Host", "a b"), fields[1]]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("For", node.strip('"')) for node in WRONG_NODES if node != '"::1"'],
        ("For", ","),
        ("For", "1.1.1.1, localhost"),
        ("For", "localhost, 10.0.0.2"),
        ("For", '"1.1.1.1"'),
        ("Proto", ""),
        ("Proto", "gopher"),
        ("Proto", "https;"),
        ("Host", ""),
        ("Host", "a b"),
        ("Host", "a@b"),
        ("Port", ""),
        ("Port", "x"),
        ("Port", "0"),
        ("Port", "65536"),
        ("Port", "-1"),
    ],
)
def test_an_x_forwarded_value_that_makes_no_sense_is_refused(name, value):
    with pytest.raises(InvalidHeaderValue, match=f"X-Forwarded-{name}"):
        x_forwarded(**{name: value})


def test_fewer_values_than_proxies_are_refused():
    with pytest.raises(InvalidHeaderValue, match="X-Forwarded-Proto header: 2 values, of 3"):
        x_forwarded(For="1.1.1.1, 10.0.0.3, 10.0.0.2", Proto="https, http")


@pytest.mark.parametrize("name", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Proto"])
def test_headers_that_take_long_to_read_are_refused(name):
    item = {"Forwarded": "for=10.0.0.2", "X-Forwarded-For": "10.0.0.2"}.get(name, "https")
    line = f"{item}," * (8000 // (len(item) + 1))
    assert identify((name, line)) is not None
    with pytest.raises(InvalidHeaderValue, match=f"{name} header: more than 8192 characters"):
        identify((name, line), (name, line))


# --- both ---

BOTH = [
    ("X-Forwarded-For", "203.0.113.9:4711"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "EXAMPLE.com"),
]


def test_both_kinds_of_headers_may_say_the_same():
    assert identify(("Forwarded", CLAIM), *BOTH) == CLAIMED
    assert identify(("Forwarded", "by=_us"), ("X-Forwarded-Port", "80")) == Client()


@pytest.mark.parametrize(
    "fields",
    [
        [("Forwarded", CLAIM), *BOTH[1:]],
        [("Forwarded", CLAIM), *BOTH[:1], *BOTH[2:]],
        [("Forwarded", CLAIM), *BOTH[:2]],
        [("Forwarded", "for=10.0.0.9"), BOTH[0]],
        [("Forwarded", "host=evil.example"), BOTH[0]],
    ],
)
def test_both_kinds_of_headers_must_not_contradict_each_other(fields):
    with pytest.raises(InvalidHeaderValue, match="X-Forwarded headers say something else"):
        identify(*fields)


# --- anything at all ---

PIECES = [
    *["for", "proto", "host", "by", "=", ";", ",", " ", "\t", '"', "\\", ":", "[", "]", "_", "%"],
    *["10.0.0.2", "203.0.113.9", "::1", "fd00::2", "unknown", "_x", "https", "http", "example.com"],
    *["80", "99999", "a" * 70, "\xe9", "for=10.0.0.2", 'for="[fd00::1]:80"', "host=a", "proto=wss"],
]
NAMES = ["Forwarded", *[f"X-Forwarded-{name}" for name in ("For", "Proto", "Host", "Port")]]


@pytest.mark.parametrize("seed", range(20))
def test_no_value_raises_another_error(seed):
    chance = random.Random(seed)
    outcomes = {"refused": 0, "read": 0}
    for _ in range(500):
        headers = Headers()
        for name in chance.sample(NAMES, chance.randint(1, 2)):
            for _ in range(chance.randint(1, 2)):
                pieces = chance.choices(PIECES, k=chance.randint(0, 6))
                headers[name] = "".join(pieces)
        if chance.random() < 0.5:
            headers["Host"] = "".join(chance.choices(PIECES, k=chance.randint(1, 2)))
        try:
            client = PROXIES.identify(PROXY, headers)
        except InvalidHandshake:
            outcomes["refused"] += 1
        else:
            outcomes["read"] += 1
            assert isinstance(client, Client)
    assert min(outcomes.values()) > 10
