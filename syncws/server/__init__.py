"""The server's end: accepting connections, and answering opening handshakes."""

from .serve import serve, unix_serve

__all__ = ["serve", "unix_serve"]
