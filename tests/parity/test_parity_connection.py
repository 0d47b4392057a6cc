"""A connection: its parameters and methods. Attributes are in another module."""

import io
import itertools
import logging
import pydoc
import threading
import time

import pytest
from support.ends import bare_client, both_ends
from support.pairs import SOON, receive_exactly, run, wait_until
from support.scripted import read_all
from support.serving import serving
from support.wire import KEY, build_frame, parse_frames

from syncws import (
    ClientConnection,
    ClientProtocol,
    ConcurrencyError,
    Connection,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    Frame,
    InvalidState,
    Opcode,
    ProtocolError,
    SendTimeout,
    ServerConnection,
    ServerProtocol,
    State,
    connect,
)


def hint(ws, name):
    """What the error says that asking for an attribute raises."""
    assert not hasattr(ws, name)
    with pytest.raises(AttributeError) as info:
        getattr(ws, name)
    message, _, advice = str(info.value).partition("; ")
    assert message == f"{type(ws).__name__} has no attribute {name!r}"
    return advice


# --- parameters ---


def test_M1_a_logger_can_be_given_to_both_ends(caplog):
    mine = logging.getLogger("mine")
    with both_ends({"logger": mine}, logger=mine) as ends:
        for ws in ends:
            ws.logger.warning("hello")
            assert caplog.records[-1].name == "mine"
            assert caplog.records[-1].websocket is ws


def test_M2_pings_come_every_20_seconds_and_none_is_off():
    with both_ends() as ends:
        assert [ws.options.ping_interval for ws in ends] == [20, 20]
    with bare_client(ping_interval=None, close_timeout=0.1) as (sock, ws):
        ws.close(4000)
        assert read_all(sock) == build_frame(0x88, b"\x0f\xa0")
    with pytest.raises(ValueError, match="ping_interval can't be 0; None turns keepalive off"):
        connect("ws://localhost/", ping_interval=0)


def test_M3_without_a_pong_the_connection_fails_with_1011():
    with bare_client(ping_interval=0.02, ping_timeout=0.02) as (_, ws):
        with pytest.raises(ConnectionClosedError) as info:
            ws.recv(SOON)
        assert (info.value.sent.code, info.value.sent.reason) == (1011, "keepalive ping timeout")


def test_M4_closing_takes_close_timeout_at_most():
    with bare_client(close_timeout=0.05) as (_, ws):
        start = time.monotonic()
        ws.close()
        assert 0.05 <= time.monotonic() - start < 5
    with both_ends() as ends:
        assert [ws.options.close_timeout for ws in ends] == [10, 10]


def test_M5_a_larger_message_ends_in_ConnectionClosedError():
    with both_ends(max_size=100) as (client, server):
        assert client.protocol.max_size == 2**20
        client.send("x" * 101)
        with pytest.raises(ConnectionClosedError) as info:
            server.recv(SOON)
        assert info.value.sent.code == 1009


def test_M6_a_full_queue_pauses_reading_and_raises_nothing():
    with both_ends(max_queue=1, compression=None) as (client, server):
        sending = run(lambda: [client.send(bytes(2**18)) for _ in range(32)])
        wait_until(server._is_paused)
        assert sum(len(server.recv(SOON)) for _ in range(32)) == 2**23
        sending.result()
        assert client.options.max_queue == 16


def test_M7_read_limit_is_of_bytes_that_wait_and_not_of_one_message():
    with both_ends(read_limit=10) as (client, server):
        client.send("x" * 1000)
        assert server.recv(SOON) == "x" * 1000
        assert client.options.read_limit == 2**16


def test_M8_write_limit_is_of_bytes_that_wait_and_not_of_one_message():
    with both_ends(write_limit=10) as (client, server):
        server.send("x" * 1000)
        assert client.recv(SOON) == "x" * 1000
        assert client.options.write_limit == 2**16


def test_M11_secure_tells_whether_there_is_tls():
    with both_ends() as (client, server):
        assert client.secure is server.secure is False


def test_M12_recv_raises_at_the_end_and_iteration_ends():
    with both_ends() as (client, server):
        server.send("last")
        server.close()
        assert list(client) == ["last"]
        with pytest.raises(ConnectionClosedOK):
            client.recv(SOON)
        assert hint(client, "legacy_recv").startswith("recv() raises ConnectionClosed at the end")
    with pytest.raises(TypeError, match="legacy_recv"):
        connect("ws://localhost/", legacy_recv=True)


def test_M13_there_is_no_event_loop_and_the_error_says_so():
    with both_ends() as (client, server):
        for ws in (client, server):
            for name in ("loop", "get_loop"):
                assert hint(ws, name).startswith("there is no event loop: threads do its work")
    with pytest.raises(TypeError, match="loop"):
        connect("ws://localhost/", loop=None)


