"""The client's end: reaching a server, the opening handshake, and doing so again.

:func:`connect` makes an :class:`~.opening.Opening` of its arguments. That opens the connection in
attempts: each reaches a server by a :class:`~.route.Route` (addresses in a race, a proxy's
tunnel, TLS), shakes hands, and follows where a redirect leads. One deadline goes with it through
everything that blocks. :func:`reconnect` does that again and again; what it tries again, and
when, is decided in :mod:`.retry`.
"""

from .connect import connect, unix_connect

__all__ = ["connect", "unix_connect"]
