"""``WebSocket`` and ``create_connection()``, websocket-client's calls: what they do."""

import os
import pickle
import socket
import ssl
import threading

import pytest
from support.certificates import contexts
from support.pairs import SOON, receive_exactly, run, wait_until
from support.scripted import (
    build_response,
    nothing_left,
    read_head,
    scripted_server,
)
from support.serving import serving
from support.websockets import connecting, forever, sends, sends_and_ends
from support.wire import build_frame, parse_frames

import syncws
from syncws import styles as websocket
from syncws.styles import ABNF
from syncws.styles.websocket_client.frame_connection import MAX_CONTROLS, Controls

# --- sending and receiving ---


@pytest.mark.parametrize(
    ("method", "message", "received"),
    [
        ("send", "hällo", "hällo"),
        ("send", b"in UTF-8", "in UTF-8"),
        ("send_text", "text", "text"),
        ("send_bytes", b"\x00\xff", b"\x00\xff"),
        ("send_binary", bytearray(b"\x00\xff"), b"\x00\xff"),
        ("send_text", "", ""),
        ("send_binary", b"", b""),
    ],
)
def test_message_is_echoed(method, message, received):
    with serving() as server, connecting(server) as ws:
        getattr(ws, method)(message)
        assert ws.recv() == received


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
@pytest.mark.parametrize("character", ["a", "ä"])
def test_sending_returns_the_bytes_of_the_frame(size, character):
    with serving() as server, connecting(server) as ws:
        for message in (character * size, (character * size).encode()):
            frame = ABNF.create_frame(message, ABNF.OPCODE_TEXT)
            assert ws.send(message) == len(frame.format())


def test_opcode_says_what_is_sent():
    with serving() as server, connecting(server) as ws:
        ws.send("ascii", ABNF.OPCODE_BINARY)
        assert ws.recv_data() == (ABNF.OPCODE_BINARY, b"ascii")
        ws.send("text", opcode=ABNF.OPCODE_TEXT)
        assert ws.recv_data() == (ABNF.OPCODE_TEXT, b"text")
        ws.send(b"ping", ABNF.OPCODE_PING)
        assert ws.recv_data(control_frame=True) == (ABNF.OPCODE_PONG, b"ping")
        ws.send(b"\x03\xe9gone", ABNF.OPCODE_CLOSE)
        assert ws.recv_data() == (ABNF.OPCODE_CLOSE, b"\x03\xe9gone")
    with serving() as server, connecting(server) as ws:
        ws.send(b"", ABNF.OPCODE_CLOSE)
        assert ws.recv_data() == (ABNF.OPCODE_CLOSE, b"")


@pytest.mark.parametrize(
    ("payload", "opcode", "error"),
    [
        ("ä", ABNF.OPCODE_BINARY, TypeError),
        (17, ABNF.OPCODE_TEXT, TypeError),
        (17, ABNF.OPCODE_PING, TypeError),
        (b"\xff", ABNF.OPCODE_TEXT, UnicodeDecodeError),
        ("x", 3, ValueError),
        ("x" * 126, ABNF.OPCODE_PING, websocket.WebSocketProtocolException),
        ("x" * 126, ABNF.OPCODE_PONG, websocket.WebSocketProtocolException),
    ],
)
def test_what_cannot_be_sent_leaves_the_connection_usable(payload, opcode, error):
    with serving() as server, connecting(server) as ws:
        with pytest.raises(error):
            ws.send(payload, opcode)
        ws.send("still there")
        assert ws.recv() == "still there"


def test_message_of_several_mebibytes_is_received():
    with serving(max_size=None) as server, connecting(server) as ws:
        message = os.urandom(3 << 20)
        sending = run(ws.send_binary, message)
        assert ws.recv() == message
        sending.result()


