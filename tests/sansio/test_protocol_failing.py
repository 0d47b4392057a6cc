"""How a connection fails, and how the stream ends."""

import pytest
from support.protocols import HELLO, ROLES, close_frame, closed, eof_of, feed, sent

from syncws.exceptions import (
    ConnectionClosedError,
    InvalidState,
    PayloadTooBig,
    ProtocolError,
    TooManyFragments,
)
from syncws.sansio.close import Close
from syncws.sansio.frames import Frame, Opcode
from syncws.sansio.protocol import Protocol
from syncws.sansio.state import Role, State

# --- failing ---


@pytest.mark.parametrize(
    ("frames", "error", "close"),
    [
        ([(0x83, b"")], ProtocolError, (1002, "opcode 0x3 is reserved")),
        ([(0x81, b"ab\xff")], UnicodeDecodeError, (1007, "invalid start byte at position 2")),
        (
            [(0x82, bytes(101))],
            PayloadTooBig,
            (1009, "frame with 101 bytes exceeds the limit of 100 bytes"),
        ),
        (
            [(0x02, bytes(60)), (0x80, bytes(60))],
            PayloadTooBig,
            (
                1009,
                "message with 120 bytes (60 bytes of it in earlier fragments) exceeds the limit "
                "of 100 bytes",
            ),
        ),
    ],
)
@ROLES
def test_what_breaks_the_rules_fails_the_connection(role, frames, error, close):
    protocol = Protocol(role, max_size=100)
    events = feed(protocol, HELLO, *frames, HELLO)
    assert events[0] == "hello"
    assert len(events) == len(frames)
    assert protocol.state is State.CLOSING
    assert protocol.close_expected()
    assert type(protocol.parser_exc) is error
    assert sent(protocol) == [close_frame(*close), *eof_of(role)]
    assert feed(protocol, HELLO, close_frame(1000)) == []
    exc = closed(protocol)
    assert type(exc) is ConnectionClosedError
    assert (exc.rcvd, exc.sent) == (None, Close(*close))
    assert exc.__cause__ is protocol.parser_exc
    assert (protocol.close_code, protocol.close_reason) == (1006, "")


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (TooManyFragments("too many fragments"), 1009, "too many fragments"),
        (RuntimeError("secret"), 1011, ""),
    ],
)
def test_errors_of_extensions_and_limits_have_their_codes(error, code, reason):
    protocol = Protocol(Role.CLIENT)
    protocol.decoder.error = error
    protocol.receive_error()
    protocol.receive_error()
    assert protocol.parser_exc is error
    assert sent(protocol) == [close_frame(code, reason)]


@ROLES
def test_error_after_our_close_frame_sends_no_other(role):
    protocol = Protocol(role)
    protocol.send_close(1000)
    sent(protocol)
    feed(protocol, (0x83, b""))
    assert sent(protocol) == eof_of(role)
    assert protocol.close_expected()
    exc = closed(protocol)
    assert type(exc) is ConnectionClosedError
    assert (exc.rcvd, exc.sent) == (None, Close(1000))
    assert type(exc.__cause__) is ProtocolError


@ROLES
def test_failing_says_why_and_discards_what_comes(role):
    protocol = Protocol(role)
    protocol.fail(1011, "internal")
    protocol.fail(1002, "again")
    assert protocol.state is State.CLOSING
    assert protocol.close_expected()
    assert sent(protocol) == [close_frame(1011, "internal"), *eof_of(role)]
    assert feed(protocol, HELLO, close_frame(1000)) == []
    exc = closed(protocol)
    assert (exc.rcvd, exc.sent, exc.__cause__) == (None, Close(1011, "internal"), None)


@ROLES
def test_failing_with_1006_sends_no_close_frame(role):
    protocol = Protocol(role)
    protocol.fail(1006)
    assert sent(protocol) == eof_of(role)
    assert protocol.close_expected()
    exc = closed(protocol)
    assert (exc.rcvd, exc.sent, exc.code) == (None, None, 1006)


