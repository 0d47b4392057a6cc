"""Streams of frames, fed to a protocol that is open, in pieces and as a whole."""

from fuzz.streams import (
    CODE_OF_ERROR,
    WIRE_CODES,
    Compressor,
    check,
    damage_bytes,
    damage_frame,
    random_pieces,
    random_stream,
)
from support.wire import build_frame, parse_frames

from syncws.exceptions import ConnectionClosed, InvalidState, ProtocolError
from syncws.options import Deflate
from syncws.sansio.extensions.permessage_deflate import PerMessageDeflate
from syncws.sansio.frames import Frame, Opcode
from syncws.sansio.protocol import Protocol
from syncws.sansio.state import Role, State

WINDOW_BITS = (None, None, None, 8, 9, 12, 15)
MAX_SIZES = (None, 1 << 20, 1 << 20, 1 << 20, 0, 1, 20, 126, 1000, (1000, 30), (None, 100))


def random_agreement(rng):
    return Deflate(
        server_no_context_takeover=rng.random() < 0.3,
        client_no_context_takeover=rng.random() < 0.3,
        server_max_window_bits=rng.choice(WINDOW_BITS),
        client_max_window_bits=rng.choice(WINDOW_BITS),
    )


def make_protocol(role, agreement, max_size):
    """A protocol that is open, past its opening handshake."""
    protocol = Protocol(role, state=State.OPEN, max_size=max_size)
    if agreement is not None:
        protocol.extensions = [PerMessageDeflate(role, agreement)]
        protocol._make_decoder()
    return protocol


def assemble(events):
    """The messages, and control frames as (first byte, payload), that events stand for."""
    meaning, parts, opcode = [], [], None
    for event in events:
        if not isinstance(event, Frame):
            meaning.append(event)
        elif event.opcode in (Opcode.CLOSE, Opcode.PING, Opcode.PONG):
            meaning.append((event.first_byte, event.data))
        else:
            if event.opcode is not Opcode.CONT:
                opcode = event.opcode
            parts.append(event.data)
            if event.fin:
                data = b"".join(parts)
                meaning.append(data.decode() if opcode is Opcode.TEXT else data)
                parts = []
    return meaning


def check_events(events, protocol):
    """Check the limits of messages and fragments, and the order of frames."""
    limit, fragment_limit = protocol.max_message_size, protocol.max_fragment_size
    size, within = 0, False
    for index, event in enumerate(events):
        if isinstance(event, (str, bytes)):
            data, fin, starts = event if isinstance(event, bytes) else event.encode(), True, True
        elif event.opcode >= Opcode.CLOSE:
            check(event.fin and len(event.data) <= 125, "a control frame breaks the rules")
            last = index == len(events) - 1
            check(event.opcode is not Opcode.CLOSE or last, "something follows a close frame")
            continue
        else:
            check(not (event.rsv1 or event.rsv2 or event.rsv3), "a reserved bit is left")
            data, fin, starts = event.data, event.fin, event.opcode is not Opcode.CONT
        check(starts != within, "messages are interleaved")
        size = len(data) if starts else size + len(data)
        within = not fin
        check(limit is None or size <= limit, "a message is over the limit")
        check(fragment_limit is None or len(data) <= fragment_limit, "a fragment is over it")


def check_output(output, protocol):
    """Check what was sent, as strictly as can be; return its frames."""
    data = b"".join(output)
    if b"" in output:
        check(output.index(b"") == len(output) - 1, "output goes on after the end")
    frames = parse_frames(data, masked=protocol.role is Role.CLIENT)
    for index, (first, payload) in enumerate(frames):
        opcode = first & 0x0F
        check(opcode in (0, 1, 2, 8, 9, 10), "output has a reserved opcode")
        if opcode >= 8:
            check(first & 0xF0 == 0x80 and len(payload) <= 125, "a control frame sent is wrong")
        if opcode == 8:
            check(index == len(frames) - 1, "output goes on after a close frame")
            check_close_payload(payload, protocol.close_sent)
    sent = bool(frames) and frames[-1][0] == 0x88
    check(sent == (protocol.close_sent is not None), "close_sent isn't what was sent")
    return frames


def check_close_payload(payload, close):
    check(len(payload) != 1, "a close frame sent has one byte")
    code = int.from_bytes(payload[:2], "big") if payload else 1005
    check(not payload or code in WIRE_CODES or 3000 <= code <= 4999, f"close code {code} sent")
    check((close.code, close.reason) == (code, payload[2:].decode()), "close_sent differs")


