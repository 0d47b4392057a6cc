"""Sending, receiving, the closing handshake, and settings, in both roles."""

import pytest
from support.protocols import HELLO, ROLES, close_frame, closed, eof_of, feed, sent
from support.wire import build_frame, parse_frames

from syncws.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidState, ProtocolError
from syncws.options import Deflate
from syncws.sansio.close import Close
from syncws.sansio.extensions.interface import Extension
from syncws.sansio.extensions.permessage_deflate import PerMessageDeflate
from syncws.sansio.frames import Frame, Opcode
from syncws.sansio.protocol import Protocol
from syncws.sansio.state import Role, State

# --- sending ---


@ROLES
def test_messages_are_sent_in_one_frame_each(role):
    protocol = Protocol(role)
    assert not protocol.has_output
    protocol.send_text("é".encode())
    protocol.send_binary(bytearray(b"\xff"))
    protocol.send_binary(memoryview(bytes(70000)))
    protocol.send_text(b"")
    assert protocol.has_output
    assert sent(protocol) == [
        (0x81, "é".encode()),
        (0x82, b"\xff"),
        (0x82, bytes(70000)),
        (0x81, b""),
    ]
    assert not protocol.has_output
    assert protocol.data_to_send() == []


@ROLES
def test_fragments_are_sent_in_order_with_control_frames_between(role):
    protocol = Protocol(role)
    protocol.send_text(b"a", fin=False)
    protocol.send_ping(b"p")
    protocol.send_continuation(b"b", fin=False)
    protocol.send_pong(b"q")
    protocol.send_continuation(b"c", fin=True)
    protocol.send_binary(b"d", fin=False)
    protocol.send_continuation(b"", fin=True)
    assert sent(protocol) == [
        (0x01, b"a"),
        (0x89, b"p"),
        (0x00, b"b"),
        (0x8A, b"q"),
        (0x80, b"c"),
        (0x02, b"d"),
        (0x80, b""),
    ]


@ROLES
def test_fragments_out_of_order_are_refused_and_change_nothing(role):
    protocol = Protocol(role)
    with pytest.raises(ProtocolError, match="no fragmented message to continue"):
        protocol.send_continuation(b"x", fin=True)
    protocol.send_text(b"a", fin=False)
    for send in (protocol.send_text, protocol.send_binary):
        with pytest.raises(ProtocolError, match="a fragmented message is being sent"):
            send(b"x")
    protocol.send_continuation(b"b", fin=True)
    assert sent(protocol) == [(0x01, b"a"), (0x80, b"b")]


@ROLES
def test_serialized_message_is_returned_and_not_queued(role):
    protocol = Protocol(role)
    data = protocol.serialize_message(Opcode.TEXT, b"a", fin=False)
    data += protocol.serialize_message(Opcode.CONT, b"b", fin=True)
    assert parse_frames(data, masked=role is Role.CLIENT) == [(0x01, b"a"), (0x80, b"b")]
    assert not protocol.has_output


@pytest.mark.parametrize(("compress", "first"), [(None, 0x81), (False, 0x81), (True, 0xC1)])
def test_messages_pass_through_extensions(compress, first):
    protocol = Protocol(Role.SERVER, state=State.CONNECTING)
    protocol.extensions = [PerMessageDeflate(Role.SERVER, Deflate())]
    protocol._open()
    data = protocol.serialize_message(Opcode.TEXT, memoryview(b"short"), compress=compress)
    assert data[0] == first
    assert protocol.serialize_message(Opcode.TEXT, b"long" * 100)[0] == 0xC1


def test_extensions_are_applied_in_order():
    class Appending(Extension):
        def __init__(self, suffix):
            self.suffix = suffix

        def encode(self, frame, *, compress=None):
            return Frame(frame.opcode, frame.data + self.suffix, frame.fin)

        def decode(self, frame, *, max_size=None):
            assert frame.data.endswith(self.suffix)
            data = frame.data[: -len(self.suffix)]
            return Frame(frame.opcode, data, frame.fin)

    protocol = Protocol(Role.SERVER, state=State.CONNECTING)
    protocol.extensions = [Appending(b"1"), Appending(b"2")]
    protocol._open()
    protocol.send_text(b"x")
    assert sent(protocol) == [(0x81, b"x12")]
    assert feed(protocol, (0x81, b"x12")) == ["x"]


@ROLES
def test_control_frames_have_at_most_125_bytes(role):
    protocol = Protocol(role)
    for send in (protocol.send_ping, protocol.send_pong):
        send(bytes(125))
        send()
        with pytest.raises(ProtocolError, match="at most 125 bytes, got 126"):
            send(bytes(126))
    assert [(first, len(payload)) for first, payload in sent(protocol)] == [
        (0x89, 125),
        (0x89, 0),
        (0x8A, 125),
        (0x8A, 0),
    ]


