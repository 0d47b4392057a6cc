import ipaddress
import random

import pytest
from support.asking import status
from support.certificates import server_context
from support.pairs import SOON
from support.scripted import build_request, exchange, raw_client, read_head
from support.serving import messages, serving

from syncws import Router, connect, serve, unix_connect, unix_serve

LOOPBACK = ["127.0.0.0/8"]
FORWARDED = 'for="203.0.113.9:4711";proto=https;host=public.example'


@pytest.fixture(autouse=True)
def info(caplog):
    caplog.set_level("INFO")


def told(proxies=LOOPBACK, connecting=connect, **headers):
    """What a connection says after a request with these headers: address, TLS, host."""
    with serving(tell, trusted_proxies=proxies) as server:
        return received(connect(server.uri, additional_headers=fields(headers)), server.port)


def tell(ws):
    address = ws.remote_address
    ws.send(f"{address[0]} {address[1]}" if isinstance(address, tuple) else repr(address))
    ws.send(f"{ws.secure} {ws.requested_host}")


def fields(headers):
    return {name.replace("_", "-"): value for name, value in headers.items()}


def received(ws, port=None):
    with ws:
        address, rest = ws.recv(SOON), ws.recv(SOON)
    host = "127.0.0.1" if address.startswith("127.0.0.1 ") else address
    return f"{host} {rest}".replace(f":{port}", ":port")


UNTOUCHED = "127.0.0.1 False 127.0.0.1:port"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, UNTOUCHED),
        ({"Forwarded": FORWARDED}, "203.0.113.9 4711 True public.example"),
        ({"Forwarded": "for=_hidden"}, "_hidden 0 False 127.0.0.1:port"),
        ({"Forwarded": 'for="[2001:db8::1]"'}, "2001:db8::1 0 False 127.0.0.1:port"),
        ({"Forwarded": "proto=https"}, "127.0.0.1 True 127.0.0.1:port"),
        ({"Forwarded": "host=a"}, "127.0.0.1 False a"),
        ({"Forwarded": "for=198.51.100.1, for=203.0.113.9, for=127.0.0.2"}, None),
        ({"X_Forwarded_For": "198.51.100.1, 203.0.113.9, 127.0.0.2"}, None),
        (
            {
                "X_Forwarded_For": "203.0.113.9",
                "X_Forwarded_Proto": "https",
                "X_Forwarded_Host": "public.example",
                "X_Forwarded_Port": "8443",
            },
            "203.0.113.9 0 True public.example:8443",
        ),
    ],
)
def test_a_trusted_proxy_says_who_the_client_is(headers, expected):
    assert told(**headers) == (expected or "203.0.113.9 0 False 127.0.0.1:port")


@pytest.mark.parametrize("proxies", [None, [], ["10.0.0.0/8", "::/0", "unix"]])
def test_nobody_else_is_believed_or_even_read(proxies):
    assert told(proxies, Forwarded=FORWARDED) == UNTOUCHED
    assert told(proxies, Forwarded="nonsense", X_Forwarded_For="nonsense") == UNTOUCHED


def test_proxies_may_be_objects():
    assert told([ipaddress.ip_network("127.0.0.1")], Forwarded="proto=https").endswith(
        "True 127.0.0.1:port"
    )


def test_proxies_may_connect_by_ipv6():
    with serving(tell, "::1", trusted_proxies=["::1"]) as server:
        ws = connect(server.uri, additional_headers={"Forwarded": FORWARDED})
        assert received(ws) == "203.0.113.9 4711 True public.example"


@pytest.mark.parametrize(
    ("proxies", "expected"),
    [(["unix"], "203.0.113.9 4711 True public.example"), (LOOPBACK, "'' False localhost")],
)
def test_proxies_may_connect_by_a_unix_socket(tmp_path, proxies, expected):
    path = str(tmp_path / "socket")
    with unix_serve(tell, path, trusted_proxies=proxies):
        ws = unix_connect(path, additional_headers={"Forwarded": FORWARDED})
        assert received(ws) == expected


def test_a_proxy_may_say_that_the_client_does_not_use_tls():
    with serving(tell, ssl=server_context("127.0.0.1"), trusted_proxies=LOOPBACK) as server:
        for value, expected in (("proto=http", "False"), ("for=_a", "True")):
            request = build_request(Forwarded=value)
            assert tls_exchange(server, request).endswith(f"{expected} localhost".encode())


