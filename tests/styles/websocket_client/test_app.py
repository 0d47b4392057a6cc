"""``WebSocketApp``: which functions are called, with what, and how a run ends."""

import threading
import time

import pytest
from support.pairs import SOON
from support.scripted import (
    build_response,
    mute_after,
    nothing_left,
    read_head,
    says,
    scripted_server,
)
from support.serving import messages, serving
from support.websockets import Recorder, recorder
from support.wire import build_frame, build_frames

from syncws import styles as websocket
from syncws.styles import ABNF, WebSocketApp


def closing_after(number):
    """An ``on_message`` that closes after so many messages."""
    left = [number]

    def on_message(app, message):
        left[0] -= 1
        if not left[0]:
            app.close()

    return on_message


# --- functions and what they are called with ---


def test_functions_are_called_in_order():
    def greet(ws):
        ws.send("hällo")
        ws.send(b"\x00\xff")
        ws.close(1001, "bye")

    seen = recorder()
    with serving(greet) as server, nothing_left():
        app = seen.app(server.uri, on_error=None)
        assert app.run_forever() is False
    assert seen.calls == [
        ("on_open",),
        ("on_message", "hällo"),
        ("on_message", b"\x00\xff"),
        ("on_close", 1001, "bye"),
    ]
    assert not app.has_errored
    assert app.sock is None


def test_application_sends_from_its_functions():
    received = []

    def on_open(app):
        app.send("text")
        app.send_text("more")
        app.send_bytes(b"bytes")
        app.send(b"binary", ABNF.OPCODE_BINARY)
        app.send("ping", ABNF.OPCODE_PING)

    def on_message(app, message):
        received.append(message)
        if len(received) == 4:
            app.close(status=4000, reason="enough")

    seen = Recorder("on_close", "on_pong")
    with serving() as server:
        assert not seen.app(server.uri, on_open=on_open, on_message=on_message).run_forever()
    assert received == ["text", "more", b"bytes", b"binary"]
    assert ("on_close", 4000, "enough") in seen.calls


def test_data_comes_before_message_and_control_frames_in_between():
    frames = ((0x81, b"a"), (0x89, b"1"), (0x82, b"b"), (0x8A, b"2"), (0x88, b"\x03\xe8"))
    seen = Recorder("on_data", "on_message", "on_ping", "on_pong", "on_close")
    with scripted_server(says(build_response, build_frames(frames))) as server:
        app = seen.app(server.uri)
        assert app.run_forever() is False
    assert seen.calls == [
        ("on_data", "a", ABNF.OPCODE_TEXT, True),
        ("on_message", "a"),
        ("on_ping", b"1"),
        ("on_data", b"b", ABNF.OPCODE_BINARY, True),
        ("on_message", b"b"),
        ("on_pong", b"2"),
        ("on_close", 1000, None),
    ]


FRAGMENTED = (
    (0x01, b"a"),
    (0x80, b"b"),
    (0x02, b"\xff"),
    (0x00, b""),
    (0x80, b"\xfe"),
    (0x81, b"c"),
    (0x88, b"\x03\xe8"),
)


def test_fragments_are_one_message_unless_they_are_wanted():
    with scripted_server(says(build_response, build_frames(FRAGMENTED))) as server:
        seen = Recorder("on_data", "on_message")
        seen.app(server.uri).run_forever()
        assert [call[1] for call in seen.calls] == ["ab", "ab", b"\xff\xfe", b"\xff\xfe", "c", "c"]
        seen = Recorder("on_message", "on_cont_message", "on_data")
        seen.app(server.uri).run_forever()
    assert seen.calls == [
        ("on_data", b"a", ABNF.OPCODE_TEXT, False),
        ("on_cont_message", b"a", False),
        ("on_data", b"b", ABNF.OPCODE_CONT, True),
        ("on_cont_message", b"b", True),
        ("on_data", b"\xff", ABNF.OPCODE_BINARY, False),
        ("on_cont_message", b"\xff", False),
        ("on_data", b"", ABNF.OPCODE_CONT, False),
        ("on_cont_message", b"", False),
        ("on_data", b"\xfe", ABNF.OPCODE_CONT, True),
        ("on_cont_message", b"\xfe", True),
        ("on_data", "c", ABNF.OPCODE_TEXT, True),
        ("on_message", "c"),
    ]


