"""``ws.sock``: what programs poll before they receive, and what they do with it besides."""

import contextlib
import gc
import select
import selectors
import socket
import threading
import warnings
import weakref

import pytest
from support.certificates import contexts
from support.pairs import SOON, run, socket_pair, wait_until
from support.scripted import nothing_left
from support.serving import echo, serving, the_connection
from support.websockets import connecting, sends, sends_and_ends
from support.wire import build_frame, parse_frames

from syncws import styles as websocket
from syncws.sansio.state import State
from syncws.styles import ABNF, WebSocket, WebSocketApp
from syncws.styles.websocket_client.client_socket import ClientSocket
from syncws.threaded.timekeeper import call_later
from syncws.threaded.writer import Writer

KINDS = ["plain", "tls", "compressed"]


@contextlib.contextmanager
def connected(kind="plain", handler=echo, **options):
    """A connection of the style, and that of the server."""
    if kind == "compressed":
        options["compression"] = "deflate"
    if kind != "tls":
        with serving(handler) as server:
            ws = connecting(server, **options)
            yield ws, the_connection(server)
            ws.shutdown()
        return
    server_context, client_context = contexts()
    with serving(handler, ssl=server_context) as server:
        uri = f"wss://localhost:{server.port}/"
        ws = websocket.create_connection(
            uri, timeout=SOON, sslopt={"context": client_context}, **options
        )
        yield ws, the_connection(server)
        ws.shutdown()


def stay(ws):
    ws.wait_closed()


def is_readable(sock):
    return bool(select.select([sock], [], [], 0)[0])


def is_readable_soon(sock):
    return bool(select.select([sock], [], [], SOON)[0])


# --- polling ---


def by_select(sock):
    return bool(select.select([sock], [], [], SOON)[0])


def by_poll(sock):
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(SOON * 1000))


def by_selector(sock):
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        return bool(selector.select(SOON))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", [by_select, by_poll, by_selector])
def test_program_polls_and_receives(kind, way):
    with connected(kind) as (ws, _):
        for number in range(20):
            ws.send(str(number))
            assert way(ws.sock)
            assert ws.recv() == str(number)
        assert not is_readable(ws.sock)


@pytest.mark.parametrize("kind", KINDS)
def test_descriptor_is_readable_while_messages_wait(kind):
    with connected(kind, stay) as (ws, server):
        assert not is_readable(ws.sock)
        server.send_many(str(number) for number in range(100))
        for number in range(100):
            assert is_readable_soon(ws.sock)
            assert ws.recv() == str(number)
        assert not is_readable(ws.sock)


@pytest.mark.parametrize("kind", KINDS)
def test_messages_that_were_read_before_the_first_poll_count(kind):
    with connected(kind, stay) as (ws, server):
        server.send_many(["a", "b", "c"])
        assert ws.recv() == "a"  # it may have read the others, too
        wait_until(lambda: ws.sock.pending() == 2)
        assert is_readable(ws.sock)
        assert (ws.recv(), ws.recv()) == ("b", "c")
        assert not is_readable(ws.sock)


def test_half_a_message_is_none():
    with connected("plain", stay) as (ws, server):
        parts = iter(["half", " a message"])
        going_on = threading.Event()

        def pieces():
            yield next(parts)
            assert going_on.wait(SOON)
            yield next(parts)

        sending = run(server.send, pieces())
        wait_until(lambda: ws._connection.stats.frames_received == 1)
        assert not is_readable(ws.sock)
        going_on.set()
        assert is_readable_soon(ws.sock)
        assert ws.recv() == "half a message"
        sending.result()


def test_control_frames_can_be_received_too():
    with sends((0x89, b"1"), (0x8A, b"2")) as server:
        ws = connecting(server)
        assert is_readable_soon(ws.sock)
        assert ws.recv_data(True) == (ABNF.OPCODE_PING, b"1")
        assert is_readable_soon(ws.sock)
        assert ws.recv_data(True) == (ABNF.OPCODE_PONG, b"2")
        assert not is_readable(ws.sock)
        ws.shutdown()


def test_end_can_be_received_and_stays_readable():
    with sends_and_ends((0x81, b"last"), (0x88, b"\x03\xe8")) as server:
        ws = connecting(server)
        sock = ws.sock
        assert is_readable_soon(sock)
        assert ws.recv() == "last"
        assert is_readable_soon(ws.sock)
        assert ws.recv() == ""  # the close frame
        assert ws.sock is sock
        assert is_readable_soon(sock)
        with pytest.raises(websocket.WebSocketConnectionClosedException):
            ws.recv()
        assert ws.sock is None
        assert sock.fileno() == -1