def test_failing_cuts_the_reason_between_characters():
    protocol = Protocol(Role.CLIENT)
    protocol.fail(1011, "é" * 100)
    assert protocol.close_sent == Close(1011, "é" * 61)
    protocol = Protocol(Role.CLIENT)
    protocol.fail(1011, "a\ud800")
    assert protocol.close_sent == Close(1011, "a?")


def test_failing_with_a_code_that_may_not_be_sent_changes_nothing():
    protocol = Protocol(Role.CLIENT)
    with pytest.raises(ProtocolError, match="1015"):
        protocol.fail(1015)
    assert protocol.state is State.OPEN
    assert not protocol.has_output


@ROLES
def test_failing_before_the_opening_handshake_ends_sends_no_frame(role):
    protocol = Protocol(role, state=State.CONNECTING)
    protocol.fail(1011, "internal")
    assert sent(protocol) == eof_of(role)
    protocol.receive_data(b"anything")
    assert protocol.events_received() == []
    assert type(closed(protocol)) is ConnectionClosedError


def test_failing_a_closed_connection_changes_nothing():
    protocol = Protocol(Role.SERVER)
    protocol.receive_eof()
    sent(protocol)
    protocol.fail(1011)
    assert protocol.state is State.CLOSED
    assert not protocol.has_output


@ROLES
def test_close_frame_parsed_before_failing_counts_but_is_not_answered(role):
    for code, close in ((1006, None), (1011, Close(1011))):
        protocol = Protocol(role)
        frame = Frame(Opcode.CLOSE, b"\x03\xe8")
        protocol.fail(code)
        protocol.receive_event(frame)
        assert len(sent(protocol)) == (close is not None) + len(eof_of(role))
        exc = closed(protocol)
        assert (exc.rcvd, exc.sent) == (Close(1000), close)
        assert exc.rcvd_then_sent is (None if close is None else False)
        assert type(exc) is ConnectionClosedError


@ROLES
def test_frames_parsed_before_the_end_are_too_late_after_it(role):
    protocol = Protocol(role)
    protocol.receive_eof()
    sent(protocol)
    for frame in (Frame(Opcode.CLOSE, b"\x03\xe8"), Frame(Opcode.PING, b"")):
        protocol.receive_event(frame)
    assert protocol.close_rcvd is None
    assert not protocol.has_output
    assert closed(protocol).code == 1006


# --- the end ---


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the connection ended without a close frame"),
        (b"\x81", "the connection ended in the middle of a frame without a close frame"),
        (b"\x81\x05Hel", "the connection ended in the middle of a frame without a close frame"),
    ],
)
def test_end_without_a_close_frame_is_an_error(data, message):
    protocol = Protocol(Role.CLIENT)
    protocol.receive_data(data)
    protocol.receive_eof()
    assert protocol.state is State.CLOSED
    assert protocol.close_expected()
    exc = protocol.close_exc
    assert type(exc) is ConnectionClosedError
    assert (exc.rcvd, exc.sent, exc.code) == (None, None, 1006)
    assert type(exc.__cause__) is EOFError
    assert str(exc.__cause__) == message
    assert (protocol.close_code, protocol.close_reason) == (1006, "")


@ROLES
def test_end_comes_once_and_nothing_after_it(role):
    protocol = Protocol(role)
    protocol.receive_eof()
    cause = protocol.parser_exc
    protocol.receive_eof()
    assert protocol.parser_exc is cause
    assert feed(protocol, HELLO) == []
    assert sent(protocol) == ["EOF"]


def test_close_exc_needs_a_closed_connection_and_is_new_each_time():
    protocol = Protocol(Role.CLIENT)
    for _ in range(2):
        with pytest.raises(InvalidState, match="not closed"):
            _ = protocol.close_exc
        if protocol.state is State.OPEN:
            protocol.send_close(1000)
    assert (protocol.close_code, protocol.close_reason) == (None, None)
    protocol.receive_eof()
    assert protocol.close_exc is not protocol.close_exc
