"""What is compressed a thousand times: it is inflated as far as there is room for it."""

import pytest
from support.pairs import SOON, connect_protocol, socket_pair, wait_until

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
    extension = PerMessageDeflate(Role.CLIENT, Deflate())
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
    wait_until(lambda: server._inbox.waits_for_room)
    assert server._queue.size < server.options.read_limit + 2 * SIZE
    assert server.stats.messages_received < 4
    for _ in range(COUNT):
        assert server.recv(SOON) == bytes(SIZE)
        assert server._queue.size < server.options.read_limit + 2 * SIZE


def test_what_waits_is_inflated_for_each_kind_of_caller(loaded):
    server, _ = loaded
    wait_until(lambda: server._inbox.waits_for_room)
    for _ in range(COUNT // 3):
        assert server.recv(SOON) == bytes(SIZE)
        assert b"".join(server.recv_streaming()) == bytes(SIZE)
        assert next(iter(server)) == bytes(SIZE)


def test_closing_gets_past_what_nobody_takes(loaded):
    server, remote = loaded
    wait_until(lambda: server._inbox.waits_for_room)
    remote.sendall(Frame(Opcode.CLOSE, b"\x03\xe8").serialize(masked=True))
    server.close()
    assert server.closed
    assert server.close_code == 1000


def test_closing_inflates_no_more_at_a_time_than_reading(loaded, monkeypatch):
    server, remote = loaded
    wait_until(lambda: server._inbox.waits_for_room)
    decoder, sizes = server.protocol.decoder, []
    decode = decoder.decode

    def measured(limit):
        events = decode(limit)
        sizes.append(sum(len(event) for event in events if isinstance(event, bytes)))
        return events

    monkeypatch.setattr(decoder, "decode", measured)
    remote.sendall(Frame(Opcode.CLOSE, b"\x03\xe8").serialize(masked=True))
    server.close()
    assert server.close_code == 1000
    assert len(sizes) > COUNT // 3
    assert max(sizes) <= server.options.read_limit + SIZE
