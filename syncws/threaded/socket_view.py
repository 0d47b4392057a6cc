"""What programs may see of a connection's socket and TLS, while its threads use them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .blocking import Lock
    from .transport import Transport

__all__ = ["SocketView", "TlsView"]

#: What may be asked of a TLS object: it only tells.
_TLS_METHODS = frozenset(
    {
        "cipher",
        "compression",
        "get_channel_binding",
        "get_unverified_chain",
        "get_verified_chain",
        "getpeercert",
        "selected_alpn_protocol",
        "shared_ciphers",
        "version",
    }
)
_TLS_ATTRIBUTES = frozenset(
    {"context", "server_hostname", "server_side", "session", "session_reused"}
)

#: What may be asked of a socket, or set, without getting in the way of reading and writing.
_SOCKET_NAMES = frozenset(
    {
        "family",
        "fileno",
        "getpeername",
        "getsockname",
        "getsockopt",
        "gettimeout",
        "proto",
        "setsockopt",
        "type",
    }
)

_OWNED = "the connection owns it: use send(), recv() and close() of the connection"


class TlsView:
    """What a TLS connection can tell: certificates, cipher, protocol.

    It has these methods and attributes of :class:`ssl.SSLObject`, with the same meaning:
    ``getpeercert()``, ``cipher()``, ``version()``, ``selected_alpn_protocol()``,
    ``shared_ciphers()``, ``compression()``, ``get_channel_binding()``, from Python 3.13 on
    ``get_verified_chain()`` and ``get_unverified_chain()``; ``context``, ``server_side``,
    ``server_hostname``, ``session``, ``session_reused``. Any thread may use it: two threads are
    never inside the TLS object, and none waits for the network there. Before the TLS handshake
    ``getpeercert()`` raises :exc:`ValueError`. It outlives the connection.

    Args:
        tls: the TLS object.
        lock: held for each call on it.
    """

    def __init__(self, tls: Any, lock: Lock) -> None:
        self._tls = tls
        self._lock = lock

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.version()}>"

    def __getattr__(self, name: str) -> Any:
        if name in _TLS_METHODS:
            method = getattr(self._tls, name)

            def call(*args: Any, **kwargs: Any) -> Any:
                with self._lock:
                    return method(*args, **kwargs)

            return call
        if name in _TLS_ATTRIBUTES:
            with self._lock:
                return getattr(self._tls, name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}; {_OWNED}")


class SocketView:
    """What a connection's socket can tell, and its options.

    It has these methods and attributes of :class:`socket.socket`: ``fileno()``,
    ``getpeername()``, ``getsockname()``, ``getsockopt()``, ``setsockopt()``, ``gettimeout()``,
    ``family``, ``type``, ``proto``; over TLS those of :class:`TlsView` as well. Any thread may use
    it.
    After closing they raise :exc:`OSError`, as a closed socket's do.

    Args:
        transport: what has the socket.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._transport.sock!r}>"

    def __getattr__(self, name: str) -> Any:
        if name in _SOCKET_NAMES:
            return getattr(self._transport.sock, name)
        view = self._transport.tls_view
        if view is not None and (name in _TLS_METHODS or name in _TLS_ATTRIBUTES):
            return getattr(view, name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}; {_OWNED}")
