"""The examples of the RFCs: whole and byte by byte, received and sent by both roles."""

import zlib

import pytest
from support.wire import KEY, build_frame, build_frames, parse_frames
from vectors import rfc6455, rfc7692

from syncws.options import Deflate
from syncws.sansio.extensions import permessage_deflate
from syncws.sansio.extensions.permessage_deflate import PerMessageDeflate
from syncws.sansio.frames import Frame, Opcode
from syncws.sansio.handshake import accept_value
from syncws.sansio.protocol import Protocol
from syncws.sansio.state import Role, State

ROLES = pytest.mark.parametrize("role", list(Role), ids=lambda role: role.name)
SPLITS = pytest.mark.parametrize("size", [1, 2, 3, 1000, 10**6])


def receive(protocol, data, size):
    for start in range(0, len(data), size):
        protocol.receive_data(data[start : start + size])
    assert protocol.parser_exc is None
    assert not protocol.decoder.receiving
    return protocol.events_received()


@SPLITS
@ROLES
@pytest.mark.parametrize("vector", rfc6455.VECTORS, ids=lambda vector: vector[0])
def test_rfc6455_example_is_received(vector, role, size):
    _, masked, data, events = vector
    data = bytes.fromhex(data)
    if masked != (role is Role.SERVER):
        frames = parse_frames(data, masked=masked)
        data = build_frames(frames, KEY if role is Role.SERVER else None)
    assert receive(Protocol(role), data, size) == events


@ROLES
@pytest.mark.parametrize("vector", rfc6455.VECTORS, ids=lambda vector: vector[0])
def test_rfc6455_example_is_sent(vector, role):
    _, masked, data, events = vector
    protocol = Protocol(role)
    for event in events:
        if isinstance(event, str):
            protocol.send_text(event.encode())
        elif isinstance(event, bytes):
            protocol.send_binary(event)
        elif event.opcode in (Opcode.PING, Opcode.PONG):
            getattr(protocol, f"send_{event.opcode.name.lower()}")(event.data)
        elif event.opcode is Opcode.CONT:
            protocol.send_continuation(event.data, event.fin)
        else:
            protocol.send_text(event.data, event.fin)
    output = b"".join(protocol.data_to_send())
    if role is Role.SERVER and not masked:
        assert output == bytes.fromhex(data)
    expected = parse_frames(bytes.fromhex(data), masked=masked)
    assert parse_frames(output, masked=role is Role.CLIENT) == expected


def test_rfc6455_key_is_accepted_with_its_value():
    assert accept_value(rfc6455.KEY) == rfc6455.ACCEPT


def deflating(role, **settings):
    protocol = Protocol(role, state=State.CONNECTING)
    protocol.extensions = [PerMessageDeflate(role, Deflate(**settings))]
    protocol._open()
    return protocol


@SPLITS
@ROLES
@pytest.mark.parametrize("vector", rfc7692.VECTORS, ids=lambda vector: f"{vector[0]}-{vector[1]}")
def test_rfc7692_example_is_received(vector, role, size):
    _, _, frames, messages = vector
    frames = [(first, bytes.fromhex(payload)) for first, payload in frames]
    data = build_frames(frames, KEY if role is Role.SERVER else None)
    events = receive(deflating(role), data, size)
    if len(frames) == len(messages):
        assert events == messages
    else:
        assert [(event.opcode, event.fin) for event in events] == [
            (Opcode.TEXT, False),
            (Opcode.CONT, True),
        ]
        assert b"".join(event.data for event in events).decode() == messages[0]
        assert not any(event.rsv1 for event in events)


@ROLES
@pytest.mark.parametrize(
    ("settings", "payloads"),
    [
        ({}, ["f2 48 cd c9 c9 07 00", "f2 00 11 00 00", "00"]),
        (
            {"server_no_context_takeover": True, "client_no_context_takeover": True},
            ["f2 48 cd c9 c9 07 00", "f2 48 cd c9 c9 07 00", "00"],
        ),
    ],
    ids=["context takeover", "no context takeover"],
)
def test_rfc7692_example_is_sent(role, settings, payloads, monkeypatch):
    monkeypatch.setattr(permessage_deflate, "zlib", zlib)  # zlib-ng makes other bytes of it
    protocol = deflating(role, **settings, min_size=0)
    sent = [
        protocol.serialize_message(Opcode.TEXT, text, compress=True)
        for text in (b"Hello", b"Hello", b"")
    ]
    frames = parse_frames(b"".join(sent), masked=role is Role.CLIENT)
    assert frames == [(0xC1, bytes.fromhex(payload)) for payload in payloads]


def test_vectors_of_control_frames_between_fragments_are_kept_in_order():
    data = build_frame(0x01, b"Hel") + build_frame(0x89, b"Hello") + build_frame(0x80, b"lo")
    assert receive(Protocol(Role.CLIENT), data, 1) == [
        Frame(Opcode.TEXT, b"Hel", fin=False),
        Frame(Opcode.PING, b"Hello"),
        Frame(Opcode.CONT, b"lo"),
    ]
