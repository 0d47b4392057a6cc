"""Servers of werkzeug's maps, as ``websockets`` makes them; werkzeug isn't imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Callable, Literal

from ..sansio.http11 import Request, Response
from ..sansio.plain_responses import build_response
from .routing import not_found
from .server_connection import ProcessRequest, ServerConnection
from .serving import serve, unix_serve
from .threading_server import ThreadingServer
from .url_maps import MapRouter, UrlMap

if TYPE_CHECKING:
    import os
    import ssl as ssl_module

__all__ = ["URLMapRouter", "route", "unix_route"]


class URLMapRouter:
    """What :func:`route` asks for the handler of a request; a subclass may do something else.

    Args:
        url_map: a :class:`werkzeug.routing.Map`.
        server_name: the host, and perhaps port, that clients ask for; ``None`` is what they say.
        url_scheme: ``"ws"``, or ``"wss"`` where a proxy takes TLS off, for redirects.

    Raises:
        TypeError: an endpoint is no plain function, or doesn't take its rule's arguments.
    """

    def __init__(
        self, url_map: UrlMap, server_name: str | None = None, url_scheme: str = "ws"
    ) -> None:
        self.url_map = url_map
        self.server_name = server_name
        self.url_scheme = url_scheme
        self._router = MapRouter(url_map)

    def get_server_name(self, connection: ServerConnection, request: Request) -> str:
        """Return the host for which a request is looked up."""
        return (connection.requested_host or "") if self.server_name is None else self.server_name

    def redirect(self, connection: ServerConnection, url: str) -> Response:
        """Return the response to a request whose rule leads elsewhere."""
        return build_response(302, f"It is at {url}\n", {"Location": url})

    def not_found(self, connection: ServerConnection) -> Response:
        """Return the response to a request that no rule is for."""
        return not_found()

    def route_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Keep the handler for a request, or return what answers it."""
        name = self.get_server_name(connection, request)
        secure = self.url_scheme == "wss" or connection.secure
        found = self._router.resolve(request, name, secure)
        if not isinstance(found, Response):
            target: Any = connection
            target.handler, target.handler_kwargs = found.function, found.values
            return None
        if found.status_code == 404:
            return self.not_found(connection)
        url = found.headers.get("Location")
        return found if url is None else self.redirect(connection, url)

    def handler(self, connection: ServerConnection) -> None:
        """Call the handler that was kept."""
        target: Any = connection
        target.handler(connection, **target.handler_kwargs)


def route(
    url_map: UrlMap,
    *args: Any,
    server_name: str | None = None,
    ssl: ssl_module.SSLContext | Literal[True] | None = None,
    create_router: Callable[..., URLMapRouter] | None = None,
    **kwargs: Any,
) -> ThreadingServer:
    """Return a server whose handlers are the endpoints of a map, as ``websockets`` does.

    ``serve(url_map, ...)`` does the same where none of the arguments below is needed.

    Args:
        url_map: a :class:`werkzeug.routing.Map`.
        args: host and port, as for :func:`serve`.
        server_name: the host, and perhaps port, that clients ask for, where a proxy changes
            it: redirects lead there. By default what they say.
        ssl: certificate and rules; or ``True`` where a proxy takes TLS off, so that redirects
            lead to ``wss://``.
        create_router: a subclass of ``URLMapRouter``, or what makes one.
        kwargs: as for :func:`serve`. ``process_request`` runs before the map is asked.

    Raises what :func:`serve` does.
    """
    router, options = _prepare(url_map, server_name, ssl, create_router, kwargs)
    return serve(router.handler, *args, **options)


def unix_route(
    url_map: UrlMap,
    path: str | os.PathLike[str] | None = None,
    *,
    server_name: str | None = None,
    ssl: ssl_module.SSLContext | Literal[True] | None = None,
    create_router: Callable[..., URLMapRouter] | None = None,
    **kwargs: Any,
) -> ThreadingServer:
    """Do what :func:`route` does, on a Unix socket: see :func:`unix_serve`.

    Args:
        url_map: see :func:`route`.
        path: where the socket is to be; ``None`` with ``sock=``.
        server_name: see :func:`route`.
        ssl: see :func:`route`.
        create_router: see :func:`route`.
        kwargs: as for :func:`unix_serve`.

    Raises what :func:`serve` does.
    """
    router, options = _prepare(url_map, server_name, ssl, create_router, kwargs)
    return unix_serve(router.handler, path, **options)


def _prepare(
    url_map: UrlMap,
    server_name: str | None,
    ssl: ssl_module.SSLContext | Literal[True] | None,
    create_router: Callable[..., URLMapRouter] | None,
    options: dict[str, Any],
) -> tuple[URLMapRouter, dict[str, Any]]:
    """Return the router, and the arguments for a server."""
    router = (create_router or URLMapRouter)(url_map, server_name, "ws" if ssl is None else "wss")
    given: ProcessRequest | Sequence[ProcessRequest] | None = options.pop("process_request", None)
    functions = list(given) if isinstance(given, Sequence) else [] if given is None else [given]
    options["process_request"] = [*functions, router.route_request]
    if ssl is not True:
        options["ssl"] = ssl
    return router, options