def test_functions_may_be_set_later_and_left_out():
    with serving(lambda ws: ws.send("x")) as server:
        app = WebSocketApp(server.uri)
        assert not app.run_forever()
        received = []
        app.on_message = lambda app, message: received.append(message)
        assert not app.run_forever()
        assert received == ["x"]


def test_socket_and_state_are_there_during_a_run():
    states = []

    def on_open(app):
        states.append((app.sock.connected, app.ready(), app.keep_running, app.sock.status))
        app.close()

    def on_close(app, code, reason):
        states.append((app.sock, app.ready(), app.keep_running))

    with serving() as server:
        app = WebSocketApp(server.uri, on_open=on_open, on_close=on_close)
        assert (app.sock, app.ready(), app.keep_running) == (None, False, False)
        app.run_forever()
    assert states == [(True, True, True, 101), (None, False, False)]


def test_answer_to_closing_can_be_read_off():
    with serving() as server:
        app = WebSocketApp(server.uri, on_open=lambda app: app.close(status=4001, reason="bye"))
        assert app.last_close_frame is None
        assert app.run_forever() is False
        assert app.last_close_frame.data == b"\x0f\xa1bye"
    with serving(lambda ws: None) as server:
        app.url, app.on_open = server.uri, None
        app.run_forever()
        assert app.last_close_frame is None


def test_socket_is_gone_when_close_returns():
    seen = []

    def on_open(app):
        app.close()
        seen.append((app.sock, app.ready(), app.keep_running))
        with pytest.raises(websocket.WebSocketConnectionClosedException):
            app.send("too late")

    with serving() as server, nothing_left():
        app = WebSocketApp(server.uri, on_open=on_open)
        app.on_close = lambda app, code, reason: seen.append(code)
        assert app.run_forever() is False
    assert seen == [(None, False, False), 1000]


def test_socket_is_gone_when_another_thread_has_closed():
    opened = threading.Event()
    with serving() as server, nothing_left():
        app = WebSocketApp(server.uri, on_open=lambda app: opened.set())
        thread = threading.Thread(target=app.run_forever)
        thread.start()
        assert opened.wait(SOON)
        app.close()
        assert app.sock is None
        thread.join(SOON)
        assert not thread.is_alive()


def test_arguments_reach_the_request():
    requests = []

    def note(ws, request):
        requests.append(request.headers)

    calls = []

    def header():
        calls.append(1)
        return {"X-Number": len(calls), "X-None": None}

    with serving(lambda ws: None, process_request=note, subprotocols=["chat"]) as server:
        app = WebSocketApp(server.uri, header=header, cookie="a=b", subprotocols=["chat"])
        app.on_open = lambda app: calls.append(app.sock.subprotocol)
        app.run_forever(host="example.com", origin="https://example.com")
        WebSocketApp(server.uri, header=["X-Number: 2"]).run_forever(suppress_origin=True)
    assert calls == [1, "chat"]
    first, second = requests
    assert (first["X-Number"], first["Cookie"], first["Host"]) == ("1", "a=b", "example.com")
    assert first["Origin"] == "https://example.com"
    assert "X-None" not in first
    assert second["X-Number"] == "2"
    assert "Origin" not in second


def test_prepared_socket_is_used():
    import socket

    with serving() as server:
        sock = socket.create_connection(("127.0.0.1", server.port))
        app = WebSocketApp(server.uri, socket=sock, on_open=lambda app: app.close())
        with pytest.raises(ValueError, match="good for one"):
            app.run_forever(reconnect=1)
        assert app.run_forever() is False
    assert sock.fileno() == -1


