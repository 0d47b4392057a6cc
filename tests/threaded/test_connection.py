"""Sending and receiving."""

import errno
import logging
import threading

import pytest
from support.pairs import (
    SOON,
    connection_and_socket,
    connection_pair,
    receive_exactly,
    run,
    send_reset,
    wait_until,
)

from syncws import (
    ConcurrencyError,
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidState,
    SendTimeout,
    State,
)
from syncws.options import Options
from syncws.sansio.protocol import Protocol
from syncws.sansio.state import Role
from syncws.threaded import timekeeper, watch
from syncws.threaded.connection import Connection
from syncws.threaded.writer import Writer

#: More than the kernel buffers on the way.
HUGE = b"x" * (32 << 20)


@pytest.fixture
def pair():
    with connection_pair(max_size=None) as ends:
        yield ends


# --- sending ---


@pytest.mark.parametrize(
    "message", ["", "text", "né \N{GRINNING FACE}", b"", b"\0\xff", "x" * 126, b"y" * 70_000]
)
def test_messages_arrive_as_they_were_sent_both_ways(pair, message):
    client, server = pair
    client.send(message)
    assert server.recv(SOON) == message
    server.send(message)
    assert client.recv(SOON) == message


@pytest.mark.parametrize(
    "message",
    [
        bytearray(b"abc"),
        memoryview(b"abc"),
        memoryview(b"aXbXcX")[::2],
        memoryview(b"abc").cast("c"),
    ],
)
def test_whatever_holds_bytes_is_sent_as_binary(pair, message):
    client, server = pair
    client.send(message)
    assert server.recv(SOON) == b"abc"


def test_kind_of_message_can_be_chosen(pair):
    client, server = pair
    client.send(b"\xc3\xa9", text=True)
    assert server.recv(SOON) == "é"
    client.send("é", text=False)
    assert server.recv(SOON) == b"\xc3\xa9"


def test_bytes_that_are_not_text_are_not_sent_as_text(pair):
    client, server = pair
    with pytest.raises(UnicodeDecodeError):
        client.send(b"\xff", text=True)
    with pytest.raises(UnicodeEncodeError):
        client.send("\ud800")
    client.send("fine")
    assert server.recv(SOON) == "fine"


@pytest.mark.parametrize("message", [[], (), iter([]), {}.keys()])
def test_of_no_fragments_nothing_is_sent(pair, message):
    client, server = pair
    client.send(message)
    assert client.stats.frames_sent == 0
    client.send("after")
    assert server.recv(SOON) == "after"


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ({"a": 1}, "mapping"),
        (5, "int can't be sent"),
        (None, "NoneType can't be sent"),
        ([5], "int can't be sent"),
        (["a", 5], "int can't be sent"),
        (("a", b"b"), "all str or all bytes"),
        ([b"a", "b"], "all str or all bytes"),
        (iter([5]), "int can't be sent"),
    ],
)
def test_what_is_no_message_is_refused_and_nothing_is_sent(pair, message, complaint):
    client, server = pair
    with pytest.raises(TypeError, match=complaint):
        client.send(message)
    client.send("fine")
    assert server.recv(SOON) == "fine"


def test_iterable_is_sent_in_fragments(pair):
    client, server = pair
    client.send(["né", "", "t"])
    assert list(server.recv_streaming()) == ["né", "t"]
    client.send(iter([b"a", bytearray(b"b")]))
    assert server.recv(SOON) == b"ab"
    client.send(["single"])
    assert server.recv(SOON) == "single"
    client.send([b"\xc3\xa9", b"!"], text=True)
    assert server.recv(SOON) == "é!"


def test_text_fragment_split_in_a_character_is_refused_before_it_is_sent(pair):
    client, server = pair
    with pytest.raises(UnicodeDecodeError):
        client.send([b"\xc3", b"\xa9"], text=True)
    client.send("fine")
    assert server.recv(SOON) == "fine"


def test_error_in_the_middle_of_a_fragmented_message_fails_the_connection(pair):
    client, server = pair

    def fragments():
        yield "a"
        yield "b"
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="the file is gone"):
        client.send(fragments())
    with pytest.raises(ConnectionClosedError) as caught:
        server.recv(SOON)
    assert caught.value.rcvd.code == 1011
    assert caught.value.rcvd.reason == "error in fragmented message"