def test_options_of_connect_are_passed_on():
    with serving() as server, connecting(server, max_size=1000, compression="deflate") as ws:
        assert ws.connection.extensions
        ws.send("x" * 1001)
        with pytest.raises(websocket.WebSocketPayloadException) as info:
            ws.recv()
        assert isinstance(info.value, websocket.WebSocketConnectionClosedException)
        assert info.value.sent.code == websocket.STATUS_MESSAGE_TOO_BIG


def test_iterating_receives_until_that_raises():
    def count(ws):
        for i in range(3):
            ws.send(str(i))

    with serving(count) as server:
        with connecting(server) as ws:
            assert (next(ws), ws.next()) == ("0", "1")
            messages = iter(ws)
            assert (next(messages), next(messages)) == ("2", "")  # the close frame
            with pytest.raises(websocket.WebSocketConnectionClosedException):
                next(messages)
        with connecting(server) as ws:
            received = []
            while ws.connected:
                try:
                    received.append(ws.recv())
                except websocket.WebSocketConnectionClosedException:  # closed since the look
                    break
            assert received in (["0", "1", "2"], ["0", "1", "2", ""])  # the close frame


def test_connected_while_messages_are_left():
    with sends_and_ends((0x89, b"1"), (0x81, b"a"), (0x8A, b"2"), (0x88, b"\x03\xe8")) as server:
        ws = connecting(server)
        wait_until(lambda: ws.connection.closed)
        assert ws.connected
        assert ws.recv_data(True) == (ABNF.OPCODE_PING, b"1")
        assert ws.connected
        assert ws.recv() == "a"
        assert not ws.connected
        assert ws.recv_data(True) == (ABNF.OPCODE_PONG, b"2")
        assert ws.recv_data(True) == (ABNF.OPCODE_CLOSE, b"\x03\xe8")
        with pytest.raises(websocket.WebSocketConnectionClosedException):
            ws.recv_data(True)


# --- control frames and fragments ---


def test_control_frames_are_received_in_order_if_wanted():
    frames = ((0x89, b"1"), (0x8A, b"2"), (0x81, b"a"), (0x89, b"3"), (0x82, b"b"))
    with sends(*frames) as server, connecting(server, close_timeout=0.05) as ws:
        seen = [ws.recv_data(control_frame=True) for _ in frames]
        assert seen == [(first & 15, data) for first, data in frames]
    with sends(*frames) as server, connecting(server, close_timeout=0.05) as ws:
        assert [ws.recv_data(), ws.recv()] == [(ABNF.OPCODE_TEXT, b"a"), b"b"]
    with sends(*frames) as server, connecting(server, close_timeout=0.05) as ws:
        assert [ws.recv_frame().opcode for _ in frames] == [first & 15 for first, _ in frames]


def test_control_frames_within_a_message_come_after_it():
    frames = ((0x01, b"a"), (0x89, b"1"), (0x00, b"b"), (0x8A, b"2"), (0x80, b"c"), (0x89, b"3"))
    with sends(*frames) as server, connecting(server, close_timeout=0.05) as ws:
        seen = [ws.recv_data(control_frame=True) for _ in range(4)]
        assert seen == [(1, b"abc"), (9, b"1"), (10, b"2"), (9, b"3")]


def test_close_frame_within_a_message_is_received():
    frames = ((0x01, b"a"), (0x89, b"1"), (0x88, b"\x03\xe8"))
    with sends_and_ends(*frames) as server, connecting(server) as ws:
        assert ws.recv_data() == (8, b"\x03\xe8")
        with pytest.raises(websocket.WebSocketConnectionClosedException):
            ws.recv_data()


def test_close_frame_is_received_behind_any_number_of_messages():
    frames = [(0x81, b"%d" % number) for number in range(100)]
    with sends_and_ends(*frames, (0x88, b"\x0f\xa1bye")) as server, connecting(server) as ws:
        wait_until(lambda: not ws.connection.open)
        for number in range(100):
            assert ws.recv_data() == (1, b"%d" % number)
        assert ws.recv_data() == (8, b"\x0f\xa1bye")
        with pytest.raises(websocket.WebSocketConnectionClosedException):
            ws.recv_data()