def check_end(protocol, error_before_eof, undisturbed):
    """Check that state, error and close frames fit together once it is over."""
    check(protocol.state is State.CLOSED, "not closed after the end")
    exc = protocol.close_exc
    check(isinstance(exc, ConnectionClosed) and str(exc), "no exception at the end")
    check(exc.__cause__ is protocol.parser_exc, "the cause is lost")
    expected = 1006 if protocol.close_rcvd is None else protocol.close_rcvd.code
    check(protocol.close_code == exc.code == expected, "close_code differs")
    check(protocol.close_reason == exc.reason, "close_reason differs")
    error = protocol.parser_exc
    if error_before_eof is not None:
        check(type(error) in CODE_OF_ERROR, f"undocumented error {error!r}")
        check(len(str(error)) < 300, "an error quotes too much")
        if undisturbed:
            check(protocol.close_sent is not None, "failed without a close frame")
            code = CODE_OF_ERROR[type(error)]
            check(protocol.close_sent.code == code, f"{error!r} failed with another code")
    elif error is not None:
        check(type(error) is EOFError and protocol.close_rcvd is None, f"unexpected {error!r}")


def run_frames(protocol, pieces, actions=None):
    """Feed a stream, then the end; return everything that could be seen of it."""
    events, output = [], []
    for piece in pieces:
        protocol.receive_data(piece)
        events += protocol.events_received()
        if actions is not None:
            actions(protocol, output)
    error = protocol.parser_exc
    check((error is not None) <= (protocol.state > State.OPEN), "open in spite of an error")
    expected_end = protocol.close_expected()
    protocol.receive_eof()
    protocol.receive_eof()
    protocol.receive_data(b"\x81\x00")
    check(not protocol.events_received(), "events after the end")
    output += protocol.data_to_send()
    check(not protocol.has_output and not protocol.data_to_send(), "output is there twice")
    check_events(events, protocol)
    frames = check_output(output, protocol)
    check_end(protocol, error, actions is None)
    seen = (type(protocol.parser_exc), str(protocol.parser_exc))
    close = (protocol.close_sent, protocol.close_rcvd, protocol.close_rcvd_then_sent)
    return events, frames, output.count(b""), seen, close, expected_end


def make_actions(rng):
    """What a program may do between reads; only documented exceptions may come of it."""

    def act(protocol, output):
        what = rng.randrange(12)
        try:
            if what == 0:
                protocol.send_text(b"x" * rng.choice((0, 1, 100, 200)), fin=rng.random() < 0.7)
            elif what == 1:
                protocol.send_binary(memoryview(b"\0" * 100), fin=rng.random() < 0.7)
            elif what == 2:
                protocol.send_continuation(bytearray(b"more"), fin=rng.random() < 0.5)
            elif what == 3:
                protocol.send_ping(b"p" * rng.choice((0, 125, 126)))
            elif what == 4:
                protocol.send_pong()
            elif what == 5:
                protocol.send_close(rng.choice((None, 1000, 1005, 1006, 3000)), "é" * 61)
            elif what == 6 and rng.random() < 0.5:
                protocol.fail(rng.choice((1001, 1006, 1011)), "é" * 100)
        except (InvalidState, ProtocolError):
            pass
        if rng.random() < 0.5:
            output += protocol.data_to_send()

    return act


def fuzz_frames(rng):
    role = rng.choice((Role.SERVER, Role.CLIENT))
    agreement = random_agreement(rng) if rng.random() < 0.6 else None
    compressor = None
    if agreement is not None:
        peer = "client" if role is Role.SERVER else "server"
        bits = getattr(agreement, f"{peer}_max_window_bits") or 15
        forget = getattr(agreement, f"{peer}_no_context_takeover")
        compressor = Compressor(rng, bits, forget)
    frames, meaning = random_stream(rng, compressor)
    max_size = rng.choice(MAX_SIZES)

    def key():
        return rng.getrandbits(32).to_bytes(4, "big") if role is Role.SERVER else None

    damage = rng.random()
    wrong = rng.randrange(len(frames)) if damage < 0.5 else -1
    data = b"".join(
        damage_frame(rng, first, payload, key())
        if index == wrong
        else build_frame(first, payload, key())
        for index, (first, payload) in enumerate(frames)
    )
    if 0.4 < damage < 0.8:
        data = damage_bytes(rng, data)
    pieces = random_pieces(rng, data)
    if rng.random() < 0.2:
        run_frames(make_protocol(role, agreement, max_size), pieces, make_actions(rng))
        return
    whole = run_frames(make_protocol(role, agreement, max_size), [data])
    in_pieces = run_frames(make_protocol(role, agreement, max_size), pieces)
    check(whole == in_pieces, f"splits matter: {whole!r:.2000} != {in_pieces!r:.2000}")
    if damage >= 0.8 and (max_size is None or max_size == 1 << 20):
        check(assemble(whole[0]) == meaning, f"{assemble(whole[0])!r:.500} != {meaning!r:.500}")
