"""Protocols of either role, fed with frames."""

import pytest
from support.wire import KEY, build_frames, parse_frames

from syncws.sansio.protocol import SEND_EOF
from syncws.sansio.state import Role

ROLES = pytest.mark.parametrize("role", list(Role), ids=lambda role: role.name)
HELLO = 0x81, b"hello"


def feed(protocol, *frames):
    """Receive frames from the other role; return the events."""
    protocol.receive_data(build_frames(frames, KEY if protocol.role is Role.SERVER else None))
    return protocol.events_received()


def sent(protocol):
    """What there is to send: frames as (first byte, payload), and "EOF"."""
    output = protocol.data_to_send()
    data = b"".join(output)
    frames = parse_frames(data, masked=protocol.role is Role.CLIENT)
    assert SEND_EOF not in output[:-1]
    return frames + ["EOF"] * output.count(SEND_EOF)


def close_frame(code, reason=""):
    return 0x88, code.to_bytes(2, "big") + reason.encode()


def closed(protocol):
    protocol.receive_eof()
    return protocol.close_exc


def eof_of(role):
    return ["EOF"] if role is Role.SERVER else []
