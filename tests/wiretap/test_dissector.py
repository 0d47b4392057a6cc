"""Connections taken apart: whole and byte by byte, whatever a peer sends."""

import json
import random
import zlib

import pytest
from support.wire import KEY, build_frame, mask
from vectors import rfc6455, rfc7692

from syncws.sansio.frames import Frame, Opcode
from syncws.wiretap import dissector
from syncws.wiretap.dissector import (
    DissectedFrame,
    Dissector,
    Exchange,
    HttpHead,
    Record,
    Unreadable,
)

REQUEST = b"GET /chat HTTP/1.1\r\nHost: localhost\r\nX-Byte: \xe9\r\n\r\n"
RESPONSE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


def agreeing(extensions="permessage-deflate"):
    return RESPONSE[:-2] + f"sec-websocket-extensions: {extensions}\r\n\r\n".encode()


def whole(make, data):
    each = make()
    return each.receive_data(data), each.error


def bytewise(make, data):
    each = make()
    records = [record for byte in data for record in each.receive_data(bytes([byte]))]
    return records, each.error


def both_ways(data, **kwargs):
    """The records of a stream, and its error; the same however it is split."""

    def make():
        return Dissector(**kwargs)

    result = whole(make, data)
    assert bytewise(make, data) == result
    return result


def frames_of(data, **kwargs):
    records, error = both_ways(data, http=False, **kwargs)
    assert error is None
    return records


def deflate(data):
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize(("name", "masked", "data", "events"), rfc6455.VECTORS)
def test_examples_of_rfc_6455(name, masked, data, events):
    data = bytes.fromhex(data)
    frames = frames_of(data, max_payload=1 << 17)
    assert b"".join(frame.header + frame.wire_payload for frame in frames) == data
    for frame, event in zip(frames, events):
        if not isinstance(event, Frame):
            is_text = isinstance(event, str)
            event = Frame(Opcode.TEXT, event.encode()) if is_text else Frame(Opcode.BINARY, event)
        assert Frame(event.opcode, frame.payload, frame.fin) == event
        assert (frame.opcode, frame.name) == (event.opcode, event.opcode.name)
        assert frame.masking_key == (KEY if masked else None)
        assert frame.length == len(event.data)
        assert not any([frame.rsv1, frame.rsv2, frame.rsv3, frame.compressed])
        assert frame.is_control == (event.opcode >= 8)
    assert len(frames) == len(events)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("section", "what", "frames", "messages"), rfc7692.VECTORS)
def test_examples_of_rfc_7692(section, what, frames, messages, masked):
    extensions = "permessage-deflate"
    if "not shared" in what:
        extensions += "; server_no_context_takeover; client_no_context_takeover"
    data = b"".join(
        build_frame(first, bytes.fromhex(payload), KEY if masked else None)
        for first, payload in frames
    )
    if masked:
        found = []
        for step in (1, len(data)):
            exchange = Exchange()
            exchange.received(agreeing(extensions))
            exchange.sent(REQUEST)
            pieces = [data[at : at + step] for at in range(0, len(data), step)]
            found.append([each.what for piece in pieces for each in exchange.sent(piece)])
        assert found[0] == found[1]
        records = found[0]
    else:
        (head, *records), error = both_ways(agreeing(extensions) + data)
        assert (head.status, error) == (101, None)
    said, text = [], ""
    for frame in records:
        assert frame.compressed
        assert frame.problem is None
        assert frame.message_opcode == Opcode.TEXT
        assert frame.inflated_length == frame.content_length == len(frame.inflated)
        text += frame.text
        if frame.fin:
            said.append(text)
            text = ""
    assert said == messages


def test_heads_are_shown_as_they_are():
    (head, frame), error = both_ways(REQUEST + bytes.fromhex("8900"))
    assert error is None
    assert head == HttpHead(REQUEST[:-4].decode("latin-1"), len(REQUEST))
    assert head.lines == ["GET /chat HTTP/1.1", "Host: localhost", "X-Byte: é"]
    assert head.status is None
    assert head.get_all("HOST") == ["localhost"]
    assert frame.name == "PING"


def test_heads_may_come_before_the_response():
    early = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    records, error = both_ways(early + RESPONSE + bytes.fromhex("8a00"))
    assert error is None
    assert [record.status for record in records[:3]] == [103, 100, 101]
    assert records[3].name == "PONG"


def test_a_head_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr(dissector, "MAX_HEAD", 64)
    records, error = both_ways(b"x" * 100)
    assert records == []
    assert error == "the head of HTTP doesn't end within 64 bytes"
    assert both_ways(b"x" * 60 + b"\r\n\r\n") == ([HttpHead("x" * 60, 64)], None)


