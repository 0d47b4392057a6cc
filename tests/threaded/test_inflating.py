"""What is compressed a thousand times: it is inflated as far as there is room for it."""

import random

import pytest
from support.pairs import SOON, connect_protocol, run, socket_pair, wait_until

from syncws import ConnectionClosedError
from syncws.options import Deflate, Options
from syncws.sansio.extensions.permessage_deflate import PerMessageDeflate
from syncws.sansio.frames import Frame, Opcode
from syncws.sansio.state import Role

SIZE, COUNT = 100_000, 60


@pytest.fixture
def loaded():
    """A server's connection, and 6 MB that were sent to it in a few KB."""
    local, remote = socket_pair()
    remote.settimeout(SOON)
    server = connect_protocol(
        local,
        Role.SERVER,
        options=Options(max_queue=None),
        extensions=[PerMessageDeflate(Role.SERVER, Deflate())],
    )
    extension = PerMessageDeflate(Role.CLIENT, Deflate(level=9))
    frames = [extension.encode(Frame(Opcode.BINARY, bytes(SIZE))) for _ in range(COUNT)]
    data = b"".join(frame.serialize(masked=True) for frame in frames)
    assert len(data) < 16_000
    remote.sendall(data)
    yield server, remote
    remote.close()
    server.abort()
    assert server.wait_closed(SOON)


def test_no_more_than_one_message_above_the_limit_waits(loaded):
    server, _ = loaded
    wait_until(server._is_paused)
    assert server._queue.size < server.options.read_limit + 2 * SIZE
    assert server.stats.messages_received < 4
    for _ in range(COUNT):
        assert server.recv(SOON) == bytes(SIZE)
        assert server._queue.size < server.options.read_limit + 2 * SIZE


def test_what_waits_is_inflated_for_each_kind_of_caller(loaded):
    server, _ = loaded
    wait_until(server._is_paused)
    for _ in range(COUNT // 3):
        assert server.recv(SOON) == bytes(SIZE)
        assert b"".join(server.recv_streaming()) == bytes(SIZE)
        assert next(iter(server)) == bytes(SIZE)


def test_closing_gets_past_what_nobody_takes(loaded):
    server, remote = loaded
    wait_until(server._is_paused)
    remote.sendall(Frame(Opcode.CLOSE, b"\x03\xe8").serialize(masked=True))
    server.close()
    assert server.closed
    assert server.close_code == 1000


def test_closing_keeps_no_more_than_reading_does(loaded, monkeypatch):
    server, remote = loaded
    wait_until(server._is_paused)
    decoder, sizes, is_direct = server.protocol.decoder, [], server._direct
    decode = decoder.decode

    def measured(limit):
        events = decode(limit)
        sizes.append(sum(len(event) for event in events if isinstance(event, bytes)))
        return events

    monkeypatch.setattr(decoder, "decode", measured)
    remote.sendall(Frame(Opcode.CLOSE, b"\x03\xe8").serialize(masked=True))
    server.close()
    assert server.close_code == 1000
    assert max(sizes, default=0) <= server.options.read_limit + SIZE
    # The accelerator drops each message as soon as it is inflated.
    assert is_direct or len(sizes) > COUNT // 3
    assert server._queue.size <= server.options.read_limit + SIZE


def test_what_is_held_comes_before_what_breaks_the_rules(loaded):
    server, remote = loaded
    wait_until(server._is_paused)
    remote.sendall(b"\xff\xff")
    for _ in range(COUNT):
        assert server.recv(SOON) == bytes(SIZE)
    with pytest.raises(ConnectionClosedError) as caught:
        server.recv(SOON)
    assert caught.value.sent.code == 1002


def test_what_is_held_comes_before_the_end(loaded):
    server, remote = loaded
    wait_until(server._is_paused)
    remote.close()
    for _ in range(COUNT):
        assert server.recv(SOON) == bytes(SIZE)
    with pytest.raises(ConnectionClosedError) as caught:
        server.recv(SOON)
    assert caught.value.code == 1006


def test_what_follows_broken_data_is_not_received():
    local, remote = socket_pair()
    remote.settimeout(SOON)
    extension = PerMessageDeflate(Role.SERVER, Deflate())
    server = connect_protocol(local, Role.SERVER, extensions=[extension])
    client = PerMessageDeflate(Role.CLIENT, Deflate())
    frames = [client.encode(Frame(Opcode.BINARY, bytes(SIZE))) for _ in range(3)]
    broken = Frame(Opcode.BINARY, b"\x07\xff", rsv1=True)
    data = [frame.serialize(masked=True) for frame in (*frames, broken, *frames)]
    remote.sendall(b"".join(data))
    for _ in range(3):
        assert server.recv(SOON) == bytes(SIZE)
    with pytest.raises(ConnectionClosedError) as caught:
        server.recv(SOON)
    assert caught.value.sent.code == 1002
    assert "compressed data is broken" in str(caught.value)
    remote.close()


@pytest.mark.parametrize("seed", range(20))
def test_order_is_kept_whatever_is_held(seed):
    """Messages, compressed or not, whole or in fragments, and pings among them."""
    rng = random.Random(seed)
    local, remote = socket_pair()
    remote.settimeout(SOON)
    server = connect_protocol(
        local,
        Role.SERVER,
        options=Options(max_queue=rng.choice([None, 1, 4]), read_limit=rng.choice([1000, 65536])),
        extensions=[PerMessageDeflate(Role.SERVER, Deflate())],
    )
    client = PerMessageDeflate(Role.CLIENT, Deflate())
    messages, data = [], []
    for number in range(200):
        text = f"{number} " * rng.choice([1, 30, 3000])
        pieces = [text]
        if rng.random() < 0.3:
            middle = rng.randrange(len(text))
            pieces = [text[:middle], text[middle:]]
        compress = rng.random() < 0.7
        for index, piece in enumerate(pieces):
            if rng.random() < 0.2:
                data.append(Frame(Opcode.PING, b"").serialize(masked=True))
            kind = Opcode.CONT if index else Opcode.TEXT
            frame = Frame(kind, piece.encode(), fin=index == len(pieces) - 1)
            data.append(client.encode(frame, compress=compress).serialize(masked=True))
        messages.append(text)
    sending = run(remote.sendall, b"".join(data))
    received = [
        "".join(server.recv_streaming()) if rng.random() < 0.2 else server.recv(SOON)
        for _ in messages
    ]
    assert received == messages
    sending.result()
    remote.close()
    server.abort()
    assert server.wait_closed(SOON)
