import select
import socket
import ssl
import threading

import pytest
from support.certificates import contexts
from support.pairs import (
    SOON,
    receive_exactly,
    run,
    send_reset,
    socket_pair,
    transport_pair,
    wait_until,
)

from syncws.threaded.deadline import Deadline
from syncws.threaded.tls_transport import TlsTransport
from syncws.threaded.transport import Transport

NOW = Deadline(0)
HUGE = b"x" * (32 << 20)


@pytest.fixture(params=["plain", "tls"])
def pair(request):
    ends = transport_pair(contexts() if request.param == "tls" else None)
    yield ends
    for end in ends:
        end.abort()
        end.close()


def receive_all(transport, size):
    received = 0
    while received < size:
        data = transport.recv(Deadline(SOON))
        assert data
        received += len(data)
    return received


def test_bytes_go_both_ways(pair):
    client, server = pair
    client.send_all(b"ping")
    assert server.recv() == b"ping"
    server.send_all(b"pong", Deadline(SOON))
    assert client.recv(Deadline(SOON)) == b"pong"
    assert client.secure == server.secure == isinstance(client, TlsTransport)


def test_addresses_are_kept_after_closing(pair):
    client, server = pair
    assert client.remote_address == server.local_address
    client.abort()
    client.close()
    assert client.remote_address == server.local_address
    assert client.local_address == server.remote_address
    client.abort()


def test_reading_has_a_deadline(pair):
    client, _ = pair
    with pytest.raises(TimeoutError):
        client.recv(Deadline(0.01))


def test_writing_has_a_deadline(pair):
    client, _ = pair
    with pytest.raises(TimeoutError):
        client.send_all(HUGE, Deadline(0.05))


def test_large_data_arrives_whole(pair):
    client, server = pair
    sender = run(client.send_all, HUGE)
    assert receive_all(server, len(HUGE)) == len(HUGE)
    sender.result()
    sender = run(client.send_all, HUGE, Deadline(SOON))
    assert receive_all(server, len(HUGE)) == len(HUGE)
    sender.result()
    assert client.bytes_sent == server.bytes_received >= 2 * len(HUGE)


def test_end_of_sending_is_the_other_ends_end(pair):
    client, server = pair
    client.send_all(b"last")
    client.finish_sending()
    assert server.recv() == b"last"
    assert server.recv() == b""
    server.send_all(b"answer")
    assert client.recv() == b"answer"


def test_descriptor_is_not_released_while_it_is_shut_down():
    # Its number may be another connection's at once.
    class Slow(socket.socket):
        def shutdown(self, how):
            aborting.set()
            assert not closed.wait(0.1)
            super().shutdown(how)

    aborting, closed = threading.Event(), threading.Event()
    ours, theirs = socket.socketpair()
    with theirs, Slow(fileno=ours.detach()) as sock:
        transport = Transport(sock)
        aborter = run(transport.abort)
        assert aborting.wait(SOON)
        transport.close()
        closed.set()
        aborter.result()


def test_deadline_may_be_further_away_than_the_system_can_wait(pair):
    client, server = pair
    far = Deadline(1e10)
    client.send_all(b"x", far)
    assert server.recv(far) == b"x"
    assert client.wait_writable(far)


def test_abort_wakes_a_reader_and_a_writer(pair):
    client, _ = pair
    reader = run(client.recv)
    writer = run(client.send_all, HUGE)
    wait_until(lambda: client.bytes_sent)
    client.abort()
    assert reader.result() == b""
    with pytest.raises(OSError, match=r"Broken pipe|reset|EOF"):
        writer.result()


def test_what_the_kernel_does_not_take_goes_out_first(pair):
    client, server = pair
    size = 0
    while not client.backlog_size:
        client.send_now(b"a" * 100_000)
        size += 100_000
    assert client.pending
    assert not client.flush()
    assert not client.wait_writable(Deadline(0.01))
    client.finish_sending()
    received = run(lambda: b"".join(iter(server.recv, b"")))
    wait_until(client.flush)
    assert received.result() == b"a" * size
    assert not client.pending


def test_backlog_that_does_not_go_out_in_time(pair):
    client, _ = pair
    while not client.backlog_size:
        client.send_now(b"a" * 100_000)
    with pytest.raises(TimeoutError):
        client.send_all(b"b", Deadline(0.01))


def test_backlog_is_waited_for(pair):
    client, server = pair
    size = 0
    while not client.backlog_size:
        client.send_now(b"a" * 100_000)
        size += 100_000
    sender = run(client.send_all, b"b")
    assert receive_all(server, size + 1) == size + 1
    sender.result()
    assert client.wait_writable(Deadline(SOON))


def test_broken_connection_is_an_os_error(pair):
    client, server = pair
    send_reset(server.sock)
    with pytest.raises(ConnectionResetError):
        client.recv()