def test_other_senders_wait_for_the_end_of_a_fragmented_message_but_control_frames_do_not(pair):
    client, server = pair
    more = threading.Event()

    def fragments():
        yield "a"
        yield "b"
        assert more.wait(SOON)
        yield "c"

    fragmented = run(client.send, fragments())
    stream = server.recv_streaming()
    assert next(stream) == "a"
    other = run(client.send, "whole")
    with pytest.raises(SendTimeout, match="a fragmented message went on"):
        client.send("too late", timeout=0.05)
    assert client.ping().wait(SOON)
    assert not other.done()
    more.set()
    assert "".join(stream) == "bc"
    fragmented.result()
    other.result()
    assert server.recv(SOON) == "whole"


def test_fragments_that_send_messages_are_an_error_not_a_deadlock(pair):
    client, server = pair

    def fragments():
        yield "a"
        yield "b"
        client.send("whole")

    with pytest.raises(ConcurrencyError, match="fragments of a message"):
        client.send(fragments())
    with pytest.raises(ConnectionClosedError):
        server.recv(SOON)


def test_closing_during_a_fragmented_message_fails_the_connection_and_wakes_senders(pair):
    client, server = pair
    more = threading.Event()

    def fragments():
        yield "a"
        yield "b"
        assert more.wait(SOON)
        yield "c"

    fragmented = run(client.send, fragments())
    stream = server.recv_streaming()
    assert next(stream) == "a"
    other = run(client.send, "whole")
    client.close()
    with pytest.raises(ConnectionClosedError) as caught:
        list(stream)
    assert caught.value.rcvd.reason == "close during fragmented message"
    with pytest.raises(ConnectionClosedError):
        other.result()
    more.set()
    with pytest.raises(ConnectionClosedError):
        fragmented.result()


# --- a peer that does not read ---


def test_send_times_out_before_anything_is_written_and_the_connection_stays_usable():
    with connection_and_socket() as (connection, peer):
        filler = run(connection.send, HUGE)
        wait_until(lambda: connection.stats.bytes_sent > 0)
        with pytest.raises(SendTimeout, match="other threads kept sending"):
            connection.send("x", timeout=0.05)
        assert connection.open
        receive_exactly(peer, len(HUGE) + 14)
        filler.result()
        connection.send("after", timeout=SOON)
        assert len(receive_exactly(peer, 11)) == 11


def test_send_times_out_where_the_peer_has_no_room():
    with connection_and_socket() as (connection, peer):

        def fill():
            while True:
                connection.send(b"x" * 1000, timeout=0.05)

        with pytest.raises(SendTimeout, match="the peer did not read"):
            fill()
        assert connection.open
        sent = connection.stats.messages_sent
        receive_exactly(peer, sent * 1008)
        connection.send("x", timeout=SOON)
        assert len(receive_exactly(peer, 7)) == 7


def test_send_that_times_out_half_way_fails_the_connection():
    with connection_and_socket() as (connection, _peer):
        with pytest.raises(ConnectionClosedError) as caught:
            connection.send(HUGE, timeout=0.1)
        assert isinstance(caught.value.__cause__, TimeoutError)
        with pytest.raises(ConnectionClosedError):
            connection.send("more")


def test_send_timeout_of_the_connection_is_the_default():
    with (
        connection_and_socket(send_timeout=0.05) as (connection, _peer),
        pytest.raises(ConnectionClosedError),
    ):
        connection.send(HUGE)


def test_reset_that_a_send_was_told_of_is_the_cause_though_the_end_was_read_first(monkeypatch):
    def send_then_end(self, *_):
        self.lock.acquire()
        reader = run(connection._finish, None)  # reads the end, which is all that is left of it
        wait_until(lambda: isinstance(connection.protocol.parser_exc, EOFError))
        readers.append(reader)
        raise ConnectionResetError(errno.ECONNRESET, "reset")

    readers = []
    with connection_and_socket(ping_interval=None) as (connection, _):
        monkeypatch.setattr(Writer, "_write_frame", send_then_end)
        with pytest.raises(ConnectionClosedError) as caught:
            run(connection.send, HUGE).result()
        readers[0].result()
    assert isinstance(caught.value.__cause__, ConnectionResetError)


def test_peer_that_resets_breaks_a_send_with_the_cause_chained():
    with connection_and_socket() as (connection, peer):
        sender = run(connection.send, HUGE)
        receive_exactly(peer, 1000)
        send_reset(peer)
        with pytest.raises(ConnectionClosedError) as caught:
            sender.result()
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.code == 1006


# --- receiving ---


def test_recv_times_out_and_loses_nothing(pair):
    client, server = pair
    with pytest.raises(TimeoutError):
        server.recv(0)
    with pytest.raises(TimeoutError):
        server.recv(0.01)
    client.send("x")
    assert server.recv(SOON) == "x"


