"""For tests of programs that use WebSockets.

- :func:`pair` gives both ends of one connection, for functions that take one.
- :func:`running` runs a server for the time of a block, for handlers, routers and their options.
- :func:`scripted_server` is a server that does what the test says, for programs that are
  clients: it delays, cuts, resets, stalls, sends garbage.
- :func:`scripted_client` is such a client, for programs that are servers.

None of it needs a test framework: they are context managers, and failures are
:exc:`AssertionError`. Every wait has a deadline, and none outlasts the block.

A test tells a scripted end what to do by calling methods of a :class:`Peer`: ``expect()``,
``send()``, ``cut()``. The test calls the client's methods directly, in its own thread. A server's
calls are in functions, one for each connection, because the program under test needs the test's
thread. Each function runs in a thread of its own, and its failure is raised at the end of the
block.
"""

from __future__ import annotations

from .loopback_server import running
from .pairing import Pair, pair
from .peer import Peer
from .scripted_client import ClientPeer, scripted_client
from .scripted_server import ScriptedServer, ServerPeer, scripted_server

__all__ = [
    "ClientPeer",
    "Pair",
    "Peer",
    "ScriptedServer",
    "ServerPeer",
    "pair",
    "running",
    "scripted_client",
    "scripted_server",
]