def test_program_that_only_sends_answers_pings_all_the_same():
    pings = 5 * MAX_CONTROLS
    pongs = threading.Event()

    def script(sock):
        sock.sendall(build_response(read_head(sock)))
        for i in range(pings):
            sock.sendall(build_frame(0x89, b"%03d" % i))
            # One at a time: only the newest ping is owed a pong.
            frame = receive_exactly(sock, 9)
            assert parse_frames(frame, masked=True) == [(0x8A, b"%03d" % i)]
        pongs.set()
        sock.sendall(build_frame(0x81, b"done"))
        receive_exactly(sock, 8)  # a close frame
        sock.sendall(build_frame(0x88, b"\x03\xe8"))

    with scripted_server(script) as server, connecting(server) as ws:
        assert pongs.wait(SOON)
        wait_until(lambda: ws.connection._queue.count == 2)  # pings are one, whatever their number
        seen = [ws.recv_data(control_frame=True) for _ in range(MAX_CONTROLS)]
        assert seen[-1] == (9, b"%03d" % (pings - 1))  # the newest are there
        assert ws.recv() == "done"


def test_control_frame_is_neither_lost_nor_doubled_when_taken_meanwhile():
    controls = Controls(0)
    first, second = (syncws.Frame(syncws.Opcode.PING, data) for data in (b"1", b"2"))
    assert controls.add(first)
    assert controls.take() == [first]
    assert not controls.add(second)
    assert controls.take() == []


def test_control_frame_that_was_taken_while_it_was_added_is_taken_once():
    controls = Controls(0)
    frame = syncws.Frame(syncws.Opcode.PING, b"1")

    class Meanwhile(type(controls._frames)):
        def append(self, item):
            super().append(item)
            taken.extend(controls.take())

    taken = []
    controls._frames = Meanwhile()
    assert controls.add(frame)
    assert taken == [frame]


def test_control_frame_that_is_removed_while_all_are_taken_is_no_error():
    controls = Controls(0)

    class Meanwhile(type(controls._frames)):
        def __len__(self):
            size = super().__len__()
            self.clear()  # by who added it
            return size

    controls._frames = Meanwhile([syncws.Frame(syncws.Opcode.PING, b"1")])
    assert len(controls.take()) <= 1


def test_control_frame_that_is_removed_while_others_are_taken_is_looked_for_again():
    controls = Controls(0)
    frame = syncws.Frame(syncws.Opcode.PING, b"1")
    errors = iter([IndexError("deque mutated during remove()."), None])

    class Meanwhile(type(controls._frames)):
        def remove(self, item):
            error = next(errors)
            if error:
                raise error
            super().remove(item)

    controls.take()
    controls._frames = Meanwhile()
    assert not controls.add(frame)
    assert controls.take() == []


FRAGMENTS = ((0x01, b"a"), (0x89, b"!"), (0x00, b"b"), (0x80, b"\xc3\xa4"))


def test_fragments_are_one_message():
    with sends(*FRAGMENTS) as server, connecting(server, close_timeout=0.05) as ws:
        assert ws.recv() == "abä"


def test_fragments_are_received_one_by_one_if_wanted():
    with sends(*FRAGMENTS, (0x82, b"x")) as server:
        with connecting(server, fire_cont_frame=True, close_timeout=0.05) as ws:
            frames = [ws.recv_data_frame(control_frame=True)[1] for _ in range(5)]
            seen = [(frame.opcode, frame.data, frame.fin) for frame in frames]
            assert seen == [
                (ABNF.OPCODE_TEXT, b"a", False),
                (ABNF.OPCODE_PING, b"!", True),
                (ABNF.OPCODE_CONT, b"b", False),
                (ABNF.OPCODE_CONT, b"\xc3\xa4", True),
                (ABNF.OPCODE_BINARY, b"x", True),
            ]
            assert ws.connection.stats.messages_received == 2
        with connecting(server, fire_cont_frame=True, close_timeout=0.05) as ws:
            assert [ws.recv() for _ in range(4)] == [b"a", b"b", b"\xc3\xa4", b"x"]


