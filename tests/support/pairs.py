"""Both ends of an open connection, without an opening handshake."""

import contextlib
import socket
import struct
import threading

from syncws.options import Options
from syncws.sansio.protocol import Protocol
from syncws.sansio.state import Role
from syncws.threaded.connection import Connection
from syncws.threaded.deadline import Deadline
from syncws.threaded.tls_transport import TlsTransport
from syncws.threaded.transport import Transport

#: Seconds for what should take no time. Less than a keepalive ping takes, which would help.
SOON = 15


def socket_pair():
    """Two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    for sock in (client, server):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client, server


def send_reset(sock):
    """Close a socket in a way that its peer takes for a broken connection."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def transport_pair(contexts=None):
    """Two connected transports; with TLS, if contexts are given (the server's, the client's)."""
    client, server = (Transport(sock) for sock in socket_pair())
    if contexts is None:
        return client, server
    server_context, client_context = contexts
    server = TlsTransport(server, server_context, server_side=True)
    client = TlsTransport(client, client_context, server_side=False, server_hostname="localhost")
    shaking = run(server.handshake, Deadline(SOON))
    client.handshake(Deadline(SOON))
    shaking.result()
    return client, server


def connect_protocol(transport, role, *, options=None, extensions=(), **kwargs):
    """An open connection over a transport or a socket."""
    protocol = Protocol(role, **kwargs)
    if extensions:
        protocol.extensions = list(extensions)
        protocol._make_decoder()
    connection = Connection(transport, protocol, options=options)
    connection._start()
    return connection


@contextlib.contextmanager
def cut_at_the_end(*connections):
    """At the end of the block, cut the connections that are still open."""
    try:
        yield connections
    finally:
        for connection in connections:
            connection.abort()
        for connection in connections:
            assert connection.wait_closed(SOON)


@contextlib.contextmanager
def connection_pair(contexts=None, *, max_size=2**20, client_options=None, **options):
    """Two connections, client and server, which are cut at the end if they are still open."""
    client, server = transport_pair(contexts)
    pair = [
        connect_protocol(
            client,
            Role.CLIENT,
            max_size=max_size,
            options=Options(**(options if client_options is None else client_options)),
        ),
        connect_protocol(server, Role.SERVER, max_size=max_size, options=Options(**options)),
    ]
    with cut_at_the_end(*pair):
        yield tuple(pair)


@contextlib.contextmanager
def connection_and_socket(role=Role.CLIENT, *, max_size=2**20, **options):
    """A connection, and the bare socket at the other end of it."""
    local, remote = socket_pair()
    connection = connect_protocol(local, role, max_size=max_size, options=Options(**options))
    remote.settimeout(SOON)
    try:
        yield connection, remote
    finally:
        remote.close()
        connection.abort()
        assert connection.wait_closed(SOON)


class Running:
    """A function that runs in a thread."""

    def __init__(self, function, args, kwargs):
        self._outcome = None
        self._exception = None
        self._thread = threading.Thread(target=self._run, args=(function, args, kwargs))
        self._thread.start()

    def _run(self, function, args, kwargs):
        try:
            self._outcome = function(*args, **kwargs)
        except BaseException as exc:
            self._exception = exc

    def done(self):
        return not self._thread.is_alive()

    def result(self, timeout=SOON):
        """Return what the function returned, or raise what it raised."""
        self._thread.join(timeout)
        assert self.done(), "still running"
        if self._exception is not None:
            raise self._exception
        return self._outcome


def run(function, *args, **kwargs):
    """Run a function in a thread."""
    return Running(function, args, kwargs)


def receive_exactly(sock, size):
    """Read ``size`` bytes from a socket."""
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        assert piece, f"the connection ended after {data!r}"
        data += piece
    return data


def wait_until(condition, timeout=SOON):
    """Wait for a condition that no event announces."""
    pause = threading.Event()
    deadline = Deadline(timeout)
    while not condition():
        assert not deadline.expired, "did not happen"
        pause.wait(0.001)