# --- what goes wrong ---


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"dispatcher": object()}, TypeError),
        ({"skip_utf8_validation": True}, TypeError),
        ({"suppress_host": True}, TypeError),
        ({"no_such_option": 1}, TypeError),
        ({"ping_interval": -1}, ValueError),
        ({"ping_timeout": 0}, ValueError),
        ({"ping_interval": 1, "ping_timeout": 1}, websocket.WebSocketException),
        ({"ping_interval": 1, "ping_timeout": 2}, websocket.WebSocketException),
        ({"reconnect": -1}, ValueError),
        ({"ping_payload": "x" * 126}, websocket.WebSocketProtocolException),
        ({"http_proxy_host": "localhost"}, websocket.WebSocketProxyException),
    ],
)
def test_wrong_arguments_are_raised_at_once(arguments, error):
    seen = recorder()
    app = seen.app("ws://localhost:1/")
    with pytest.raises(error):
        app.run_forever(**arguments)
    app.header = ["no colon"]
    with pytest.raises(ValueError, match="no colon"):
        app.run_forever()
    assert seen.calls == []


@pytest.mark.parametrize("name", ["on_open", "on_message", "on_error", "on_close", "on_pong"])
def test_functions_that_nobody_would_run_are_refused(name):
    def generator(app, *args):
        yield

    async def coroutine(app, *args):
        pass

    for function in (generator, coroutine):
        app = WebSocketApp("ws://localhost:1/")
        setattr(app, name, function)
        with pytest.raises(TypeError, match=f"{name} is a plain function"):
            app.run_forever()


def test_masking_keys_can_not_be_chosen():
    with pytest.raises(TypeError, match="unpredictable"):
        WebSocketApp("ws://localhost/", get_mask_key=bytes)


def test_server_that_does_not_listen_is_an_error(caplog):
    seen = recorder()
    with nothing_left():
        app = seen.app("ws://user:secret@127.0.0.1:1/")
        assert app.run_forever() is True
    assert [type(call[1]) for call in seen.calls[:1]] == [ConnectionRefusedError]
    assert seen.calls[1:] == [("on_close", None, None)]
    assert app.has_errored
    assert caplog.records == []
    app.on_error = None
    assert app.run_forever() is True
    (line,) = messages(caplog, "ERROR")
    assert "127.0.0.1:1" in line
    assert "secret" not in line


def test_refusal_is_an_error_with_the_response():
    def refuse(ws, request):
        return ws.respond(403, "not you\n", {"X-A": "b"})

    seen = recorder()
    with serving(process_request=refuse) as server:
        assert seen.app(server.uri).run_forever() is True
    (_, exc), closed = seen.calls
    assert isinstance(exc, websocket.WebSocketBadStatusException)
    assert (exc.status_code, exc.resp_headers["x-a"], exc.resp_body) == (403, "b", b"not you\n")
    assert closed == ("on_close", None, None)


def test_connection_that_breaks_is_an_error():
    seen = recorder()
    with serving(lambda ws: ws.abort()) as server, nothing_left():
        assert seen.app(server.uri).run_forever() is True
    opened, (name, exc), closed = seen.calls
    assert (opened, name, closed) == (("on_open",), "on_error", ("on_close", None, None))
    assert isinstance(exc, websocket.WebSocketConnectionClosedException)


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        ((0x83, b""), websocket.WebSocketProtocolException),
        ((0x81, b"\xff"), websocket.WebSocketPayloadException),
    ],
)
def test_broken_rule_is_an_error(frame, error):
    def script(sock):
        sock.sendall(build_response(read_head(sock)))
        sock.sendall(build_frame(*frame))
        code = sock.recv(100)[-2:]
        assert code
        sock.sendall(build_frame(0x88, b"\x03\xea"))

    seen = recorder()
    with scripted_server(script) as server:
        assert seen.app(server.uri).run_forever() is True
    assert [call[0] for call in seen.calls] == ["on_open", "on_error", "on_close"]
    assert isinstance(seen.calls[1][1], error)
    assert isinstance(seen.calls[1][1], websocket.WebSocketConnectionClosedException)


CLOSE_TEXTS = {
    b"": "Connection closed",
    b"\x03\xe8": "Connection closed normally (code 1000)",
    b"\x03\xe9": "Connection closed (code 1001)",
    b"\x03\xf3oops": "Connection closed (code 1011): oops",
    b"\x0f\xa0private": "Connection closed (code 4000): private",
}