# --- closing ---


def test_M15_closing_tells_code_and_reason_and_is_idempotent():
    with both_ends() as (client, server):
        client.close(4001, "enough")
        client.close(4002, "again")
        with pytest.raises(ConnectionClosedError) as info:
            server.recv(SOON)
        assert (info.value.rcvd.code, info.value.rcvd.reason) == (4001, "enough")
        assert client.closed
    with both_ends() as (client, server):
        client.close()
        assert server.wait_closed(SOON)
        assert (server.close_code, server.close_reason) == (1000, "")


def test_M15_any_thread_may_close_and_wakes_the_others():
    with both_ends() as (client, _):
        receiving = [run(client.recv) for _ in range(3)]
        run(client.close).result()
        for thread in receiving:
            with pytest.raises(ConnectionClosedOK):
                thread.result()


# --- receiving and sending ---


def test_M16_a_timeout_loses_nothing():
    with both_ends() as (client, server):
        for timeout in (0, 0.01):
            with pytest.raises(TimeoutError):
                client.recv(timeout)
        server.send("hello")
        assert client.recv(timeout=SOON) == "hello"
        server.send("€")
        assert client.recv(SOON, decode=False) == "€".encode()
        server.send(b"\xff")
        with pytest.raises(UnicodeDecodeError):
            client.recv(SOON, decode=True)
        assert client.recv(SOON) == b"\xff"


def test_M16_several_threads_may_receive_and_each_message_goes_to_one():
    def receive():
        return list(client)

    with both_ends() as (client, server):
        threads = [run(receive) for _ in range(3)]
        server.send_many(map(str, range(300)))
        server.close()
        received = [thread.result() for thread in threads]
    assert sorted(itertools.chain(*received), key=int) == [str(number) for number in range(300)]
    for messages in received:
        assert messages == sorted(messages, key=int)


def test_M17_text_bytes_and_fragments_can_be_sent():
    with both_ends() as (client, server):
        for message, received in (
            ("text", "text"),
            (b"bytes", b"bytes"),
            (bytearray(b"bytes"), b"bytes"),
            (memoryview(b"bytes"), b"bytes"),
            (["in ", "three ", "fragments"], "in three fragments"),
            ((piece for piece in (b"in ", b"two")), b"in two"),
        ):
            client.send(message)
            assert server.recv(SOON) == received
        client.send(b"bytes", text=True)
        assert server.recv(SOON) == "bytes"
        client.send("x" * 1000, compress=False)
        assert server.recv(SOON) == "x" * 1000


@pytest.mark.parametrize("message", [{"a": 1}, 1, None])
def test_M17_what_can_not_be_sent_is_a_TypeError(message):
    with both_ends() as (client, _):
        with pytest.raises(TypeError, match="can't be sent"):
            client.send(message)
        assert client.open


def test_M17_senders_wait_for_a_fragmented_message():
    started, go_on = threading.Event(), threading.Event()

    def fragments():
        yield "a"
        yield "b"
        started.set()  # and "a" was sent: it is not the last
        assert go_on.wait(SOON)
        yield "c"

    with both_ends() as (client, server):
        first = run(client.send, fragments())
        assert started.wait(SOON)
        second = run(client.send, "second")
        with pytest.raises(SendTimeout):
            client.send("too late", timeout=0.01)
        assert not second.done()
        go_on.set()
        first.result()
        second.result()
        assert [server.recv(SOON), server.recv(SOON)] == ["abc", "second"]


def test_M18_waiting_for_the_end_tells_whether_it_came():
    with both_ends() as (client, server):
        assert client.wait_closed(0) is False
        waiting = run(client.wait_closed)
        server.close()
        assert waiting.result() is True


@pytest.mark.parametrize("row", ["close_connection", "close_transport"])
def test_M19_aborting_cuts_the_connection_without_a_handshake(row):
    with bare_client() as (sock, ws):
        assert "abort()" in hint(ws, row)
        ws.abort()
        assert read_all(sock) == b""
        assert ws.wait_closed(SOON)
        assert ws.close_code == 1006


def test_M20_who_waits_for_a_pong_learns_that_there_will_be_none():
    with bare_client() as (sock, ws):
        ping = ws.ping()
        waiting = run(ping.wait)
        sock.close()
        with pytest.raises(ConnectionClosed):
            waiting.result()
        assert "wait() of a ping raises ConnectionClosed" in hint(ws, "abort_pings")


def test_M21_aborting_wakes_whoever_waits():
    with both_ends() as (client, server):
        receiving = run(client.recv)
        client.abort()
        with pytest.raises(ConnectionClosedError):
            receiving.result()
        assert server.wait_closed(SOON)
        assert hint(client, "close_transport") == "use abort()"