SENDERS = {
    "send_text": lambda protocol: protocol.send_text(b""),
    "send_binary": lambda protocol: protocol.send_binary(b""),
    "send_continuation": lambda protocol: protocol.send_continuation(b"", True),
    "serialize_message": lambda protocol: protocol.serialize_message(Opcode.TEXT, b""),
    "send_ping": lambda protocol: protocol.send_ping(),
    "send_pong": lambda protocol: protocol.send_pong(),
    "send_close": lambda protocol: protocol.send_close(1000),
}


@pytest.mark.parametrize("state", [State.CONNECTING, State.CLOSING, State.CLOSED])
@pytest.mark.parametrize("send", SENDERS.values(), ids=SENDERS)
def test_only_an_open_connection_sends(send, state):
    protocol = Protocol(Role.SERVER, state=state)
    with pytest.raises(InvalidState, match=f"connection is {state.name.lower()}"):
        send(protocol)
    assert not protocol.has_output


# --- receiving ---


@ROLES
def test_messages_and_frames_are_events(role):
    protocol = Protocol(role)
    events = feed(protocol, HELLO, (0x82, b"\xff"), (0x01, b"a"), (0x8A, b"p"), (0x80, b"b"))
    assert events == [
        "hello",
        b"\xff",
        Frame(Opcode.TEXT, b"a", fin=False),
        Frame(Opcode.PONG, b"p"),
        Frame(Opcode.CONT, b"b"),
    ]
    assert protocol.events_received() == []
    assert protocol.state is State.OPEN
    assert not protocol.has_output


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_whatever_holds_bytes_can_be_received(kind):
    protocol = Protocol(Role.CLIENT)
    data = build_frame(*HELLO)
    protocol.receive_data(kind(data[:4]))
    protocol.receive_data(kind(data[4:]))
    assert protocol.events_received() == ["hello"]


@ROLES
def test_ping_is_answered_with_its_payload(role):
    protocol = Protocol(role)
    assert feed(protocol, (0x89, b"p")) == [Frame(Opcode.PING, b"p")]
    assert protocol.has_output
    assert sent(protocol) == [(0x8A, b"p")]


@ROLES
def test_only_the_newest_ping_is_answered(role):
    protocol = Protocol(role)
    feed(protocol, (0x89, b"1"), (0x89, b"2"))
    feed(protocol, (0x89, b"3"))
    assert sent(protocol) == [(0x8A, b"3")]
    feed(protocol, (0x89, b""))
    assert sent(protocol) == [(0x8A, b"")]


@ROLES
def test_pong_goes_before_a_close_frame(role):
    protocol = Protocol(role)
    feed(protocol, (0x89, b"p"))
    protocol.send_close(1000)
    assert sent(protocol) == [(0x8A, b"p"), close_frame(1000)]
    feed(protocol, (0x89, b"late"))
    assert sent(protocol) == []


def test_pong_goes_before_the_end():
    for end in (Protocol.receive_eof, lambda protocol: protocol.fail(1006)):
        protocol = Protocol(Role.SERVER)
        feed(protocol, (0x89, b"p"))
        end(protocol)
        assert sent(protocol) == [(0x8A, b"p"), "EOF"]
        assert protocol.data_to_send() == []


# --- the closing handshake ---


@ROLES
def test_close_frame_is_answered_with_its_code(role):
    protocol = Protocol(role)
    frame = close_frame(1001, "bye")
    assert feed(protocol, frame, HELLO) == [Frame(Opcode.CLOSE, frame[1])]
    assert protocol.state is State.CLOSING
    assert protocol.close_expected()
    assert sent(protocol) == [frame, *eof_of(role)]
    assert protocol.close_code is None
    exc = closed(protocol)
    assert type(exc) is ConnectionClosedOK
    assert (exc.rcvd, exc.sent, exc.rcvd_then_sent) == (
        Close(1001, "bye"),
        Close(1001, "bye"),
        True,
    )
    assert exc.__cause__ is None
    assert (protocol.close_code, protocol.close_reason) == (1001, "bye")


@ROLES
def test_close_frame_that_is_sent_waits_for_an_answer(role):
    protocol = Protocol(role)
    protocol.send_close(1000, "done")
    assert sent(protocol) == [close_frame(1000, "done")]
    assert protocol.state is State.CLOSING
    assert not protocol.close_expected()
    assert feed(protocol, HELLO) == ["hello"]
    feed(protocol, close_frame(1000))
    assert protocol.close_expected()
    assert sent(protocol) == eof_of(role)
    exc = closed(protocol)
    assert type(exc) is ConnectionClosedOK
    assert (exc.rcvd, exc.sent, exc.rcvd_then_sent) == (Close(1000), Close(1000, "done"), False)
    assert sent(protocol) == ([] if role is Role.SERVER else ["EOF"])