@pytest.mark.parametrize("payload", CLOSE_TEXTS)
def test_close_frame_reaches_on_error_and_counts_as_none(payload):
    seen = recorder()
    frames = ((0x88, payload),)
    with scripted_server(says(build_response, build_frames(frames))) as server:
        app = seen.app(server.uri)
        assert app.run_forever() is app.has_errored is False
    code = int.from_bytes(payload[:2], "big") if payload else None
    reason = payload[2:].decode() or None
    opened, (name, exc), closed = seen.calls
    assert (opened, name, closed) == (("on_open",), "on_error", ("on_close", code, reason))
    assert isinstance(exc, websocket.WebSocketConnectionClosedException)
    assert (str(exc), exc.status_code, exc.reason) == (CLOSE_TEXTS[payload], code, reason)


def test_close_frame_is_no_error_for_who_reconnects():
    seen = recorder()
    left = [2]

    def on_open(app):
        left[0] -= 1
        if not left[0]:
            app.close()

    handled = []

    def handle(ws):
        handled.append(ws)
        if len(handled) == 1:
            ws.close(1001)
        else:
            ws.wait_closed()

    with serving(handle) as server:
        assert seen.app(server.uri, on_open=on_open).run_forever(reconnect=0.01) is False
    assert [call[0] for call in seen.calls] == ["on_close"]


# --- pings ---


def test_pings_are_sent_and_answered():
    pings = []
    done = threading.Event()

    def script(sock):
        sock.sendall(build_response(read_head(sock)))
        for _ in range(3):
            frame = sock.recv(100)
            pings.append(frame)
            sock.sendall(build_frame(0x8A, b"beat"))
        done.wait(SOON)

    times = []

    def on_pong(app, data):
        times.append((app.last_ping_tm, app.last_pong_tm, data))
        if len(times) == 3:
            done.set()
            app.close(timeout=0.1)

    with scripted_server(script) as server:
        app = WebSocketApp(server.uri, on_pong=on_pong)
        begin = time.time()
        assert app.last_ping_tm == app.last_pong_tm == 0
        assert not app.run_forever(ping_interval=0.05, ping_payload="beat")
    assert [len(ping) for ping in pings] == [10, 10, 10]
    for pinged, ponged, data in times:
        assert begin - 1 < pinged < time.time() + 1  # perhaps the next one has gone out by then
        assert begin - 1 < ponged < time.time() + 1
        assert data == b"beat"


def test_server_that_does_not_answer_pings_is_given_up():
    seen = recorder()
    with scripted_server(mute_after(build_response)) as server, nothing_left():
        assert seen.app(server.uri).run_forever(ping_interval=0.06, ping_timeout=0.05) is True
    opened, (name, exc), closed = seen.calls
    assert (opened, name, closed) == (("on_open",), "on_error", ("on_close", None, None))
    assert isinstance(exc, websocket.WebSocketTimeoutException)
    assert str(exc) == "ping/pong timed out"


def test_pong_of_the_program_is_not_taken_for_that_of_keepalive():
    with serving() as server:
        pongs = []

        def on_open(app):
            app.sock.connection.ping(b"beat")

        def on_pong(app, data):
            pongs.append(data)
            if len(pongs) == 3:
                app.close()

        app = WebSocketApp(server.uri, on_open=on_open, on_pong=on_pong)
        assert not app.run_forever(ping_interval=0.02, ping_payload=b"beat")
    assert len(pongs) == 3


def test_ping_payload_may_be_text():
    with serving() as server:
        connection = websocket.WebSocket().open_connection(server.uri, {"ping_payload": "béat"})
        ping = connection._ping(None)
        assert (ping.data, ping.wait(SOON)) == ("béat".encode(), True)
        connection.close()


def test_ping_payload_that_waits_is_not_sent_twice():
    with scripted_server(mute_after(build_response)) as server:
        sock = websocket.WebSocket()
        connection = sock.open_connection(server.uri, {"ping_payload": b"beat"})
        assert connection._ping(None).data == b"beat"
        other = connection._ping(None)
        assert (len(other.data), other.data != b"beat") == (4, True)
        connection.abort()
        assert connection.wait_closed(SOON)
        assert connection._ping(None) is None
