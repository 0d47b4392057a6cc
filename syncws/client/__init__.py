"""The client's end: reaching a server, the opening handshake, and both again after a failure.

::

    from syncws.client import connect, reconnect

    with connect("ws://localhost:8765/") as ws:
        ws.send("hello")
        print(ws.recv())

    for ws in reconnect("ws://localhost:8765/"):
        for message in ws:
            print(message)

:func:`connect` returns an open connection; :func:`reconnect` yields one after another.
:func:`unix_connect` and :func:`unix_reconnect` do the same over a Unix socket. All of these are
also attributes of ``syncws``.

How a connection is opened: :func:`connect` turns its arguments into an
:class:`~.opening.Opening`. That makes attempts. Each attempt reaches a server by a
:class:`~.reaching.Route` (addresses in a race, a proxy's tunnel, TLS) and shakes hands; a
redirect leads to the next attempt. One deadline, ``open_timeout``, covers everything that blocks
on the way. :func:`reconnect` calls :func:`connect` in a loop; :mod:`.retry` decides which
failures are worth another try, and when.

Every function here blocks the calling thread only, and any thread may call it.
"""

from __future__ import annotations

from .client_connection import ClientConnection
from .connecting import connect, unix_connect
from .reconnecting import reconnect, unix_reconnect

__all__ = ["ClientConnection", "connect", "reconnect", "unix_connect", "unix_reconnect"]
