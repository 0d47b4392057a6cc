"""Messages that are serialized once for many connections."""

import pytest

from syncws import Deflate, InvalidState, Opcode, Role
from syncws.sansio.extensions.interface import Extension
from syncws.sansio.extensions.permessage_deflate import PerMessageDeflate
from syncws.sansio.protocol import Protocol


def endpoint(role, *extensions):
    protocol = Protocol(role)
    protocol.extensions = list(extensions)
    protocol._make_decoder()
    return protocol


def pair(*, deflate=False):
    """A server's and a client's endpoint."""
    return [
        endpoint(role, *([PerMessageDeflate(role, Deflate())] if deflate else []))
        for role in (Role.SERVER, Role.CLIENT)
    ]


def carry(sender, receiver):
    """What the receiver gets of what the sender has to send."""
    for data in sender.data_to_send():
        receiver.receive_data(data)
    return receiver.events_received()


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("text", ["", "a", "hello " * 100])
def test_a_posted_message_arrives(deflate, text):
    server, client = pair(deflate=deflate)
    server.post(server.serialize_shared(Opcode.TEXT, text.encode()))
    assert carry(server, client) == [text]
    client.post(client.serialize_shared(Opcode.TEXT, text.encode()))
    assert carry(client, server) == [text]


def test_messages_before_and_after_are_compressed_without_it():
    server, client = pair(deflate=True)
    for number in range(5):
        text = f"the same words again and again {number} " * 10
        server.send_text(text.encode())
        server.post(server.serialize_shared(Opcode.TEXT, text.encode()))
        server.send_text(text.encode())
        assert carry(server, client) == [text] * 3


@pytest.mark.parametrize("deflate", [False, True])
def test_a_fragmented_message_comes_first(deflate):
    server, client = pair(deflate=deflate)
    server.send_text(b"one " * 30, fin=False)
    server.post(server.serialize_shared(Opcode.TEXT, b"posted " * 30))
    assert server.output_size > 0
    server.send_continuation(b"two", fin=True)
    server.send_text(b"after " * 30)
    first, last, *rest = carry(server, client)
    assert first.data + last.data == b"one " * 30 + b"two"
    assert rest == ["posted " * 30, "after " * 30]


def test_the_last_fragment_may_be_a_large_one():
    server, _ = pair()
    server.send_binary(b"one", fin=False)
    frame = server.serialize_shared(Opcode.BINARY, b"posted")
    server.post(frame)
    server.data_to_send()
    assert server.serialize_large(Opcode.CONT, bytes(100_000)) is not None
    server.release_posted()
    assert server.data_to_send() == [frame]


def test_a_connection_that_is_not_open_is_not_posted_to():
    server, _ = pair()
    frame = server.serialize_shared(Opcode.TEXT, b"hello")
    server.send_close(1000)
    with pytest.raises(InvalidState):
        server.post(frame)


def test_the_key_tells_who_can_share():
    plain, compressed = endpoint(Role.SERVER), pair(deflate=True)[0]
    other = endpoint(Role.SERVER, PerMessageDeflate(Role.SERVER, Deflate(compress_window_bits=9)))
    assert plain.share_key == endpoint(Role.SERVER).share_key
    assert compressed.share_key == pair(deflate=True)[0].share_key
    assert len({plain.share_key, compressed.share_key, other.share_key}) == 3
    assert endpoint(Role.SERVER, Extension()).share_key is None
    assert endpoint(Role.SERVER, Extension(), Extension()).share_key is None