def test_recv_decodes_as_asked(pair):
    client, server = pair
    client.send("né")
    client.send(b"\xff")
    assert server.recv(SOON, decode=False) == b"n\xc3\xa9"
    with pytest.raises(UnicodeDecodeError):
        server.recv(SOON, decode=True)
    assert server.recv(SOON) == b"\xff"


def test_iteration_ends_with_a_normal_close(pair):
    client, server = pair
    for number in range(5):
        client.send(str(number))
    client.close()
    assert list(server) == ["0", "1", "2", "3", "4"]


def test_iteration_raises_where_the_connection_broke(pair):
    client, server = pair
    client.send("x")
    client.fail(1011, "trouble")
    messages = iter(server)
    assert next(messages) == "x"
    with pytest.raises(ConnectionClosedError, match="trouble"):
        next(messages)


def test_what_was_received_before_the_close_can_be_received_after_it(pair):
    client, server = pair
    client.send("a")
    client.send(["b", "c"])
    client.close()
    assert server.wait_closed(SOON)
    assert server.recv() == "a"
    assert list(server.recv_streaming()) == ["b", "c"]
    with pytest.raises(ConnectionClosedOK):
        server.recv()
    with pytest.raises(ConnectionClosedOK):
        next(server.recv_streaming())


def test_large_messages_pass_limits_that_are_for_many(pair):
    client, server = pair
    sender = run(lambda: [client.send(b"x" * 200_000) for _ in range(20)])
    assert [len(server.recv(SOON)) for _ in range(20)] == [200_000] * 20
    sender.result()


def test_slow_receiver_slows_the_sender_down_and_nothing_is_lost():
    with connection_pair(max_queue=4, read_limit=1000) as (client, server):
        count = 2000  # of 20 KB: far more than the kernel's buffers take
        sender = run(
            lambda: [client.send(f"{number:08}" + 20_000 * "x") for number in range(count)]
        )
        wait_until(server._is_paused)
        assert not sender.done()
        assert [int(server.recv(SOON)[:8]) for _ in range(count)] == list(range(count))
        sender.result()


def test_message_over_the_limit_fails_the_connection():
    with connection_pair(max_size=1000) as (client, server):
        client.send("x" * 1000)
        assert len(server.recv(SOON)) == 1000
        client.send("x" * 1001)
        with pytest.raises(ConnectionClosedError) as caught:
            server.recv(SOON)
        assert caught.value.sent.code == 1009
        assert "1001 bytes" in str(caught.value.__cause__)
        with pytest.raises(ConnectionClosedError) as caught:
            client.recv(SOON)
        assert caught.value.rcvd.code == 1009


def test_messages_before_a_violation_can_still_be_answered():
    with connection_and_socket(Role.CLIENT) as (connection, peer):
        peer.sendall(b"\x81\x02hi" + b"\x91\x00")
        assert connection.recv(SOON) == "hi"
        connection.send("yo")
        echo = receive_exactly(peer, 8)
        assert echo[:2] == b"\x81\x82"
        receiver = run(connection.recv)
        assert receive_exactly(peer, 2)[:1] == b"\x88"
        peer.close()
        with pytest.raises(ConnectionClosedError, match="reserved bits"):
            receiver.result()


# --- attributes ---


def test_attributes(pair):
    client, server = pair
    assert (client.is_client, client.side) == (True, "client")
    assert (server.is_client, server.side) == (False, "server")
    assert client.local_address == server.remote_address
    assert server.local_address == client.remote_address
    assert (client.open, client.closed, client.state) == (True, False, State.OPEN)
    assert not client.secure
    assert client.id == client.id != server.id
    assert client.close_code is client.close_reason is None
    assert client.subprotocol is client.path is client.headers is None
    assert client.request_headers is client.response_headers is None
    assert client.extensions == []
    assert client.buffered_amount == 0
    assert client.latency == 0
    client.data["user"] = "somebody"
    assert server.data == {}
    assert client.ensure_open() is None
    with pytest.raises(InvalidState):
        client.close_exc  # noqa: B018
    address = client.remote_address
    client.close(4000, "bye")
    assert (client.open, client.closed, client.state) == (False, True, State.CLOSED)
    assert (client.close_code, client.close_reason) == (4000, "bye")
    assert client.remote_address == address
    assert client.close_exc.sent.code == 4000
    with pytest.raises(ConnectionClosedError):
        client.ensure_open()
    assert repr(client).startswith("<Connection ")