def test_what_follows_a_refusal_is_not_taken_for_frames():
    records, error = both_ways(b"HTTP/1.1 404 Not Found\r\n\r\n\x81\x00")
    assert [record.status for record in records] == [404]
    assert error == "no WebSocket: the server answered with status 404"


def test_a_length_that_is_not_allowed_ends_it():
    records, error = both_ways(bytes.fromhex("8900 827f8000000000000000 8900"), http=False)
    assert [record.name for record in records] == ["PING"]
    assert error == "a frame has a length over 2**63 - 1 bytes"


def test_huge_frames_are_followed_without_being_kept():
    each = Dissector(http=False, max_payload=10)
    assert each.receive_data(bytes.fromhex("82ff7fffffffffffffff") + KEY) == []
    for _ in range(50):
        assert each.receive_data(mask(bytes(1 << 16))) == []
    assert each.error is None


@pytest.mark.parametrize("masked", [False, True])
def test_only_the_beginning_of_a_payload_is_kept(masked):
    payload = bytes(range(256)) * 2
    data = build_frame(0x82, payload, KEY if masked else None) + bytes.fromhex("8103") + b"end"
    frame, following = frames_of(data, max_payload=7)
    assert frame.payload == payload[:7]
    assert frame.wire_payload == (mask(payload) if masked else payload)[:7]
    assert frame.length == frame.content_length == 512
    assert frame.to_dict()["truncated"]
    assert following.text == "end"
    assert not following.to_dict()["truncated"]


def test_continuations_know_what_they_continue():
    frames = frames_of(
        bytes.fromhex("0001 61 8000 0101 61 8900 0001 62 8001 63 0200 8000 8001 64 8300")
    )
    assert [frame.message_opcode for frame in frames] == [
        *(None, None),
        *(1, None, 1, 1),
        *(2, 2, None),
        3,
    ]
    assert [frame.text for frame in frames[2:6]] == ["a", None, "b", "c"]
    assert frames[-1].name == "OPCODE 3"


@pytest.mark.parametrize(
    ("payload", "code", "reason", "meaning"),
    [
        ("", None, "", None),
        ("03", None, "", None),
        ("03e8", 1000, "", "1000 (normal closure)"),
        ("03e9 627965", 1001, "bye", "1001 (going away)"),
        ("0000 ff", 0, "\N{REPLACEMENT CHARACTER}", "0 (unknown)"),
    ],
)
def test_close_frames_say_why(payload, code, reason, meaning):
    (frame,) = frames_of(build_frame(0x88, bytes.fromhex(payload)))
    assert (frame.close_code, frame.close_reason) == (code, reason)
    assert frame.to_dict()["meaning"] == meaning
    assert frame.text is None


def test_other_frames_have_no_close_code():
    (frame,) = frames_of(bytes.fromhex("890203e8"))
    assert (frame.close_code, frame.close_reason) == (None, "")


def test_text_that_ends_within_a_character_is_still_text():
    (frame,) = frames_of(build_frame(0x81, "é".encode()), max_payload=1)
    assert frame.text == "\N{REPLACEMENT CHARACTER}"


def test_rsv1_means_nothing_unless_compression_was_agreed_on():
    data = bytes.fromhex("c107f248cdc9c90700")
    for response in (RESPONSE, agreeing("x-other"), agreeing("nonsense;;"), agreeing("")):
        (_, frame), error = both_ways(response + data)
        assert error is None
        assert frame.rsv1
        assert not frame.compressed
        assert frame.payload == data[2:]
    wrong = agreeing("permessage-deflate; server_max_window_bits=77")
    assert not both_ways(wrong + data)[0][1].compressed


def test_uncompressed_messages_may_come_in_between():
    data = b"".join(
        [
            build_frame(0xC1, deflate(b"one")),
            build_frame(0x81, b"two"),
            build_frame(0x42, b""),
            build_frame(0x89, b"three"),
            build_frame(0x80, deflate(b"\0four")),
        ]
    )
    (_, *frames), _ = both_ways(agreeing("x-other, permessage-deflate") + data)
    assert [frame.compressed for frame in frames] == [True, False, True, False, True]
    assert [frame.content for frame in frames] == [b"one", b"two", b"", b"three", b"\0four"]


def test_what_inflates_to_much_is_counted_but_not_kept():
    text = b"0123456789" * 10_000
    (_, frame), _ = both_ways(agreeing() + build_frame(0xC1, deflate(text)), max_payload=15)
    assert frame.inflated == text[:15]
    assert frame.inflated_length == frame.content_length == len(text)
    assert len(frame.payload) == 15
    assert frame.to_dict()["truncated"]