def test_fragments_are_sent_as_one_message():
    with serving() as server, connecting(server) as ws:
        create = ABNF.create_frame
        for first, following, message in (
            (create("a", ABNF.OPCODE_TEXT, 0), ("ä", b"\xe2\x82"), None),
            (create(b"\xff", ABNF.OPCODE_BINARY, 0), (b"1", b"2"), b"\xff12end"),
        ):
            ws.send_frame(first)
            for data in following:
                ws.send_frame(create(data, ABNF.OPCODE_CONT, 0))
            ws.send_frame(create("\u20ac".encode()[2:] if message is None else b"end", 0, 1))
            assert ws.recv() == ("aä€" if message is None else message)


def test_frame_that_is_out_of_order_is_refused():
    create = ABNF.create_frame
    with serving() as server, connecting(server) as ws:
        with pytest.raises(websocket.WebSocketProtocolException, match="OPCODE_CONT"):
            ws.send_frame(create("x", ABNF.OPCODE_CONT, 1))
        ws.send_frame(create("x", ABNF.OPCODE_TEXT, 0))
        with pytest.raises(websocket.WebSocketProtocolException, match="OPCODE_CONT"):
            ws.send_frame(create("x", ABNF.OPCODE_TEXT, 1))
        with pytest.raises(UnicodeDecodeError):
            ws.send_frame(create(b"\xff", ABNF.OPCODE_CONT, 1))
        frame = create("x", ABNF.OPCODE_TEXT)
        assert ws.send_frame(frame) == 7
        assert ws.recv() == "x"
        ws.send_frame(create("x", ABNF.OPCODE_TEXT, 0))
        frame.rsv1 = True
        with pytest.raises(websocket.WebSocketProtocolException, match="reserved"):
            ws.send_frame(frame)
        ws.close()
        with pytest.raises(websocket.WebSocketConnectionClosedException):
            ws.send_frame(create("y", ABNF.OPCODE_CONT, 1))


def test_pings_may_have_the_same_payload():
    with serving() as server, connecting(server) as ws:
        for _ in range(3):
            ws.ping()
        ws.ping("x")
        data = None
        while data != b"x":  # a server may answer the newest only
            opcode, data = ws.recv_data(control_frame=True)
            assert opcode == ABNF.OPCODE_PONG
        ws.pong("nobody asked")
        ws.send("hello")
        assert ws.recv() == "hello"


