"""How many connections there may be, in total and of one address."""

import contextlib
import socket

import pytest
from support.asking import refused_as_full
from support.pairs import SOON, run, wait_until
from support.scripted import (
    build_request,
    nothing_left,
    raw_client,
    read_all,
)
from support.serving import assert_works, echo, serving

from syncws import (
    ConnectionClosed,
    InvalidStatus,
    connect,
    serve,
    unix_connect,
    unix_serve,
)
from syncws.server.admission import address_key


@pytest.fixture(autouse=True)
def debug(caplog):
    caplog.set_level("DEBUG")


def from_address(server, address, **kwargs):
    """A connection from one of this machine's addresses."""
    sock = socket.create_connection(
        ("127.0.0.1", server.port), timeout=SOON, source_address=(address, 0)
    )
    return connect(server.uri, sock=sock, **kwargs)


# --- one address ---


def test_an_address_has_its_connections_and_others_have_theirs(caplog):
    with serving(max_connections_per_address=2) as server:
        first = [from_address(server, "127.0.0.2") for _ in range(2)]
        with pytest.raises(InvalidStatus) as info:
            from_address(server, "127.0.0.2")
        assert info.value.response.status_code == 503
        assert b"this address has its 2 connections" in info.value.response.body
        assert_works(from_address(server, "127.0.0.3"))
        first.pop().close()
        wait_until(lambda: len(server.connections) == 1)
        wait_until(lambda: len(server._roster.running) == 1)
        assert_works(from_address(server, "127.0.0.2"))
        assert server.stats().refusals == {"address": 1}
        first.pop().close()
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert record.ws_refusal == "address"
    assert "refused: this address has its 2 connections" in record.getMessage()


def test_no_thread_is_started_for_a_connection_that_is_refused():
    with serving(max_connections_per_address=1) as server, connect(server.uri):
        wait_until(lambda: server.connections)
        before = set(server._roster.running)
        with raw_client(server) as sock:
            sock.sendall(build_request())
            assert read_all(sock).startswith(b"HTTP/1.1 503 ")
            assert set(server._roster.running) == before


@pytest.mark.parametrize(
    ("address", "key"),
    [
        (("192.0.2.1", 80), bytes([192, 0, 2, 1])),
        (("::ffff:192.0.2.1", 80, 0, 0), bytes([192, 0, 2, 1])),
        (("2001:db8::1", 80, 0, 0), bytes.fromhex("20010db800000000")),
        (("2001:db8::ffff:2", 80, 0, 0), bytes.fromhex("20010db800000000")),
        (("2001:db8:0:1::1", 80, 0, 0), bytes.fromhex("20010db800000001")),
        (("64:ff9b::192.0.2.1", 80, 0, 0), bytes([192, 0, 2, 1])),
        (("64:ff9b::192.0.2.2", 80, 0, 0), bytes([192, 0, 2, 2])),
        (("64:ff9b:1::192.0.2.1", 80, 0, 0), bytes.fromhex("0064ff9b0001" + "00" * 6 + "c0000201")),
        (("64:ff9b:1:c000:2:100::", 80, 0, 0), bytes.fromhex("0064ff9b0001c00000020100" + "0" * 8)),
        (("64:ff9b:2::192.0.2.1", 80, 0, 0), bytes.fromhex("0064ff9b00020000")),
        (("fe80::1%eth0", 80, 0, 2), bytes.fromhex("fe80000000000000")),
        (("unknown", 0), None),
        (("_hidden", 0), None),
        (("un:known", 0), None),
        ("/run/socket", None),
        ("", None),
        (None, None),
        ((), None),
        ((3, 1024), None),
    ],
)
def test_what_counts_as_one_address(address, key):
    assert address_key(address) == key


def test_unix_sockets_have_no_address(tmp_path):
    path = str(tmp_path / "ws")
    limited = unix_serve(echo, path, max_connections_per_address=1)
    with limited, unix_connect(path), unix_connect(path) as ws:
        assert_works(ws)


def test_a_client_that_is_gone_has_no_address(monkeypatch):
    class Gone:
        family = socket.AF_INET

        def getpeername(self):
            raise OSError("not connected")

    with serve(echo, "127.0.0.1", max_connections_per_address=1) as server:
        assert server._entrance._admission.find_key(Gone()) is None


def test_behind_a_trusted_proxy_the_address_that_it_tells_counts(caplog):
    def through_proxy(address):
        return connect(server.uri, additional_headers={"X-Forwarded-For": address})

    with serving(max_connections_per_address=1, trusted_proxies=["127.0.0.1"]) as server:
        with through_proxy("192.0.2.1"), through_proxy("192.0.2.2") as other:
            with pytest.raises(InvalidStatus) as info:
                through_proxy("192.0.2.1")
            assert info.value.response.status_code == 503
            assert info.value.response.headers["Retry-After"] == "5"
            assert_works(other)
        wait_until(lambda: not server._roster.running)
        assert_works(through_proxy("192.0.2.1"))
        assert server.stats().refusals == {"address": 1}
    (record,) = [record for record in caplog.records if hasattr(record, "ws_refusal")]
    assert record.ws_refusal == "address"
    assert record.ws_remote_address[0] == "192.0.2.1"


def test_a_trusted_proxy_s_own_connections_count_for_itself():
    limits = {"max_connections_per_address": 1, "trusted_proxies": ["127.0.0.1"]}
    with serving(**limits) as server, connect(server.uri) as ws:
        refused_as_full(server)
        assert_works(ws)


def test_clients_that_the_proxy_does_not_tell_are_not_counted():
    headers = {"Forwarded": "for=unknown"}
    limits = {"max_connections_per_address": 1, "trusted_proxies": ["127.0.0.1"]}
    with serving(**limits) as server, connect(server.uri, additional_headers=headers):
        assert_works(connect(server.uri, additional_headers=headers))


def test_who_is_not_trusted_can_not_claim_to_be_another():
    headers = {"X-Forwarded-For": "192.0.2.1"}
    limits = {"max_connections_per_address": 1, "trusted_proxies": ["127.0.0.9"]}
    with serving(**limits) as server, connect(server.uri):
        refused_as_full(server, additional_headers=headers)


def test_counts_stay_right_with_many_clients_at_once():
    def client(number):
        for _ in range(20):
            with contextlib.suppress(InvalidStatus, OSError, ConnectionClosed):
                ws = from_address(server, f"127.0.0.{2 + number % 2}")
                ws.send("hello")
                if number % 3:
                    ws.close()
                else:
                    ws.abort()

    with serving(max_connections_per_address=2, max_connections=3) as server:
        for running in [run(client, number) for number in range(6)]:
            running.result(3 * SOON)
        wait_until(lambda: not server._roster.running)
        assert server._entrance._admission._count == 0
        assert server._entrance._admission._by_address == {}
        assert_works(connect(server.uri))


# --- arguments ---


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_connections_per_address", 0),
        ("max_connections_per_address", -1),
        ("idle_timeout", 0),
        ("idle_timeout", -1.0),
    ],
)
def test_arguments_out_of_range_are_refused(name, value):
    with nothing_left(), pytest.raises(ValueError, match=name):
        serve(echo, **{name: value})