def tls_exchange(server, request):
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with raw_client(server) as sock, context.wrap_socket(sock) as tls:
        tls.sendall(request)
        assert read_head(tls).startswith(b"HTTP/1.1 101 ")
        data = b""
        while b"localhost" not in data:
            data += tls.recv(1000)
        return data.partition(b"\x88")[0]


def test_what_the_proxy_says_stays_after_the_connection_is_closed():
    def handler(ws):
        connections.append(ws)

    connections = []
    with serving(handler, trusted_proxies=LOOPBACK) as server:
        connect(server.uri, additional_headers={"Forwarded": FORWARDED}).close()
        (ws,) = connections
        assert ws.wait_closed(SOON)
    assert ws.remote_address == ("203.0.113.9", 4711)
    assert "('203.0.113.9', 4711)" in repr(ws)


# --- checks ---


@pytest.mark.parametrize(
    ("forwarded", "host", "expected"),
    [
        ("host=public.example", "inner:8765", 101),
        ("host=evil.example", "public.example", 421),
        ("for=_a", "public.example", 101),
        ("for=_a", "inner:8765", 421),
        ("host=public.example", None, 400),
    ],
)
def test_the_forwarded_host_is_the_one_that_counts(forwarded, host, expected):
    request = build_request(Forwarded=forwarded, Host=host)
    with serving(hosts=["public.example"], trusted_proxies=LOOPBACK) as server:
        assert status(exchange(server, request)) == expected
    with serving(hosts=["public.example"]) as server:
        ignored = build_request(Forwarded=forwarded, Host="evil.example")
        assert status(exchange(server, ignored)) == 421


def test_the_origin_is_compared_with_the_forwarded_host(caplog):
    with serving(trusted_proxies=LOOPBACK) as server:
        for origin, expected in (("https://public.example", 101), ("http://inner", 403)):
            request = build_request(Host="inner", Origin=origin, X_Forwarded_Host="public.example")
            assert status(exchange(server, request)) == expected
    assert messages(caplog, "WARNING") == [
        "connection from origin http://inner to host public.example refused; "
        "origins=['http://inner'] would accept it"
    ]


@pytest.mark.parametrize(
    "headers",
    [
        {"Forwarded": "for"},
        {"Forwarded": "for=localhost"},
        {"Forwarded": "proto=gopher"},
        {"X_Forwarded_For": "localhost"},
        {"X_Forwarded_Proto": "gopher"},
        {"X_Forwarded_Host": "a b"},
        {"X_Forwarded_Port": "x"},
        {"Forwarded": "for=203.0.113.9", "X_Forwarded_For": "203.0.113.8"},
    ],
)
def test_malformed_values_of_a_trusted_proxy_are_400_before_the_program_runs(caplog, headers):
    def never(*args):
        raise AssertionError("it ran")

    with serving(process_request=never, trusted_proxies=LOOPBACK) as server:
        answer = exchange(server, build_request(**headers))
    assert status(answer) == 400
    assert b"Forwarded" in answer[2]
    assert not messages(caplog, "ERROR")
    assert any("refused: invalid " in line for line in messages(caplog))


def test_functions_of_the_program_see_the_client():
    def process_request(ws, request):
        seen.append((ws.remote_address, ws.secure, ws.requested_host))

    seen = []
    router = Router()
    with serving(router, process_request=process_request, trusted_proxies=LOOPBACK) as server:
        assert status(exchange(server, build_request(Forwarded=FORWARDED))) == 404
    assert seen == [(("203.0.113.9", 4711), True, "public.example")]


@pytest.mark.parametrize(
    ("proxies", "error"),
    [("127.0.0.1", TypeError), ([1], TypeError), (["localhost"], ValueError), (7, TypeError)],
)
def test_wrong_proxies_are_refused_at_once(proxies, error):
    with pytest.raises(error, match=r"trusted.prox"):
        serve(print, trusted_proxies=proxies)


def test_anything_at_all_is_accepted_or_refused_with_400(caplog):
    chance = random.Random(1)
    pieces = ["for=", ";", ",", '"', ":", "[", "]", "127.0.0.1", "[::1]", "host=", "_a", "https"]
    names = ["Forwarded", "X_Forwarded_For", "X_Forwarded_Proto", "X_Forwarded_Host"]
    seen = set()
    with serving(lambda ws: None, trusted_proxies=LOOPBACK) as server:
        for _ in range(200):
            value = "".join(chance.choices(pieces, k=chance.randint(1, 3)))
            headers = dict.fromkeys(chance.sample(names, chance.randint(1, 2)), value)
            seen.add(status(exchange(server, build_request(**headers))))
    assert seen == {101, 400}
    assert not messages(caplog, "ERROR")