def test_ping_is_refused_for_a_server_that_does_not_read():
    stop = threading.Event()

    def script(sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(build_response(read_head(sock)))
        stop.wait(SOON)

    with scripted_server(script) as server:
        ws = connecting(server, sockopt=[(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)])
        with pytest.raises(syncws.SlowPeer):
            forever(ws.ping, "x" * 125)
        stop.set()
        ws.shutdown()


# --- what can be read off ---


def test_what_the_handshake_agreed_on_can_be_read_off():
    ws = websocket.WebSocket()
    assert (ws.connected, ws.sock, ws.status, ws.headers, ws.subprotocol) == (
        False,
        None,
        None,
        None,
        None,
    )
    assert not ws.is_ssl()
    with serving(subprotocols=["chat"], extra_headers={"X-A": "b"}) as server:
        ws.connect(server.uri, subprotocols=["superchat", "chat"], timeout=SOON)
        assert ws.getstatus() == ws.status == 101
        assert ws.getheaders()["x-a"] == ws.headers["x-a"] == "b"
        assert ws.getsubprotocol() == ws.subprotocol == "chat"
        assert ws.fileno() == ws.sock.fileno()
        assert ws.sock.getpeername()[1] == server.port
        ws.shutdown()
        ws.close()


def test_object_connects_again_and_the_connection_before_is_cut():
    with serving() as server, nothing_left():
        ws = websocket.WebSocket()
        with pytest.raises(websocket.WebSocketConnectionClosedException, match="never connected"):
            ws.send("x")
        ws.close()
        ws.abort()
        for _ in range(2):
            ws.connect(server.uri, timeout=SOON)
            before = ws.sock
            ws.connect(server.uri)  # as programs do after a timeout
            assert before.fileno() == -1
            wait_until(lambda: len(server.connections) == 1)
            ws.send("hello")
            assert ws.recv() == "hello"
            ws.close()


@pytest.mark.parametrize(("timeout", "kind"), [(0, BlockingIOError), (0.01, TimeoutError)])
def test_time_limits_are_told_as_sockets_tell_them(timeout, kind):
    with serving() as server:
        ws = websocket.create_connection(server.uri, timeout=SOON)
        ws.settimeout(timeout)
        with pytest.raises(kind, match="timed out") as caught:
            ws.recv()
        assert type(caught.value).__name__ == "WebSocketTimeoutException"
        assert isinstance(caught.value, websocket.WebSocketTimeoutException)
        assert isinstance(caught.value, BlockingIOError) is (timeout == 0)
        copy = pickle.loads(pickle.dumps(caught.value))
        assert (type(copy), str(copy)) == (type(caught.value), str(caught.value))
        ws.settimeout(SOON)
        ws.send("x")
        assert ws.recv() == "x"
        ws.close()


def test_subclass_is_given_all_options_that_are_its_own():
    class Strict(websocket.WebSocket):
        def __init__(
            self, sockopt, sslopt, fire_cont_frame, enable_multithread, skip_utf8_validation, **_
        ):
            super().__init__(sockopt, sslopt, fire_cont_frame)

    with serving() as server:
        ws = websocket.create_connection(server.uri, timeout=SOON, class_=Strict)
        ws.send("x")
        assert ws.recv() == "x"
        ws.close()


def test_subclass_is_made_and_used():
    class Mine(websocket.WebSocket):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.mine = kwargs

        def recv(self):
            return super().recv().upper()

    with serving() as server:
        ws = websocket.create_connection(server.uri, class_=Mine, enable_multithread=True)
        assert isinstance(ws, Mine)
        assert ws.mine["enable_multithread"] is True
        ws.send("hello")
        assert ws.recv() == "HELLO"
        ws.close()


def test_several_threads_send_and_receive():
    with serving() as server, connecting(server) as ws:
        threads = [run(lambda i=i: [ws.send(f"{i}.{j}") for j in range(50)]) for i in range(4)]
        receivers = [run(lambda: [ws.recv() for _ in range(50)]) for _ in range(4)]
        for thread in threads:
            thread.result()
        received = [message for each in receivers for message in each.result()]
        assert sorted(received) == sorted(f"{i}.{j}" for i in range(4) for j in range(50))


def test_tls():
    server_context, client_context = contexts()
    with serving(ssl=server_context) as server:
        uri = f"wss://localhost:{server.port}/"
        with websocket.create_connection(uri, sslopt={"context": client_context}) as ws:
            assert ws.is_ssl()
            ws.send("hello")
            assert ws.recv() == "hello"
        with pytest.raises(ssl.SSLCertVerificationError):
            websocket.create_connection(uri)


@pytest.mark.parametrize("payload", [["a", "b"], ("a",), {"a": 1}, 5, None])
@pytest.mark.parametrize("opcode", [1, 2])
def test_nothing_is_sent_of_what_is_no_message(payload, opcode):
    received = []
    with serving(received.extend) as server:
        with connecting(server) as ws:
            with pytest.raises(TypeError, match="can't be sent"):
                ws.send(payload, opcode)
            ws.send("whole")
        wait_until(lambda: received)
    assert received == ["whole"]