def test_selector_that_stays_registered_tells_of_each_message():
    with connected("plain", stay) as (ws, server), selectors.DefaultSelector() as selector:
        selector.register(ws.sock, selectors.EVENT_READ)
        for number in range(5):
            assert not selector.select(0)
            server.send(str(number))
            assert selector.select(SOON)
            assert ws.recv() == str(number)
        server.close()
        assert selector.select(SOON)


def test_object_itself_can_be_polled_with_others():
    with connected() as (one, _), connected() as (two, _):
        two.send("x")
        assert select.select([one, two], [], [], SOON)[0] == [two]
        assert set(select.select([], [one, two], [], SOON)[1]) == {one, two}
        assert two.recv() == "x"


def test_reading_goes_on_above_the_marks_while_the_program_polls():
    with connected("plain", stay, max_queue=2) as (ws, server):
        sending = run(server.send_many, [bytes(50_000) for _ in range(40)])
        for _ in range(40):
            assert is_readable_soon(ws.sock)
            assert len(ws.recv()) == 50_000
        sending.result()
        assert not is_readable(ws.sock)


def test_other_threads_may_receive_meanwhile():
    with connected("plain", stay) as (ws, server):
        sock, left = ws.sock, 200
        assert not is_readable(sock)
        receivers = [run(lambda: [ws.recv() for _ in range(left // 2)]) for _ in range(2)]
        server.send_many(str(number) for number in range(left))
        received = [message for receiver in receivers for message in receiver.result()]
        assert sorted(received, key=int) == [str(number) for number in range(left)]
        assert not is_readable(sock)


def test_application_has_a_socket_to_be_polled():
    seen = []

    def on_open(app):
        seen.append(isinstance(app.sock.sock, ClientSocket))
        app.send("x")

    def on_message(app, message):
        seen.append(is_readable(app.sock.sock))
        app.close()
        seen.append(app.sock)

    with serving() as server, nothing_left():
        app = WebSocketApp(server.uri, on_open=on_open, on_message=on_message)
        assert app.run_forever() is False
    assert seen == [True, False, None]


def test_nothing_is_made_for_who_does_not_poll():
    with connected() as (ws, _):
        ws.send("x")
        assert ws.recv() == "x"
        assert ws.sock._readiness is None
        assert ws._connection._queue.waiting == 0


# --- what else is done with it ---


@pytest.mark.parametrize("kind", ["plain", "tls"])
def test_socket_tells_addresses_and_options(kind):
    with connected(kind) as (ws, server):
        assert ws.sock.getpeername() == server.local_address
        assert ws.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert ws.sock.family == socket.AF_INET
        if kind == "tls":
            assert ws.sock.version().startswith("TLS")
        with pytest.raises(AttributeError, match="the connection owns it"):
            ws.sock.recv(1)


def test_timeout_of_the_socket_is_that_of_the_object():
    with connected("plain", stay) as (ws, _):
        assert ws.sock.gettimeout() == SOON
        ws.sock.settimeout(0.01)
        assert ws.gettimeout() == 0.01
        with pytest.raises(websocket.WebSocketTimeoutException):
            ws.recv()
        ws.sock.setblocking(False)
        assert (ws.gettimeout(), ws.sock.getblocking()) == (0, False)
        ws.sock.setblocking(True)
        assert (ws.gettimeout(), ws.sock.getblocking()) == (None, True)


@pytest.mark.parametrize("size", [1, 3, 10_000])
def test_frames_are_sent_in_whatever_pieces(size):
    frames = [
        ABNF.create_frame("hällo", ABNF.OPCODE_TEXT),
        ABNF.create_frame(bytes(range(256)), ABNF.OPCODE_BINARY),
        ABNF.create_frame("in ", ABNF.OPCODE_TEXT, 0),
        ABNF.create_frame("pieces", ABNF.OPCODE_CONT, 1),
        ABNF.create_frame("", ABNF.OPCODE_BINARY),
    ]
    data = b"".join(frame.format() for frame in frames)
    with connected() as (ws, _):
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            assert ws.sock.send(piece) == len(piece)
            if not start:
                ws.send("between")
        received = [ws.recv() for _ in range(5)]
    received.remove("between")
    assert received == ["hällo", bytes(range(256)), "in pieces", b""]


def test_large_frame_is_sent_by_the_socket():
    with connected() as (ws, _):
        message = bytes(100_000)
        ws.sock.sendall(ABNF.create_frame(message, ABNF.OPCODE_BINARY).format())
        assert ws.recv() == message


def test_what_is_no_frame_of_a_client_is_not_sent():
    with connected() as (ws, _):
        for data in (b"GET / HTTP/1.1\r\n", build_frame(0x81, b"x"), b"\x83\x80abcd"):
            with pytest.raises(websocket.WebSocketException):
                ws.sock.send(data)
        ws.send("still here")
        assert ws.recv() == "still here"


def test_signal_handler_may_send_while_the_socket_sends():
    inside = []

    with connected() as (ws, _):
        frame = ABNF.create_frame("x", ABNF.OPCODE_TEXT).format()
        send_frame = ws.send_frame

        def interrupted(each):
            if not inside:  # as in a handler that runs here
                inside.append(True)
                ws.sock.send(frame)
            send_frame(each)

        ws.send_frame = interrupted
        run(ws.sock.send, frame).result()
        assert [ws.recv(), ws.recv()] == ["x", "x"]


def test_frames_after_one_that_fails_are_not_sent_later():
    good, bad = (ABNF.create_frame(text, ABNF.OPCODE_TEXT) for text in ("good", "bad"))
    bad.rsv1 = 1
    with connected() as (ws, _):
        with pytest.raises(websocket.WebSocketProtocolException):
            ws.sock.send(bad.format() + ABNF.create_frame("late", ABNF.OPCODE_TEXT).format())
        ws.sock.send(good.format())
        assert ws.recv() == "good"


@pytest.mark.parametrize("end", ["close", "shutdown", "none", "sock.close"])
def test_socket_outlives_the_close(end):
    with connected() as (ws, _), nothing_left():
        sock = ws.sock
        polled = sock.fileno()
        assert polled >= 0
        if end == "close":
            ws.close()
        elif end == "shutdown":
            ws.shutdown()
        elif end == "none":
            ws.sock = None
        else:
            sock.close()
            assert sock.fileno() == -1
            with pytest.raises(websocket.WebSocketConnectionClosedException):
                ws.recv()
        assert (ws.sock, ws.connected) == (None, False)
        assert sock.fileno() == -1
        for call in (
            lambda: sock.send(b"x"),
            lambda: sock.sendall(b"x"),
            sock.getpeername,
            lambda: sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE),
            lambda: sock.shutdown(socket.SHUT_RDWR),
        ):
            with pytest.raises(OSError, match="Bad file descriptor"):
                call()
        sock.settimeout(1)
        sock.close()
        with pytest.raises(websocket.WebSocketConnectionClosedException):
            ws.fileno()


def test_closing_wakes_who_polls():
    with connected("plain", stay) as (ws, _):
        sock = ws.sock
        poller = select.poll()
        poller.register(sock, select.POLLIN)
        polling = run(poller.poll, SOON * 1000)
        ws.close()
        assert polling.result()


def test_shutting_the_socket_down_wakes_who_receives():
    with connected("plain", stay) as (ws, _):
        receiving = run(ws.recv)
        ws.sock.shutdown(socket.SHUT_RDWR)
        with pytest.raises(websocket.WebSocketConnectionClosedException):
            receiving.result()


# --- sockets that are set ---


def test_socket_that_is_set_is_used_without_a_handshake():
    local, remote = socket_pair()
    with nothing_left():
        ws = WebSocket()
        ws.sock = local
        ws.connected = True
        ws.settimeout(SOON)
        assert (ws.sock, ws.connected, ws.fileno()) == (local, True, local.fileno())
        remote.sendall(build_frame(0x81, b"hello"))
        assert ws.recv() == "hello"
        ws.send("answer")
        assert parse_frames(remote.recv(100), masked=True) == [(0x81, b"answer")]
        remote.sendall(build_frame(0x81, b"more"))
        assert is_readable_soon(ws.sock)
        assert ws.recv() == "more"
        remote.close()
        ws.close()
    assert ws.sock is None


def test_threads_may_use_a_socket_that_was_set_at_once():
    for _ in range(20):
        ours, theirs = socket_pair()
        with theirs:  # the other one is the object's
            ws = WebSocket()
            ws.sock = ours
            ws.settimeout(SOON)
            together = threading.Barrier(2)

            def work(function, *args, together=together):
                together.wait(SOON)
                return function(*args)

            theirs.sendall(build_frame(0x81, b"y"))
            receiver, sender = run(work, ws.recv), run(work, ws.send, "x")
            assert receiver.result() == "y"
            sender.result()
            ws.shutdown()


def test_socket_with_tls_may_be_set():
    server_context, client_context = contexts()
    local, remote = socket_pair()
    shaking = run(server_context.wrap_socket, remote, server_side=True)
    local = client_context.wrap_socket(local, server_hostname="localhost")
    remote = shaking.result()
    ws = WebSocket()
    ws.sock = local
    ws.settimeout(SOON)
    remote.sendall(build_frame(0x81, b"hello"))
    assert ws.recv() == "hello"
    assert ws.is_ssl()
    ws.send("answer")
    assert parse_frames(remote.recv(100), masked=True) == [(0x81, b"answer")]
    ws.shutdown()
    remote.close()


def test_what_is_no_socket_is_not_used_as_one():
    closed = []

    class Fake:
        def close(self):
            closed.append(self)

        def fileno(self):
            return 42

    ws = WebSocket()
    ws.sock = fake = Fake()
    assert (ws.sock, ws.fileno()) == (fake, 42)
    ws.shutdown()
    assert (ws.sock, closed) == (None, [fake])
    ws.sock = fake = Fake()
    for _ in range(2):
        with pytest.raises(TypeError, match="socket, not Fake"):
            ws.recv()
    assert ws.sock is fake
    ws.shutdown()
    assert (ws.sock, len(closed)) == (None, 2)


def test_socket_that_was_set_is_closed_with_the_object():
    for method in ("close", "shutdown"):
        local, remote = socket_pair()
        ws = WebSocket()
        ws.sock = local
        getattr(ws, method)(*([] if method == "shutdown" else [1000, b"", 0.01]))
        remote.settimeout(SOON)
        assert ws.sock is None
        while remote.recv(100):
            pass
        remote.close()
        local.close()


# --- objects that go away ---


@pytest.mark.parametrize("polls", [False, True])
@pytest.mark.parametrize("receives", [False, True])
def test_connection_of_an_object_that_goes_away_is_cut(polls, receives):
    with serving(stay) as server, nothing_left(), warnings.catch_warnings():
        warnings.simplefilter("error")
        ws = connecting(server)
        remote = the_connection(server)
        if receives:  # so that the reader thread has run
            remote.ping().wait(SOON)
        if polls:
            assert ws.sock.fileno() >= 0
        gone = weakref.ref(ws)
        del ws
        gc.collect()
        assert gone() is None
        assert remote.wait_closed(SOON)
        assert remote.close_code == 1006


def test_object_that_goes_away_while_the_server_s_close_frame_is_answered_lets_it_be(monkeypatch):
    answering, may_answer = threading.Event(), threading.Event()

    def answer_later(writer):
        is_reader = threading.current_thread().name.startswith("syncws-reader-client")
        if is_reader and writer._protocol.state is State.CLOSING:
            answering.set()
            assert may_answer.wait(SOON)
        drain(writer)

    def close(ws):
        remotes.append(ws)
        ws.close()

    drain, remotes = Writer.drain, []
    with serving(close) as server, nothing_left():
        monkeypatch.setattr(Writer, "drain", answer_later)
        ws = connecting(server)
        assert answering.wait(SOON)
        assert not ws.connected
        del ws
        gc.collect()
        done = threading.Event()
        call_later(0, done.set)  # after what the end of the object has asked for
        assert done.wait(SOON)
        may_answer.set()
        (remote,) = remotes
        assert remote.wait_closed(SOON)
        assert remote.close_code == 1000


def test_connection_is_the_program_s_once_it_was_asked_for():
    with serving() as server:
        connection = connecting(server).connection
        gc.collect()
        connection.send("hello")
        assert connection.recv(SOON) == "hello"
        connection.close()


def test_descriptors_come_back_from_many_that_are_dropped():
    with serving(stay) as server, nothing_left():
        for _ in range(50):
            websocket.create_connection(server.uri, timeout=SOON)


def test_application_that_goes_away_leaves_nothing():
    with serving(lambda ws: ws.send("x")) as server, nothing_left():
        for _ in range(3):
            WebSocketApp(server.uri).run_forever()
        app = WebSocketApp(server.uri, on_open=lambda app: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            app.run_forever()
        del app
        gc.collect()
