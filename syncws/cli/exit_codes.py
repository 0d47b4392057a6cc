"""What the exit status of a command means. Scripts rely on these: they never change."""

from __future__ import annotations

__all__ = ["CLOSED", "INTERRUPTED", "OK", "REFUSED", "UNREACHABLE", "USAGE"]

#: The connection was closed normally, or the server was stopped.
OK = 0

#: The connection was closed with another code, or lost; or a server can't start.
CLOSED = 1

#: The arguments, or the input, can't be understood.
USAGE = 2

#: The server can't be reached: network, proxy, TLS, or it took too long.
UNREACHABLE = 3

#: The server refused the opening handshake, or isn't a WebSocket server.
REFUSED = 4

#: Ctrl-C ended it: 128 + SIGINT.
INTERRUPTED = 130
