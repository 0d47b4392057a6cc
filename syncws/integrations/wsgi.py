"""WebSockets in WSGI applications: taking a request's connection over from the server.

::

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/echo":
            return echo_app(environ, start_response)
        ...

    def echo(ws):
        for message in ws:
            ws.send(message)

    echo_app = syncws.integrations.wsgi.application(echo)

A handler runs in the thread in which the server runs the request, and has it until the
connection is closed. From which servers connections can be taken over, and how, is in
``wsgi_servers`` and ``takeover``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Callable

from ..aliases import LoggerLike
from ..exceptions import InvalidHandshake, InvalidState
from ..options import Deflate, MaxQueue, MaxSize
from ..sansio.extensions.interface import ServerExtensionFactory
from ..sansio.headers import Headers, HeadersLike
from ..sansio.origins import SAME_ORIGIN, Origins
from ..sansio.plain_responses import build_response
from ..server.callables import refuse_coroutine
from ..server.fallback import Fallback
from ..server.handling import close_after
from ..server.idleness import IdleWatch
from ..server.records import log_close, log_open
from ..server.refusal_log import RefusalLog
from ..server.rooms import HasRooms
from ..server.routing import Router
from ..server.server_connection import SERVER_HEADER, ExtraHeaders, Handler
from ..server.settings import find_router, make_settings, select_settings
from ..server.url_maps import UrlMap
from ..threaded import lifecycle
from ..threaded.deadline import clock
from ..threaded.guarded_logger import GuardedLogger, own_logger
from .takeover import PendingTransport, check_socket
from .wsgi_connection import TAKEN, WsgiConnection
from .wsgi_fallback import FallbackMiddleware
from .wsgi_request import wsgi_headers, wsgi_status
from .wsgi_roster import roster
from .wsgi_servers import HAS_FALLBACK, Found, UnsupportedServer, find_server

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = [
    "FallbackMiddleware",
    "Gateway",
    "UnsupportedServer",
    "WsgiConnection",
    "accept",
    "answer",
    "application",
]

#: What was said already in this process.
_warned: set[str] = set()


class Gateway:
    """Accepts WebSockets in a WSGI application, with the same options for each.

    Any thread may use it.

    Args:
        origins: see :func:`~syncws.serve`, as all that isn't said here.
        hosts: see there, and for ``X-Forwarded-Host`` the next.
        trusted_proxies: see there. What the WSGI server or a middleware puts into the environ
            counts in any case. Some servers (wsgiref, cheroot) take a header ``X_Forwarded_For``
            for the one with dashes: the proxy must remove that spelling from what clients send,
            as nginx does, or clients choose their addresses and hosts.
        extensions: see there.
        subprotocols: see there.
        select_subprotocol: see there.
        compression: see there.
        extra_headers: see there.
        server_header: see there.
        ping_interval: see there.
        ping_timeout: see there.
        close_timeout: see there.
        send_timeout: see there.
        idle_timeout: see there.
        hub: see there: ``ws.group(name)`` is one of its rooms.
        max_size: see there.
        max_header_size: see there; by default only the WSGI server limits them, which has them
            first.
        max_queue: see there.
        read_limit: see there.
        write_limit: see there.
        max_connections: WebSockets that may be open in this process; more are refused with
            503. All of them count, whichever gateway accepted them. ``"pool"`` leaves
            one thread to other requests, where the server's pool is known and has more than
            one (gunicorn's gthread worker, cheroot), and is unlimited elsewhere; those of the
            fallback have threads of their own.
        logger: where to log; ``syncws.server`` by default.
        create_connection: a subclass of :class:`WsgiConnection`, or what makes one.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: an argument has a wrong value.
    """

    def __init__(
        self,
        *,
        origins: Origins = SAME_ORIGIN,
        hosts: Sequence[str] | None = None,
        trusted_proxies: Iterable[Any] | None = None,
        extensions: Sequence[ServerExtensionFactory] | None = None,
        subprotocols: Sequence[str] | None = None,
        select_subprotocol: Callable[..., str | None] | None = None,
        compression: str | Deflate | None = "deflate",
        extra_headers: ExtraHeaders = None,
        server_header: str | None = SERVER_HEADER,
        ping_interval: float | None = 20,
        ping_timeout: float | None = 20,
        close_timeout: float | None = 10,
        send_timeout: float | None = None,
        idle_timeout: float | None = None,
        hub: HasRooms | None = None,
        max_size: MaxSize = 2**20,
        max_header_size: int | None = None,
        max_queue: MaxQueue = 16,
        read_limit: int = 2**16,
        write_limit: int = 2**16,
        max_connections: int | str | None = "pool",
        logger: LoggerLike | None = None,
        create_connection: Callable[..., WsgiConnection] | None = None,
    ) -> None:
        self._settings = make_settings(**select_settings(locals()))
        if isinstance(max_connections, str):
            if max_connections != "pool":
                raise ValueError(
                    f"max_connections is a number, None or 'pool': {max_connections!r}"
                )
        elif max_connections is not None and max_connections < 1:
            raise ValueError(f"max_connections must be at least 1, got {max_connections!r}")
        self._max_connections = max_connections
        self.logger: LoggerLike = logger or own_logger("server")
        self._create_connection = create_connection or WsgiConnection
        self._refusal_log = RefusalLog(GuardedLogger(self.logger))
        self._idle = None if idle_timeout is None else IdleWatch(idle_timeout)

    def accept(
        self,
        environ: WSGIEnvironment,
        start_response: StartResponse | None = None,
        *,
        extra_headers: HeadersLike = (),
    ) -> WsgiConnection:
        """Take a request's connection over; return it, open.

        The application must close it before it returns, as :meth:`handle` does; what it returns
        goes nowhere. Should the client have gone meanwhile, the connection is closed already.

        Args:
            environ: the request's environ.
            start_response: the server's function, for its log to say 101; or ``None``, if the
                application calls it by itself.
            extra_headers: headers of this response, such as Set-Cookie.

        Raises:
            InvalidHandshake: it is refused, and the server still has the connection: answer with
                the exception's ``response``; see :func:`answer`.
            InvalidState: it was taken over before.
            OSError: no descriptors are available; the server still has it, and
                ``start_response`` wasn't called.
            TypeError: a header isn't a ``str``.
            UnsupportedServer: nothing can be taken over from this server; within a
                :class:`FallbackMiddleware` the request is refused with 501 instead, as clients
                are to go by plain HTTP.
            ValueError: a header can't be sent.
        """
        extra = Headers(extra_headers)
        found = _find_server(environ)
        if TAKEN in environ:
            raise InvalidState("this request's connection was taken over before")
        self._warn(found)
        settings = self._settings
        connection = self._create_connection(
            PendingTransport(found),
            settings.make_protocol(),
            None,
            options=settings.options,
            upgrade=settings.upgrade,
            logger=self.logger,
        )
        if not isinstance(connection, WsgiConnection):
            raise TypeError(f"create_connection makes a WsgiConnection, not {connection!r}")
        connection.environ = environ
        connection._opening_handshake.more_headers = extra
        connection._gateway, connection._found = self, found
        try:
            output = connection._decide_here()
            connection._take(output, start_response)
        except BaseException:
            roster.leave(connection)
            raise
        if self._idle is not None:
            self._idle.add(connection)
            if connection.closed:  # by now
                self._idle.discard(connection)
        return connection

    def handle(
        self, ws: WsgiConnection, handler: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> None:
        """Call ``handler(ws, ...)``, and close the connection after it, as a server does.

        An exception in it is logged, and closes the connection with 1011; the connection's own
        :exc:`~syncws.ConnectionClosed` is no such. What isn't an :exc:`Exception`
        (:exc:`SystemExit`, gevent's GreenletExit) closes it with 1001, and goes on.
        """
        opened_at = clock()
        ws._handled = True
        try:
            log_open(ws)
            _run(ws, handler, args, kwargs)
        except BaseException:  # the thread is to end, perhaps while it waits for the close
            ws._close_quickly()
            raise
        finally:
            ws._handled = False
            self._ended(ws)
            log_close(ws, clock() - opened_at)

    def _limit(self, found: Found) -> int | None:
        """Return how many connections there may be."""
        if not isinstance(self._max_connections, str):
            return self._max_connections
        threads = found.threads
        return None if threads is None or threads < 2 else threads - 1

    def _warn(self, found: Found) -> None:
        if found.warning is not None and found.warning not in _warned:
            _warned.add(found.warning)
            self.logger.warning(found.warning)

    def _ended(self, ws: WsgiConnection) -> None:
        """Forget a connection once it is closed, and its handler has returned."""
        if ws._handled:
            return  # it still has a thread
        roster.leave(ws)
        if self._idle is not None:
            self._idle.discard(ws)


def _find_server(environ: WSGIEnvironment) -> Found:
    """Return what a connection can be taken over from."""
    try:
        found = find_server(environ)
        check_socket(found)
    except UnsupportedServer:
        if HAS_FALLBACK not in environ:
            raise
        refusal = InvalidHandshake("this server has WebSockets over plain HTTP only")
        refusal.response = build_response(501, f"{refusal}.\n")
        raise refusal from None
    return found


def _run(
    ws: WsgiConnection, handler: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
) -> None:
    with lifecycle.handles_end():
        try:
            refuse_coroutine(handler, "a handler")
            handler(ws, *args, **kwargs)
        except Exception as exc:
            close_after(ws, exc)
        else:
            ws.close()


def accept(
    environ: WSGIEnvironment, start_response: StartResponse | None = None, **options: Any
) -> WsgiConnection:
    """Take a request's connection over; return it, open.

    The same as ``Gateway(**options).accept(environ, start_response)``; with a gateway that is
    made once, options are checked once. The application must close the connection before it
    returns::

        with accept(environ, start_response) as ws:
            for message in ws:
                ws.send(message)
        return []

    Args:
        environ: the request's environ.
        start_response: the server's function, for its log to say 101.
        options: as for :class:`Gateway`.

    Raises what :class:`Gateway` and its ``accept()`` do.
    """
    return Gateway(**options).accept(environ, start_response)


def answer(refusal: InvalidHandshake, start_response: StartResponse) -> Iterable[bytes]:
    """Answer a request that :func:`accept` has refused, from a WSGI application.

    Returns:
        What the application returns.
    """
    response = refusal.response
    if response is None:
        raise refusal
    start_response(wsgi_status(response), wsgi_headers(response))
    return [response.body]


def application(
    handler: Handler | Router | UrlMap, *, fallback: bool | Fallback = False, **options: Any
) -> WSGIApplication:
    """Return a WSGI application that accepts WebSockets, and calls ``handler`` with each.

    What isn't a WebSocket's request, or may not be one, is answered with the HTTP status that
    says so.

    Args:
        handler: called with the connection, or with connection and path if it takes two; or a
            :class:`~syncws.Router`, or a :class:`werkzeug.routing.Map` whose endpoints are
            handlers: they look at the whole path, SCRIPT_NAME included.
        fallback: whether and how to serve them over plain HTTP as well, where WebSocket does not
            get through: ``True``, or a :class:`~syncws.Fallback`; see
            :class:`FallbackMiddleware`. It works in all servers.
        options: as for :class:`Gateway`.

    Raises what :class:`Gateway` does.
    """
    router, run = find_router(handler)
    gateway = Gateway(**options)
    settings = gateway._settings
    gateway._settings = replace(settings, upgrade=replace(settings.upgrade, router=router))

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            ws = gateway.accept(environ, start_response)
        except InvalidHandshake as exc:
            return answer(exc, start_response)
        gateway.handle(ws, run)
        return []

    if fallback is False:
        return app
    return FallbackMiddleware(
        app, fallback, trusted_proxies=options.get("trusted_proxies"), logger=gateway.logger
    )
