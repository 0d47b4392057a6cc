"""Both ends of a connection, for tests: syncws.testing.pair()."""

import contextlib
import threading
import time

import pytest
from support.pairs import SOON, run

import syncws
from syncws import ConnectionClosedError, ConnectionClosedOK, InvalidStatus, PayloadTooBig
from syncws.testing import Pair, pair


def test_messages_go_both_ways():
    with pair() as (client, server):
        client.send("hello")
        assert server.recv(SOON) == "hello"
        server.send(b"\x00\xff")
        assert client.recv(SOON) == b"\x00\xff"


def test_messages_wait_for_who_receives():
    with pair() as (client, server):
        for number in range(100):
            client.send(str(number), timeout=SOON)
        assert [server.recv(SOON) for _ in range(100)] == [str(number) for number in range(100)]


def test_ends_are_what_programs_have():
    with pair() as ends:
        assert isinstance(ends, Pair)
        assert isinstance(ends.client, syncws.ClientConnection)
        assert isinstance(ends.server, syncws.ServerConnection)
        assert ends.client.open
        assert ends.server.open
        assert ends.server.server is None


def test_opening_handshake_is_a_real_one():
    with pair("/room?id=1", headers={"Cookie": "a=b"}, subprotocol="chat") as (client, server):
        assert server.request.path == "/room?id=1"
        assert server.request.headers["Cookie"] == "a=b"
        assert server.request.headers["Host"] == "localhost"
        assert client.response.status_code == 101
        assert client.subprotocol == server.subprotocol == "chat"


def test_ends_have_addresses_as_over_a_network():
    with pair() as (client, server):
        host, port = server.remote_address[:2]
        assert host == "127.0.0.1"
        assert isinstance(port, int)
        assert client.local_address == server.remote_address
        assert client.remote_address == server.local_address


def test_closing_handshake_is_a_real_one():
    with pair() as (client, server):
        client.close(4000, "enough")
        with pytest.raises(ConnectionClosedError) as info:
            server.recv(SOON)
        assert info.value.rcvd == syncws.Close(4000, "enough")


def test_nothing_happens_by_itself_by_default():
    with pair() as (client, server):
        for end in (client, server):
            assert end.options.ping_interval is None
            assert end.protocol.extensions == []


def test_compression():
    with pair(compression="deflate") as (client, server):
        client.send("x" * 10000)
        assert server.recv(SOON) == "x" * 10000
        assert client.stats.bytes_sent < 1000


def test_options_are_for_both_ends_or_one():
    with pair(
        max_size=10,
        max_queue=3,
        client_options={"close_timeout": 1},
        server_options={"max_size": 20, "extra_headers": {"X-Test": "yes"}},
    ) as (client, server):
        assert (client.options.max_queue, server.options.max_queue) == (3, 3)
        assert (client.options.close_timeout, server.options.close_timeout) == (1, 10)
        assert client.response.headers["X-Test"] == "yes"
        client.send("x" * 20)
        assert server.recv(SOON) == "x" * 20
        server.send("x" * 11)
        with pytest.raises(ConnectionClosedError) as info:
            client.recv(SOON)
        assert isinstance(info.value.__cause__, PayloadTooBig)


def test_subclasses_are_made():
    class Mine(syncws.ServerConnection):
        pass

    with pair(server_options={"create_connection": Mine}) as (_, server):
        assert type(server) is Mine


def test_refusal_is_raised_and_leaves_nothing_behind():
    options = {"process_request": lambda ws, request: ws.respond(403, "no")}
    with pytest.raises(InvalidStatus) as info:
        pair(server_options=options)
    assert info.value.response.body == b"no"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"server_options": {"router": None}}, "router= isn't an option of the server's end"),
        ({"server_options": {"nonsense": 1}}, "nonsense= isn't an option of the server's end"),
        ({"client_options": {"nonsense": 1}}, "nonsense"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_wrong_options_are_refused(options, error):
    with pytest.raises(TypeError, match=error):
        pair(**options)


def test_failing_factory_is_raised():
    def create(*args, **kwargs):
        raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        pair(server_options={"create_connection": create})


def test_end_of_the_block_closes_both():
    with pair() as (client, server):
        pass
    assert client.closed
    assert server.closed
    with pytest.raises(ConnectionClosedOK):
        client.recv()


def test_failure_in_the_block_goes_on():
    with pytest.raises(ZeroDivisionError), pair() as (client, _):
        1 / 0  # noqa: B018
    assert client.closed


def test_closing_is_quick_whatever_the_ends_are_in():
    def flood(ws):
        with contextlib.suppress(syncws.ConnectionClosed):
            while True:
                ws.send(b"x" * 100_000)

    with pair() as (client, server):
        flooding = [run(flood, client), run(flood, server)]
        threading.Event().wait(0.05)  # some is under way by then, or not: both must work
        began = time.monotonic()
    assert time.monotonic() - began < 5
    for each in flooding:
        each.result()


def test_what_does_not_end_is_cut(monkeypatch):
    monkeypatch.setattr("syncws.testing.pairing.END_TIMEOUT", 0)
    ends = pair()
    ends.close()
    assert [end.wait_closed(SOON) for end in ends] == [True, True]


def test_one_end_may_be_gone_already():
    ends = pair()
    ends.client.abort()
    ends.close()
    ends.close()
    assert ends.server.closed


def test_unpacked_ends_are_closed_one_by_one():
    client, server = pair()
    client.close()
    server.close()
    assert client.closed
    assert server.closed
