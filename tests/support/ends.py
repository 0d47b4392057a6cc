"""Both ends of a connection that connect() and serve() opened."""

import contextlib
import queue
import socket

from support.pairs import SOON
from support.scripted import build_request, read_head
from support.serving import serving

from syncws import connect


def handing_over(arrived):
    """A handler that hands its connection over and waits for it to end."""

    def handler(ws):
        arrived.put(ws)
        ws.wait_closed()

    return handler


@contextlib.contextmanager
def both_ends(client=None, **kwargs):
    """A client's connection and the server's, cut at the end; ``client`` is for connect()."""
    arrived = queue.SimpleQueue()
    with (
        serving(handing_over(arrived), **kwargs) as server,
        connect(server.uri, **(client or {})) as ws,
    ):
        peer = arrived.get(timeout=SOON)
        try:
            yield ws, peer
        finally:  # at once: nobody reads, so nobody would notice a closing handshake
            ws.abort()
            peer.abort()


@contextlib.contextmanager
def bare_client(**kwargs):
    """A socket after its opening handshake with a server, and the server's connection."""
    arrived = queue.SimpleQueue()
    with (
        serving(handing_over(arrived), **kwargs) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=SOON) as sock,
    ):
        sock.sendall(build_request())
        read_head(sock)
        ws = arrived.get(timeout=SOON)
        try:
            yield sock, ws
        finally:
            ws.abort()