def test_a_decompression_bomb_stops_inflating_that_direction(monkeypatch):
    monkeypatch.setattr(dissector, "MAX_INFLATED", 1 << 16)
    fine = build_frame(0xC2, deflate(bytes(1 << 16)))
    bomb = build_frame(0xC2, deflate(bytes((1 << 16) + 1)))
    (_, *frames), error = both_ways(agreeing() + fine + fine + bomb + fine)
    assert error is None
    assert [frame.inflated_length for frame in frames] == [1 << 16, 1 << 16, None, None]
    assert frames[2].problem == frames[3].problem == "the message inflates to over 65536 bytes"
    assert frames[3].compressed
    assert frames[3].text is None
    exchange = Exchange()
    exchange.received(agreeing() + bomb)
    exchange.sent(REQUEST)
    (record,) = exchange.sent(build_frame(0xC1, deflate(b"other"), KEY))
    assert record.what.text == "other"


def test_broken_compression_stops_inflating_that_direction():
    broken = build_frame(0xC1, b"\xff" * 20)
    (_, *frames), error = both_ways(
        agreeing() + broken + build_frame(0xC1, deflate(b"fine")) + build_frame(0x81, b"plain")
    )
    assert error is None
    assert frames[0].problem.startswith("compressed data is broken")
    assert frames[1].problem == frames[0].problem
    assert frames[1].text is None
    assert frames[2].text == "plain"


def test_both_directions_know_what_was_agreed_on():
    exchange = Exchange()
    heads = exchange.sent(REQUEST) + exchange.received(agreeing())
    assert [record.sent for record in heads] == [True, False]
    compressed = deflate(b"hello")
    (sent,) = exchange.sent(build_frame(0xC1, compressed, KEY))
    (received,) = exchange.received(build_frame(0xC1, compressed))
    assert sent == Record(True, sent.what)
    assert (sent.what.text, received.what.text) == ("hello", "hello")
    assert (sent.what.masking_key, received.what.masking_key) == (KEY, None)


def test_a_server_sees_the_same():
    exchange = Exchange()
    exchange.received(REQUEST)
    exchange.sent(agreeing())
    (record,) = exchange.received(build_frame(0xC1, deflate(b"hello"), KEY))
    assert (record.sent, record.what.text) == (False, "hello")


def test_it_is_said_once_that_a_direction_is_unreadable():
    exchange = Exchange()
    exchange.sent(REQUEST)
    assert [
        type(record.what) for record in exchange.received(b"HTTP/1.1 100 Continue\r\n\r\n")
    ] == [HttpHead]
    head, unreadable = exchange.received(b"HTTP/1.1 403 Forbidden\r\n\r\nNo")
    assert head.what.status == 403
    text = "no WebSocket: the server answered with status 403"
    assert unreadable == Record(False, Unreadable(text))
    assert exchange.received(b"body") == []
    assert exchange.received(b"") == exchange.sent(b"") == []
    assert exchange.sent(b"more") == [Record(True, Unreadable(text))]
    assert exchange.sent(b"more") == []


def test_records_can_be_json():
    exchange = Exchange()
    records = [
        *exchange.sent(REQUEST),
        *exchange.received(agreeing()),
        *exchange.received(build_frame(0xC1, deflate(b"hi"))),
        *exchange.sent(
            build_frame(0x88, b"\x03\xe8bye", KEY) + bytes.fromhex("827fffffffffffffffff")
        ),
    ]
    request, response, frame, close, end = json.loads(json.dumps([r.to_dict() for r in records]))
    assert (request["type"], request["sent"], request["status"]) == ("http", True, None)
    assert request["lines"][0] == "GET /chat HTTP/1.1"
    assert (response["status"], response["size"]) == (101, len(agreeing()))
    assert frame == {
        "sent": False,
        "type": "frame",
        "name": "TEXT",
        "fin": True,
        "rsv1": True,
        "rsv2": False,
        "rsv3": False,
        "opcode": 1,
        "masking_key": None,
        "length": len(deflate(b"hi")),
        "header": build_frame(0xC1, deflate(b"hi"))[:2].hex(),
        "payload": deflate(b"hi").hex(),
        "inflated": "6869",
        "inflated_length": 2,
        "compressed": True,
        "problem": None,
        "message_opcode": 1,
        "text": "hi",
        "truncated": False,
        "close_code": None,
        "close_reason": "",
        "meaning": None,
    }
    assert (close["masking_key"], close["close_code"], close["close_reason"]) == (
        KEY.hex(),
        1000,
        "bye",
    )
    assert end["type"] == "unreadable"


def test_nothing_that_a_peer_sends_raises():
    generator = random.Random(7692)
    for _ in range(300):
        noise = bytes(generator.choices(range(256), k=generator.randrange(200)))
        for start in (b"", agreeing()):
            records, _ = both_ways(start + noise, http=bool(start), max_payload=9)
            for record in records:
                json.dumps(record.to_dict())
                assert isinstance(record, (HttpHead, DissectedFrame))
