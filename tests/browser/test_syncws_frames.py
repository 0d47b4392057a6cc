"""syncws.js reads and writes frames as RFC 6455 has them, wherever requests cut them."""

import struct

import pytest
from support.fallback_peer import BINARY, CLOSE, PING, PONG, TEXT, FallbackPeer, Faults, echo, frame
from support.node import needs_node, run_node

pytestmark = [pytest.mark.once, needs_node]

TRANSPORTS = ["streaming", "polling"]

LISTEN = """
    const ws = new Syncws(url, [], { transports: ["%s"] });
    ws.binaryType = "arraybuffer";
    ws.onmessage = ({ data }) => report(typeof data == "string" ? data : [...new Uint8Array(data)]);
    ws.onerror = () => report("error");
    ws.onclose = ({ code, reason, wasClean }) => {
      report([code, reason, wasClean]);
      done();
    };
"""


def close_frame(code, reason=b""):
    return frame(CLOSE, struct.pack(">H", code) + reason)


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    return request.param


def listen(transport, handler, **kwargs):
    """Run a page that listens; return what it reported, and the server."""
    peer = FallbackPeer(handler, **kwargs)
    with peer.running() as url:
        said = run_node(LISTEN % transport, url)
    return said, peer


def test_fragments_become_one_message_and_control_frames_come_between(transport):
    def talk(session):
        session.send(frame(TEXT, "hä".encode()[:2], first=0))
        session.send(frame(PING, b"are you there?"))
        assert session.recv() == (PONG, b"are you there?")
        session.send(frame(0, "hä".encode()[2:], first=0) + frame(0, b"", first=0))
        session.send(frame(PONG, b"nobody asked") + frame(0, b"!") + frame(BINARY, b"", first=0))
        session.send(frame(0, b"\x01\x02"))
        assert session.close(1000, "bye") == struct.pack(">H", 1000) + b"bye"

    said, _ = listen(transport, talk)
    assert said == ["hä!", [1, 2], [1000, "bye", True]]


def test_frames_that_come_byte_by_byte_are_put_together(transport):
    data = (
        frame(TEXT, b"x" * 130) + frame(TEXT, b"y" * 70000) + frame(TEXT, b"") + frame(TEXT, b"z")
    )

    def talk(session):
        for at in [*range(200), *range(70130, len(data))]:
            end = at + 1 if at != 199 else 70130
            session.send(data[at:end])
            with session.changed:
                # The next byte goes once this one is on its way.
                assert session.changed.wait_for(
                    lambda: session.delivered >= len(session.outgoing), 20
                )
        session.close()

    said, _ = listen(transport, talk)
    assert said == ["x" * 130, "y" * 70000, "", "z", [1000, "", True]]


def test_a_message_of_many_megabytes_goes_both_ways(transport):
    source = """
        const ws = new Syncws(url, [], { transports: ["%s"] });
        ws.binaryType = "arraybuffer";
        await next(ws, "open");
        const bytes = Uint8Array.from({ length: 5000000 }, (_, i) => i * i >> 3);
        ws.send(bytes);
        const { data } = await next(ws, "message");
        report(Buffer.compare(Buffer.from(data), bytes));
        done();
    """
    peer = FallbackPeer(echo)
    with peer.running() as url:
        assert run_node(source % transport, url) == [0]
    assert max(len(request.body) for request in peer.seen) <= 262144


def test_bodies_have_as_much_as_the_server_takes(transport):
    source = """
        const ws = new Syncws(url, [], { transports: ["%s"] });
        await next(ws, "open");
        const texts = Array.from({ length: 50 }, (_, i) => String(i).repeat(i * 7));
        for (const text of texts) ws.send(text);
        report(ws.bufferedAmount == texts.join("").length);
        for (const text of texts) {
          const { data } = await next(ws, "message");
          if (data != text) report(data);
        }
        while (ws.bufferedAmount) await new Promise(setImmediate);
        done();
    """
    peer = FallbackPeer(echo, opening={"max_body": 100})
    with peer.running() as url:
        assert run_node(source % transport, url) == [True]
    sizes = [len(request.body) for request in peer.named("POST")]
    assert max(sizes) <= 100
    assert sorted(sizes)[len(sizes) // 2] >= 87


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x81\0\0\0\0x", 1002),  # masked
        (frame(TEXT, b"x", first=0xC0), 1002),
        (frame(3, b"x"), 1002),
        (frame(11, b"x"), 1002),
        (frame(0, b"x"), 1002),
        (frame(TEXT, b"x", first=0) + frame(TEXT, b"y"), 1002),
        (frame(PING, b"x", first=0), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(CLOSE, b"\x03"), 1002),
        (close_frame(1005), 1002),
        (close_frame(999), 1002),
        (close_frame(5000), 1002),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"\xed\xa0\x80"), 1007),
        (close_frame(1000, b"\xff"), 1007),
    ],
)
def test_what_breaks_the_protocol_is_answered_with_a_close_frame(data, code, transport):
    answers = []

    def talk(session):
        session.say("before")
        session.send(data + frame(TEXT, b"after"))
        answers.append(session.recv())

    said, _ = listen(transport, talk)
    assert said == ["before", "error", [1006, "", False]]
    assert answers == [(CLOSE, struct.pack(">H", code))]


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 3000, 4999])
def test_the_servers_close_frame_is_answered_and_told(code, transport):
    def talk(session):
        session.say("last words")
        assert session.close(code, "thüs") == struct.pack(">H", code) + "thüs".encode()

    said, _ = listen(transport, talk)
    assert said == ["last words", [code, "thüs", True]]


def test_a_close_frame_may_say_nothing(transport):
    def talk(session):
        session.send(frame(CLOSE))
        assert session.recv() == (CLOSE, b"")
        session.finish()

    assert listen(transport, talk)[0] == [[1005, "", True]]


def test_a_stream_that_ends_without_a_close_frame_is_a_lost_connection(transport):
    def talk(session):
        session.say("x")
        session.finish()

    assert listen(transport, talk)[0] == ["x", "error", [1006, "", False]]


def test_a_session_that_is_gone_is_a_lost_connection(transport):
    def talk(session):
        session.say("x")
        session.recv()
        session.cut()

    source = LISTEN % transport + "await next(ws, 'message'); ws.send('y');"
    with FallbackPeer(talk).running() as url:
        assert run_node(source, url) == ["x", "error", [1006, "", False]]


def test_the_servers_bytes_are_acknowledged(transport):
    def talk(session):
        for _ in range(100):
            session.send(frame(BINARY, bytes(20000)))
            with session.changed:
                assert session.changed.wait_for(
                    lambda: len(session.outgoing) - session.acked < 1 << 17, 20
                )
        session.close()

    source = """
        const ws = new Syncws(url, [], { transports: ["%s"] });
        let count = 0;
        ws.onmessage = () => count++;
        await next(ws, "close");
        report(count);
        done();
    """
    with FallbackPeer(talk).running() as url:
        assert run_node(source % transport, url) == [100]


def test_a_byte_order_mark_stays(transport):
    def talk(session):
        session.say("\ufeffx")
        session.close()

    assert listen(transport, talk)[0][0] == "\ufeffx"


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_streams_are_read_wherever_they_are_cut(line_end):
    def talk(session):
        session.say("first")
        session.say("x" * 1000)
        session.close()

    faults = Faults(line_end=line_end, write_size=3)
    said, peer = listen("streaming", talk, faults=faults)
    assert said == ["first", "x" * 1000, [1000, "", True]]
    assert len(peer.named("GET")) == 1