# --- TLS ---


def shake(contexts, **kwargs):
    server_context, client_context = contexts
    client, server = (Transport(sock) for sock in socket_pair())
    server = TlsTransport(server, server_context, server_side=True)
    client = TlsTransport(client, client_context, server_side=False, **kwargs)
    return client, server


def test_wrong_name_fails_and_the_server_is_told():
    client, server = shake(contexts(), server_hostname="example.com")
    shaking = run(server.handshake, Deadline(SOON))
    with pytest.raises(ssl.SSLCertVerificationError, match=r"example\.com"):
        client.handshake(Deadline(SOON))

    def learn():
        shaking.result()
        server.recv(Deadline(SOON))  # by TLS 1.3 it may learn of it only here

    with pytest.raises(ssl.SSLError, match=r"(?i)alert|bad certificate|unknown"):
        learn()
    client.close()
    server.close()


def test_handshake_has_a_deadline():
    client, server = shake(contexts(), server_hostname="localhost")
    with pytest.raises(TimeoutError):
        client.handshake(Deadline(0.02))
    client.close()
    server.close()


def test_handshake_with_a_peer_that_goes_away():
    client, server = shake(contexts(), server_hostname="localhost")
    server.close()
    with pytest.raises(OSError, match=r"the peer closed the connection|reset"):
        client.handshake(Deadline(SOON))
    client.close()


def test_tcp_that_ends_without_tls_ending_is_an_end():
    client, server = transport_pair(contexts())
    server.sock.shutdown(socket.SHUT_WR)
    assert client.recv() == b""
    client.send_all(b"the other direction goes on")
    assert server.recv(Deadline(SOON)) == b"the other direction goes on"
    client.close()
    server.close()


def test_tls_in_tls():
    outer_client, outer_server = transport_pair(contexts())
    server_context, client_context = contexts()
    client = TlsTransport(
        outer_client, client_context, server_side=False, server_hostname="localhost"
    )
    server = TlsTransport(outer_server, server_context, server_side=True)
    shaking = run(server.handshake, Deadline(SOON))
    client.handshake(Deadline(SOON))
    shaking.result()
    data = bytes(range(256)) * 4096
    sender = run(client.send_all, data)
    received = b""
    while len(received) < len(data):
        received += server.recv(Deadline(SOON))
    sender.result()
    assert received == data
    assert client.bytes_sent == server.bytes_received > len(data)
    client.send_now(b"small")
    assert client.flush()
    assert server.recv(Deadline(SOON)) == b"small"
    assert client.backlog_size == 0
    client.finish_sending()
    assert server.recv(Deadline(SOON)) == b""
    client.close()
    server.close()


def test_what_is_being_encrypted_does_not_wait_for_the_peer():
    client, server = transport_pair(contexts())
    # As another thread sees it that broadcasts while this one sends a large message.
    client.ssl_object.write(bytes(1 << 16))
    assert client.backlog_size == 0
    client.close()
    server.close()


def test_output_that_reading_leaves_is_pending():
    client, server = transport_pair(contexts())
    assert not client.pending
    # What an answer to a key update looks like to the transport.
    client.ssl_object.write(b"early")
    assert client.pending
    assert client.flush()
    assert server.recv(Deadline(SOON)) == b"early"
    client.close()
    server.close()


def test_full_duplex_over_tls_never_disturbs_the_other_direction():
    client, server = transport_pair(contexts())
    size = 8 << 20
    senders = [run(end.send_all, b"x" * size) for end in (client, server)]
    receivers = [run(receive_all, end, size) for end in (client, server)]
    for running in (*senders, *receivers):
        running.result(30)
    client.close()
    server.close()


def test_descriptors_beyond_the_range_of_select_work():
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2000:
        pytest.skip("this process may not have that many descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    spare = []
    try:
        while not spare or spare[-1].fileno() < 1100:
            spare.append(socket.socket())
        client, server = transport_pair()
        assert client.sock.fileno() > 1024
        with pytest.raises(TimeoutError):
            client.recv(Deadline(0.01))
        client.send_all(b"x", Deadline(SOON))
        assert server.recv(Deadline(SOON)) == b"x"
        client.close()
        server.close()
    finally:
        for sock in spare:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert hasattr(select, "poll")


def test_socket_that_is_not_connected_has_no_addresses():
    with socket.socket() as sock:
        transport = Transport(sock)
        assert transport.remote_address is None
        transport.abort()


def test_peer_reads_what_was_written():
    local, remote = socket_pair()
    transport = Transport(local)
    transport.send_now(b"a")
    transport.send_all(memoryview(b"bc"))
    assert receive_exactly(remote, 3) == b"abc"
    transport.close()
    remote.close()