def test_M22_the_exception_of_the_end_can_be_had():
    with both_ends() as (client, server):
        with pytest.raises(InvalidState, match="connection is open, not closed"):
            client.close_exc  # noqa: B018
        assert hint(client, "connection_closed_exc") == "use close_exc"
        client.close()
        assert isinstance(client.close_exc, ConnectionClosedOK)
        assert server.wait_closed(SOON)
        assert server.close_exc.rcvd.code == 1000


def test_M25_the_state_tells_whether_a_connection_is_open():
    with both_ends() as (client, _):
        assert client.state is State.OPEN
        assert hint(client, "connection_open") == "it is no event; use state or open"
        client.close()
        assert client.state is State.CLOSED


def test_M26_data_received_is_receive_data_without_io():
    protocol = ServerProtocol(state=State.OPEN)
    protocol.receive_data(build_frame(0x81, b"hello", KEY))
    assert protocol.events_received() == ["hello"]
    with both_ends() as (client, _):
        assert "receive_data()" in hint(client, "data_received")


def test_M27_flushing_waits_until_all_is_written():
    with bare_client(compression=None, close_timeout=0.05) as (sock, ws):
        assert ws.buffered_amount == 0
        ws.flush(SOON)
        sending = run(ws.send, bytes(1 << 26))
        assert sock.recv(1)  # it is under way, and too long for buffers
        ws.ping()
        assert ws.buffered_amount > 0
        with pytest.raises(TimeoutError):
            ws.flush(0.01)
        assert "flush()" in hint(ws, "drain")
        ws.close()
        with pytest.raises(ConnectionClosedError):
            sending.result()


def test_M28_ensure_open_raises_why_nothing_can_be_sent():
    with both_ends() as (client, server):
        client.ensure_open()
        server.close(4000)
        with pytest.raises(ConnectionClosedError) as info:
            client.ensure_open()
        assert info.value.rcvd.code == 4000


def test_M29_eof_received_is_receive_eof_without_io():
    protocol = ServerProtocol(state=State.OPEN)
    protocol.receive_eof()
    assert protocol.state is State.CLOSED
    assert protocol.close_code == 1006
    with both_ends() as (client, _):
        assert "receive_eof()" in hint(client, "eof_received")


def test_M30_failing_tells_why_and_does_not_wait():
    with bare_client(close_timeout=0.1) as (sock, ws):
        ws.fail()
        assert read_all(sock) == build_frame(0x88, b"\x03\xf3")
        assert ws.wait_closed(SOON)
    with both_ends() as (client, server):
        server.fail(4000, "broken")
        with pytest.raises(ConnectionClosedError) as info:
            client.recv(SOON)
        assert (info.value.rcvd.code, info.value.rcvd.reason) == (4000, "broken")


# --- pings and frames ---


def test_M31_one_thread_sends_pings_and_ping_sends_one_more():
    with bare_client(ping_interval=0.02, ping_timeout=None) as (sock, ws):
        assert receive_exactly(sock, 2) == b"\x89\x04"
        assert "ping()" in hint(ws, "keepalive_ping")
    with bare_client(ping_interval=None) as (sock, ws):
        ws.ping("one")
        assert receive_exactly(sock, 5) == build_frame(0x89, b"one")


@pytest.mark.parametrize("name", ["pause_writing", "resume_writing"])
def test_M32_sends_block_instead_of_pausing(name):
    with both_ends() as (client, _):
        assert hint(client, name).startswith("send() blocks while the peer does not read")


def test_M33_a_ping_is_waited_for_and_has_a_latency():
    with both_ends() as (client, _):
        assert client.latency == 0
        ping = client.ping()
        assert ping.wait(SOON) is True
        assert 0 < ping.latency == client.latency < SOON
        assert client.ping(b"data").wait(SOON) is True
        assert client.ping("text").wait(SOON) is True


def test_M33_a_ping_that_is_not_answered_and_one_that_waits_already():
    with bare_client(ping_interval=None) as (sock, ws):
        ping = ws.ping(b"same")
        assert ping.wait(0.01) is False
        assert ping.latency is None
        with pytest.raises(ConcurrencyError, match="waits for its pong already") as info:
            ws.ping(b"same")
        assert isinstance(info.value, RuntimeError)
        sock.sendall(build_frame(0x8A, b"same", KEY))
        assert ping.wait(SOON) is True


def test_M34_a_pong_needs_no_ping():
    with bare_client(ping_interval=None) as (sock, ws):
        ws.pong()
        ws.pong(b"data")
        assert receive_exactly(sock, 8) == build_frame(0x8A) + build_frame(0x8A, b"data")
        with pytest.raises(ProtocolError, match="at most 125 bytes"):
            ws.pong(bytes(126))