def test_connection_that_is_not_open_yet_says_so():
    with connection_and_socket() as (connection, _peer):
        connection.protocol.state = State.CONNECTING
        with pytest.raises(InvalidState, match="connecting"):
            connection.ensure_open()
        connection.protocol.state = State.OPEN


def test_stats_count_both_ways(pair):
    client, server = pair
    client.send("abc")
    client.send(["a", "b"])
    assert server.recv(SOON) == "abc"
    assert server.recv(SOON) == "ab"
    assert client.ping().wait(SOON)
    wait_until(lambda: server.stats.bytes_sent)  # counted just after it is written
    sent, received = client.stats, server.stats
    assert (sent.messages_sent, sent.frames_sent) == (2, 3)
    assert (received.messages_received, received.frames_received) == (2, 4)
    assert sent.bytes_sent == received.bytes_received == 9 + 7 + 7 + 10
    assert sent.bytes_received == received.bytes_sent == 6


def test_log_records_carry_the_connection(pair, caplog):
    client, _ = pair
    with caplog.at_level(logging.INFO):
        client.logger.info("hello")
    assert caplog.records[-1].websocket is client
    assert caplog.records[-1].name == "syncws.client"


def no_thread(*_, **__):
    raise RuntimeError("can't start new thread")


def test_connection_that_gets_no_reader_thread_when_it_needs_one_is_closed(monkeypatch):
    monkeypatch.setattr("syncws.threaded.reader.threading.Thread", no_thread)
    with connection_pair() as (client, server):
        client.ping()
        assert client.wait_closed(SOON)
        with pytest.raises(ConnectionClosedError) as caught:
            client.recv(SOON)
        assert str(caught.value.__cause__) == "can't start new thread"
        assert server.wait_closed(SOON)


def test_connection_that_gets_no_timekeeper_is_closed(monkeypatch):
    with connection_pair() as (client, _):
        connection = Connection(
            client._transport, Protocol(Role.CLIENT), options=Options(ping_interval=None)
        )
        with monkeypatch.context() as patch:
            patch.setattr(timekeeper, "_timekeeper", timekeeper._Timekeeper())
            patch.setattr(watch, "_watch", watch._Watch())
            patch.setattr(threading.Thread, "start", no_thread)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                connection._start()
        assert connection.closed


def test_message_that_can_not_be_sent_does_no_harm_to_another_threads_fragmented_one(pair):
    client, server = pair
    begun, go_on = threading.Event(), threading.Event()

    def fragments():
        yield "a"
        yield "b"
        begun.set()
        assert go_on.wait(SOON)
        yield "c"

    sender = run(client.send, fragments())
    assert begun.wait(SOON)
    with pytest.raises(TypeError):
        client.send(["d", b"e"])
    with pytest.raises(SendTimeout):
        client.send(["d", "e"], timeout=0.01)
    go_on.set()
    sender.result()
    assert server.recv(SOON) == "abc"
    assert client.open


def test_who_waits_for_a_fragmented_message_that_breaks_is_told_that_the_connection_failed():
    with connection_pair() as (client, server):
        begun, go_on = threading.Event(), threading.Event()

        def fragments():
            yield "a"
            yield "b"
            begun.set()
            assert go_on.wait(SOON)
            raise ZeroDivisionError

        sender = run(client.send, fragments())
        assert begun.wait(SOON)
        waiting = [run(client.send, "x") for _ in range(4)]
        message = client._writer._fragmented
        wait_until(lambda: len(message.done._waiters) == 4)
        fail = client._fail
        woken_before = []
        client._fail = lambda *args: (woken_before.append(message.done.is_set()), fail(*args))
        go_on.set()
        with pytest.raises(ZeroDivisionError):
            sender.result()
        for waiter in waiting:
            with pytest.raises(ConnectionClosedError):
                waiter.result()
        assert woken_before == [False]
        with pytest.raises(ConnectionClosedError, match="error in fragmented message"):
            server.recv(SOON)


def test_control_frame_that_finds_who_waits_for_a_fragmented_message_at_the_lock_is_written(pair):
    client, _ = pair
    more = threading.Event()

    def fragments():
        yield "a"
        yield "b"
        # What drain() leaves to whoever has the write lock.
        with client._state_lock:
            client.protocol.send_ping(b"left")
        waiting.append(run(client.send, "whole"))
        assert more.wait(SOON)

    waiting = []
    sender = run(client.send, fragments())
    wait_until(lambda: waiting and client._writer._fragmented.done._waiters)
    wait_until(lambda: not client.protocol.has_output, 1)
    more.set()
    sender.result()
    waiting[0].result()
