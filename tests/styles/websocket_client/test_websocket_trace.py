"""``enableTrace()``: what it logs."""

import logging

import pytest
from support.pairs import wait_until
from support.scripted import build_response, mute_after, scripted_server
from support.serving import serving
from support.websockets import connecting, sends_and_ends

from syncws import styles as websocket


@pytest.fixture
def trace():
    """What enableTrace() logs."""
    lines = []

    class Handler(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    websocket.enableTrace(True, handler=Handler())
    yield lines
    websocket.enableTrace(False)


def test_trace_has_handshake_messages_and_control_frames(trace):
    assert websocket.isEnabledForTrace()
    with serving() as server, connecting(server, cookie="secret=1", fire_cont_frame=True) as ws:
        ws.send("hello")
        assert ws.recv() == "hello"
        ws.send_binary(b"\x00\x01")
        assert ws.recv() == b"\x00\x01"
        ws.pong("unasked")
        ws.ping("there?")
        assert ws.recv_data(True)[1] == b"there?"
    assert trace[0] == "> GET / HTTP/1.1"
    assert "> Cookie: ..." in trace
    assert "< HTTP/1.1 101 Switching Protocols" in trace
    assert not any("secret" in line for line in trace)
    frames = [line for line in trace if "bytes]" in line]
    assert frames == [
        "> TEXT 'hello' [5 bytes]",
        "< TEXT 'hello' [5 bytes]",
        "> BINARY 00 01 [2 bytes]",
        "< BINARY 00 01 [2 bytes]",
        "> PONG 75 6e 61 73 6b 65 64 [7 bytes]",
        "> PING 74 68 65 72 65 3f [6 bytes]",
        "< PONG 74 68 65 72 65 3f [6 bytes]",
        "> CLOSE 03 e8 [2 bytes]",
        "< CLOSE 03 e8 [2 bytes]",
    ]


def test_trace_has_what_is_answered_and_fragments(trace):
    frames = ((0x89, b"?"), (0x01, b"a"), (0x80, b"b"), (0x88, b"\x03\xe8"))
    with sends_and_ends(*frames) as server:
        ws = connecting(server, fire_cont_frame=True)
        assert [ws.recv(), ws.recv()] == [b"a", b"b"]
        wait_until(lambda: ws.connection.closed)
    assert [line for line in trace if "byte" in line] == [
        "< PING 3f [1 bytes]",
        "> PONG 3f [1 bytes]",
        "< TEXT 'a' [1 bytes, continued]",
        "< CONT 62 [1 bytes]",
        "< CLOSE 03 e8 [2 bytes]",
        "> CLOSE 03 e8 [2 bytes]",
    ]


def test_trace_shows_no_control_characters_of_the_server(trace):
    def answer(request):
        evil = build_response(request, X_Evil="a\x9b31m", X_Api_Key="secret")
        return evil.replace(b"Switching Protocols", b"Go\x9b31m")

    with scripted_server(mute_after(answer)) as server:
        connecting(server).shutdown()
    assert r"< X-Evil: a\x9b31m" in trace
    assert r"< HTTP/1.1 101 Go\x9b31m" in trace
    assert "< X-Api-Key: ..." in trace


def test_trace_goes_to_standard_error_and_ends(capsys):
    with serving() as server:
        websocket.enableTrace(True)
        websocket.enableTrace(True, level="INFO")
        with connecting(server):
            assert capsys.readouterr().err == ""
        websocket.enableTrace(True)
        with connecting(server):
            assert capsys.readouterr().err.startswith("> GET / HTTP/1.1\n")
        websocket.enableTrace(False)
        with pytest.raises(ValueError, match="NONE SUCH"):
            websocket.enableTrace(True, level="NONE SUCH")
        assert not websocket.isEnabledForTrace()
        with connecting(server):
            pass
        assert "GET" not in capsys.readouterr().err
        assert logging.getLogger("syncws.trace").handlers == []
