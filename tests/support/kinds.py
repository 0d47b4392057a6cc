"""Connections that are read from in different ways: directly, with TLS, with compression."""

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
def pair_of(kind, **options):
    """Two connections: over plain TCP, with TLS or with compression."""
    if kind != "compressed":
        with connection_pair(contexts() if kind == "tls" else None, **options) as pair:
            yield pair
        return
    options = Options(**options)
    pair = [
        connect_protocol(
            transport,
            role,
            options=options,
            extensions=[PerMessageDeflate(role, Deflate())],
            max_size=2**20,
        )
        for transport, role in zip(transport_pair(), (Role.CLIENT, Role.SERVER))
    ]
    with cut_at_the_end(*pair):
        yield tuple(pair)


@contextlib.contextmanager
def kind_and_socket(kind):
    """A client that is read from in one way or the other, and the bare socket at the other end."""
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
    """Wait until so many threads wait for messages; one of them may be the one that reads."""

    def arrived():
        return len(connection._inbox._waiters) + (not connection._role_is_free) >= count

    wait_until(arrived)
