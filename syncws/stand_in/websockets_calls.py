"""Functions that are a little different in websockets from ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..client.client_connection import ClientConnection
from ..client.connecting import connect as _connect
from ..client.connecting import unix_connect as _unix_connect
from ..client.proxy import find_proxy
from ..client.reconnecting import Reconnecting
from ..client.redirects import Destination
from ..client.retry import backoff as _backoff
from ..client.retry import process_exception
from ..sansio.uri import WebSocketURI
from ..server.serving import serve as _serve
from ..server.serving import unix_serve as _unix_serve
from ..server.threading_server import ThreadingServer
from ..server.url_route import route as _route
from ..server.url_route import unix_route as _unix_route

__all__ = [
    "backoff",
    "connect",
    "get_proxy",
    "process_exception",
    "reconnect",
    "route",
    "serve",
    "unix_connect",
    "unix_reconnect",
    "unix_route",
    "unix_serve",
]


def connect(uri: Any, **kwargs: Any) -> ClientConnection:
    """Connect to a server: :func:`syncws.connect`, also with the older ``ssl_context=``."""
    return _connect(uri, **_by_present_names(kwargs))


def unix_connect(path: Any = None, uri: Any = None, **kwargs: Any) -> ClientConnection:
    """Connect by a Unix socket: :func:`syncws.unix_connect`, the same."""
    return _unix_connect(path, uri, **_by_present_names(kwargs))


def serve(handler: Any, *args: Any, **kwargs: Any) -> ThreadingServer:
    """Return a server: :func:`syncws.serve`, which accepts all origins unless it is told others.

    That is what websockets does; programs that rely on it run unchanged.
    """
    return _serve(handler, *args, **_as_there(kwargs))


def unix_serve(handler: Any, path: Any = None, **kwargs: Any) -> ThreadingServer:
    """Return a server on a Unix socket, which accepts all origins as :func:`serve` does."""
    return _unix_serve(handler, path, **_as_there(kwargs))


def route(url_map: Any, *args: Any, **kwargs: Any) -> ThreadingServer:
    """Return a server for a map of URLs, which accepts all origins as :func:`serve` does."""
    return _route(url_map, *args, **_as_there(kwargs))


def unix_route(url_map: Any, path: Any = None, **kwargs: Any) -> ThreadingServer:
    """Return the same on a Unix socket."""
    return _unix_route(url_map, path, **_as_there(kwargs))


def reconnect(uri: Any, **kwargs: Any) -> Reconnecting:
    """Return what is one connection in a ``with``, and one after the other in a ``for``."""
    return Reconnecting(uri, legacy=False, sock=kwargs.pop("sock", None), **kwargs)


def unix_reconnect(path: Any = None, uri: Any = None, **kwargs: Any) -> Reconnecting:
    """Return the same by a Unix socket.

    Raises:
        ValueError: there is no path.
    """
    if path is None:
        raise ValueError("give path=: connections after the first need it")
    return reconnect(Destination.of_unix_socket(path, uri, kwargs), **kwargs)


def backoff(*_: float, **__: float) -> Iterator[float]:
    """Yield delays between attempts, in seconds: ours, whatever limits are asked for."""
    return _backoff()


def get_proxy(uri: WebSocketURI) -> str | None:
    """Return the URL of the proxy that is configured for a URI, or ``None``."""
    proxy = find_proxy(True, uri.host, uri.port, secure=uri.secure)
    if proxy is None:
        return None
    user = "" if proxy.username is None else f"{proxy.username}:{proxy.password or ''}@"
    host = f"[{proxy.host}]" if ":" in proxy.host else proxy.host
    return f"{proxy.scheme}://{user}{host}:{proxy.port}"


def _by_present_names(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return arguments with the present name of the one that version 13 renamed."""
    if "ssl_context" in kwargs:
        kwargs["ssl"] = kwargs.pop("ssl_context")
    return kwargs


def _as_there(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return a server's arguments with the default that differs there."""
    return {"origins": None, **_by_present_names(kwargs)}
