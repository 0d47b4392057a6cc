"""Connections that are read in different ways: directly, with TLS, with compression."""

import contextlib

from support.certificates import contexts
from support.pairs import (
    SOON,
    connect_protocol,
    connection_and_socket,
    connection_pair,
    cut_at_the_end,
    socket_pair,
    transport_pair,
    wait_until,
)

from syncws.options import Deflate, Options
from syncws.sansio.extensions.permessage_deflate import PerMessageDeflate
from syncws.sansio.state import Role

KINDS = ["plain", "tls", "compressed"]


@contextlib.contextmanager
def compressed_pair(tls=False, **options):
    """Both ends of a connection with compression, client and server."""
    options = Options(**options)
    pair = [
        connect_protocol(
            transport,
            role,
            options=options,
            extensions=[PerMessageDeflate(role, Deflate())],
            max_size=2**20,
        )
        for transport, role in zip(
            transport_pair(contexts() if tls else None), (Role.CLIENT, Role.SERVER)
        )
    ]
    with cut_at_the_end(*pair):
        yield tuple(pair)


@contextlib.contextmanager
def pair_of(kind, **options):
    """Both ends of a connection: over plain TCP, with TLS or with compression."""
    if kind == "compressed":
        opening = compressed_pair(**options)
    else:
        opening = connection_pair(contexts() if kind == "tls" else None, **options)
    with opening as pair:
        yield pair


@contextlib.contextmanager
def kind_and_socket(kind):
    """A client that is read in that way, and the bare socket at the other end."""
    if kind == "plain":
        with connection_and_socket() as pair:
            yield pair
        return
    local, remote = socket_pair()
    remote.settimeout(SOON)
    extension = PerMessageDeflate(Role.CLIENT, Deflate())
    connection = connect_protocol(local, Role.CLIENT, options=Options(), extensions=[extension])
    try:
        yield connection, remote
    finally:
        remote.close()
        connection.abort()
        assert connection.wait_closed(SOON)


def wait_for_callers(connection, count):
    """Wait until ``count`` threads wait for messages; one of them may be reading."""

    def arrived():
        return len(connection._inbox._waiters) + (not connection._role_is_free) >= count

    wait_until(arrived)