def test_M35_a_message_comes_in_its_fragments_and_pings_are_answered_on_the_way():
    with bare_client(ping_interval=None) as (sock, ws):
        sock.sendall(
            build_frame(0x01, b"one ", KEY)
            + build_frame(0x89, b"?", KEY)
            + build_frame(0x80, b"two", KEY)
        )
        assert "".join(ws.recv_streaming()) == "one two"
        assert receive_exactly(sock, 3) == build_frame(0x8A, b"?")
        assert hint(ws, "read_data_frame").startswith("use recv_streaming()")


def test_M36_frames_are_parsed_without_io():
    protocol = ServerProtocol(state=State.OPEN)
    protocol.receive_data(build_frame(0x01, b"one", KEY) + build_frame(0x89, b"two", KEY))
    frames = protocol.events_received()
    assert frames == [Frame(Opcode.TEXT, b"one", False), Frame(Opcode.PING, b"two")]
    with both_ends() as (client, _):
        assert hint(client, "read_frame").startswith("use recv_streaming()")


def test_M37_a_message_is_always_whole_or_comes_in_pieces():
    with both_ends() as (client, server):
        for _ in range(2):
            client.send(["one ", "two ", "three"])
        assert server.recv(SOON) == "one two three"
        assert "".join(server.recv_streaming()) == "one two three"
        assert hint(server, "read_message").endswith("use recv(), recv_streaming() or iterate")


def test_M38_nothing_is_to_be_resumed():
    with both_ends() as (_, server):
        assert "flow needs no other control" in hint(server, "resume_writing")


def test_M39_the_library_reads_by_itself():
    with bare_client(ping_interval=None) as (sock, ws):
        sock.sendall(build_frame(0x89, b"nobody receives", KEY))
        assert receive_exactly(sock, 17) == build_frame(0x8A, b"nobody receives")
        assert hint(ws, "transfer_data").startswith("the library reads by itself")


def test_M40_waiting_for_the_end_has_a_limit():
    with both_ends() as (client, server):
        assert client.wait_closed(0.01) is False
        server.abort()
        assert client.wait_closed(SOON) is True
        assert "wait_closed(timeout)" in hint(client, "wait_for_connection_lost")


def test_M41_a_close_frame_is_written_once():
    protocol = ServerProtocol(state=State.OPEN)
    protocol.send_close(1001, "bye")
    assert b"".join(protocol.data_to_send()) == build_frame(0x88, b"\x03\xe9bye")
    with pytest.raises(InvalidState, match="connection is closing"):
        protocol.send_close(1001)
    with both_ends() as (client, _):
        assert hint(client, "write_close_frame").startswith("use close(code, reason)")


def test_M42_a_message_is_sent_in_frames():
    with bare_client(compression=None) as (sock, ws):
        ws.send(["one", "two", "three"])
        expected = [(0x01, b"one"), (0x00, b"two"), (0x80, b"three")]
        data = b"".join(build_frame(*frame) for frame in expected)
        assert parse_frames(receive_exactly(sock, len(data)), masked=False) == expected
        assert hint(ws, "write_frame").startswith("use send([...])")


def test_M42_single_frames_are_written_without_io():
    protocol = ClientProtocol("ws://localhost/", state=State.OPEN)
    protocol.send_text(b"one", fin=False)
    protocol.send_ping(b"between")
    protocol.send_continuation(b"two", fin=True)
    frames = parse_frames(b"".join(protocol.data_to_send()), masked=True)
    assert frames == [(0x01, b"one"), (0x89, b"between"), (0x80, b"two")]


def test_M43_writing_a_frame_without_waiting_is_for_protocols_without_io():
    protocol = ServerProtocol(state=State.OPEN)
    protocol.send_binary(b"data")
    assert protocol.data_to_send() == [build_frame(0x82, b"data")]
    with both_ends() as (_, server):
        assert hint(server, "write_frame_sync").startswith("use send([...])")


# --- names that are not there ---


def test_M55_names_that_are_not_there_are_like_others_in_all_but_the_hint():
    with both_ends() as (client, server):
        for ws in (client, server):
            assert getattr(ws, "drain", None) is None
            with pytest.raises(AttributeError, match="'nonsense'"):
                ws.nonsense  # noqa: B018
        client.drain = "the program's own"
        assert client.drain == "the program's own"
    for cls in (Connection, ClientConnection, ServerConnection):
        assert not hasattr(cls, "loop")
        assert "__getattr__" not in dir(cls)  # it would slow down all attributes
        output = io.StringIO()
        pydoc.Helper(output=output).help(cls)
        assert "recv" in output.getvalue()


def test_M55_a_subclass_may_have_attributes_of_these_names():
    class Mine(ClientConnection):
        host = "mine"

        def drain(self):
            return self.buffered_amount

    with serving() as server, connect(server.uri, create_connection=Mine) as ws:
        assert (ws.host, ws.drain()) == ("mine", 0)