@ROLES
def test_close_frames_without_a_code_are_1005(role):
    protocol = Protocol(role)
    feed(protocol, (0x88, b""))
    assert sent(protocol) == [(0x88, b""), *eof_of(role)]
    assert type(closed(protocol)) is ConnectionClosedOK
    assert (protocol.close_code, protocol.close_reason) == (1005, "")
    protocol = Protocol(role)
    protocol.send_close()
    assert sent(protocol) == [(0x88, b"")]
    assert protocol.close_sent == Close(1005, "")


@ROLES
def test_close_frame_with_another_code_is_an_error(role):
    protocol = Protocol(role)
    feed(protocol, close_frame(1011, "oops"))
    exc = closed(protocol)
    assert type(exc) is ConnectionClosedError
    assert (exc.code, exc.reason) == (1011, "oops")


@pytest.mark.parametrize(
    ("args", "match"),
    [
        ((1005,), "close code 1005 can't be sent; None sends no code"),
        ((1006,), "close code 1006 can't be sent"),
        ((999,), "close code 999 can't be sent"),
        ((None, "why"), "a close reason needs a close code"),
        ((1000, "é" * 62), "at most 123 bytes, got 124"),
    ],
)
def test_close_frame_that_is_wrong_is_not_sent(args, match):
    protocol = Protocol(Role.CLIENT)
    with pytest.raises(ProtocolError, match=match):
        protocol.send_close(*args)
    assert protocol.state is State.OPEN
    assert protocol.close_sent is None
    assert not protocol.has_output


@pytest.mark.parametrize(
    ("payload", "error", "close"),
    [
        (b"\x03", ProtocolError, (1002, "a close frame has a payload of one byte")),
        (b"\x03\xed", ProtocolError, (1002, "close code 1005 must not be sent")),
        (b"\x03\xe8\xff", UnicodeDecodeError, (1007, "invalid start byte at position 0")),
    ],
)
@ROLES
def test_close_frame_that_breaks_the_rules_fails_the_connection(role, payload, error, close):
    protocol = Protocol(role)
    feed(protocol, (0x88, payload))
    assert type(protocol.parser_exc) is error
    assert sent(protocol) == [close_frame(*close), *eof_of(role)]
    exc = closed(protocol)
    assert type(exc) is ConnectionClosedError
    assert exc.rcvd is None
    assert exc.__cause__ is protocol.parser_exc


def test_close_frame_may_interrupt_a_message_that_is_sent():
    protocol = Protocol(Role.SERVER)
    protocol.send_text(b"a", fin=False)
    protocol.send_close(1001)
    assert sent(protocol) == [(0x01, b"a"), close_frame(1001)]


# --- settings ---


@pytest.mark.parametrize(
    ("max_size", "message", "fragment"),
    [(None, None, None), (10, 10, None), ((10, 5), 10, 5), ((None, 5), None, 5)],
)
def test_max_size_limits_messages_and_fragments(max_size, message, fragment):
    protocol = Protocol(Role.CLIENT, max_size=max_size)
    assert (protocol.max_message_size, protocol.max_fragment_size) == (message, fragment)
    assert protocol.max_size == message
    limit = min((x for x in (message, fragment) if x is not None), default=2000)
    feed(protocol, (0x82, bytes(limit)))
    assert protocol.parser_exc is None
    feed(protocol, (0x82, bytes(limit + 1)))
    assert (protocol.parser_exc is None) == (max_size is None)


def test_default_limit_is_one_mebibyte():
    protocol = Protocol(Role.CLIENT)
    assert protocol.max_size == 2**20
    protocol.receive_data(b"\x82\x7f" + (2**20 + 1).to_bytes(8, "big"))
    assert protocol.close_sent.code == 1009


def test_logger_is_kept_for_the_caller():
    logger = object()
    assert Protocol(Role.CLIENT, logger=logger).logger is logger


def test_receive_error_without_an_error_does_nothing():
    protocol = Protocol(Role.CLIENT)
    protocol.receive_error()
    assert protocol.parser_exc is None
    assert protocol.state is State.OPEN


@pytest.mark.parametrize("payload", [5, [], [1, 2], None, "text"])
@pytest.mark.parametrize("method", ["send_ping", "send_pong", "send_binary", "receive_data"])
def test_what_holds_no_bytes_is_refused_and_nothing_happens(method, payload):
    protocol = Protocol(Role.CLIENT)
    with pytest.raises(TypeError):
        getattr(protocol, method)(payload)
    assert protocol.data_to_send() == []
    assert protocol.state is State.OPEN
