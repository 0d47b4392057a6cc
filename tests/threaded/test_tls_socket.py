"""TLS that somebody else has begun: what the transport does with such a socket."""

import contextlib
import socket
import ssl
import threading

import pytest
from support.certificates import contexts
from support.pairs import SOON, connect_protocol, cut_at_the_end, run, socket_pair

from syncws.sansio.state import Role
from syncws.threaded.deadline import Deadline
from syncws.threaded.tls_socket import TlsSocketTransport
from syncws.threaded.tls_transport import TlsTransport
from syncws.threaded.transport import Transport


@pytest.fixture
def pair():
    """The transport, at the server's end; and an ordinary one at the client's."""
    server_context, client_context = contexts()
    near, far = socket_pair()
    client = TlsTransport(
        Transport(near), client_context, server_side=False, server_hostname="localhost"
    )
    shaking = run(server_context.wrap_socket, far, server_side=True)
    client.handshake(Deadline(SOON))
    transport = TlsSocketTransport(shaking.result())
    yield transport, client
    for each in (transport, client):
        each.abort()
        each.close()


def fill(transport):
    """Write until the kernel takes no more; return how much there is."""
    total = 0
    while transport.flush():
        transport.send_now(bytes(100_000))
        total += 100_000
    return total


def receive(transport, count):
    data = b""
    while len(data) < count:
        piece = transport.recv(Deadline(SOON))
        assert piece
        data += piece
    return data


def test_bytes_go_both_ways(pair):
    transport, client = pair
    assert transport.secure
    assert transport.descriptor == transport.sock.fileno()
    transport.send_all(b"to the client")
    assert receive(client, 13) == b"to the client"
    client.send_all(b"to the server")
    assert receive(transport, 13) == b"to the server"
    assert (transport.bytes_sent, transport.bytes_received) == (13, 13)
    transport.send_apart(b"header, ", b"payload")
    assert receive(client, 15) == b"header, payload"


def test_what_the_kernel_does_not_take_waits_and_stays_in_order(pair):
    transport, client = pair
    total = fill(transport)
    assert transport.pending
    assert transport.backlog_size > 0
    sending = run(transport.send_all, b"the end")
    assert receive(client, total + 7) == bytes(total) + b"the end"
    sending.result()
    assert not transport.pending


def test_sending_and_receiving_have_deadlines(pair):
    transport, _ = pair
    with pytest.raises(TimeoutError, match="waiting for data"):
        transport.recv(Deadline(0.05))
    fill(transport)
    with pytest.raises(TimeoutError, match="sending"):
        transport.send_all(b"x", Deadline(0.05))
    assert not transport.wait_writable(Deadline(0.05))


def test_room_is_waited_for(pair):
    transport, client = pair
    total = fill(transport)
    waiting = run(transport.wait_writable, Deadline(SOON))
    receive(client, total)
    assert waiting.result()


def test_aborting_wakes_who_receives_and_who_sends(pair):
    transport, _ = pair
    fill(transport)
    ends = run(transport.recv), run(transport.send_all, bytes(1_000_000))
    transport.abort()
    with contextlib.suppress(BrokenPipeError):  # a read that begins only now says so, in 3.14
        assert ends[0].result() == b""
    with pytest.raises(OSError, match=r"closed the connection|Broken pipe"):
        ends[1].result()


def test_end_of_tls_is_told_and_noticed(pair):
    transport, client = pair
    transport.finish_sending()
    assert client.recv(Deadline(SOON)) == b""
    client.finish_sending()
    assert transport.recv(Deadline(SOON)) == b""


def test_end_of_tls_that_both_send_is_an_end(pair):
    transport, client = pair
    client.finish_sending()
    transport.finish_sending()
    assert transport.recv(Deadline(SOON)) == b""
    assert client.recv(Deadline(SOON)) == b""


def test_end_of_tcp_without_that_of_tls_is_an_end(pair):
    transport, client = pair
    client.sock.shutdown(socket.SHUT_WR)
    assert transport.recv(Deadline(SOON)) == b""


def test_end_of_sending_waits_for_what_is_left(pair):
    transport, client = pair
    total = fill(transport)
    transport.finish_sending()
    assert transport.pending
    reading = run(receive, client, total)
    while not transport.flush():
        assert transport._wait(select_read=False, deadline=Deadline(SOON))
    reading.result()
    assert client.recv(Deadline(SOON)) == b""


def test_connections_send_and_receive_at_the_same_time(pair):
    """As two threads must never be inside one OpenSSL object."""
    server = connect_protocol(pair[0], Role.SERVER, max_size=None)
    client = connect_protocol(pair[1], Role.CLIENT, max_size=None)
    with cut_at_the_end(server, client):

        def send(connection):
            for _ in range(20):
                connection.send(bytes(300_000))

        threads = [threading.Thread(target=send, args=(each,)) for each in (server, client)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            assert len(server.recv(SOON)) == len(client.recv(SOON)) == 300_000
        for thread in threads:
            thread.join()
        run(client.close).result()
        assert server.wait_closed(SOON)
        assert server.close_code == 1000


def test_what_a_handler_has_made_of_the_result_is_tried_again(pair, monkeypatch):
    transport, client = pair
    send = transport.sock.send
    tried = []

    def interrupted(data):
        tried.append(bytes(data))
        if len(tried) == 1:  # as Python tells where a handler has used the object meanwhile
            raise ssl.SSLError(10, "Invalid error code")
        if len(tried) == 2:
            raise ssl.SSLError(1, "something else")
        return send(data)

    monkeypatch.setattr(transport.sock, "send", interrupted)
    with pytest.raises(ssl.SSLError, match="something else"):
        transport.send_all(b"hello", Deadline(SOON))
    transport.send_all(b"hello", Deadline(SOON))
    assert receive(client, 5) == b"hello"
    assert tried == [b"hello"] * 3
