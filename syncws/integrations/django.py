"""WebSockets in Django applications, under WSGI.

::

    @websocket
    def echo(request, ws, name):
        for message in ws:
            ws.send(f"{name}: {message}")

    urlpatterns = [path("echo/<name>", echo)]

A view gets the request as any view does, after the middlewares, and the connection, which is
accepted just before. Decorators that stand above ``@websocket``, such as ``login_required``,
answer with plain HTTP. A page of another site can't connect, unless ``origins=`` says so; that
is what protects the session, as the opening handshake is a GET, which has no CSRF token.

``SYNCWS`` in the settings is a dict of options for all views.
"""

from __future__ import annotations

import functools
import logging
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable

import django
from django.apps import apps
from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.exceptions import BadRequest, ImproperlyConfigured, PermissionDenied
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import got_request_exception
from django.db import connections
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from ..exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from ..foreign import escape
from ..sansio.close import CloseCode
from ..sansio.http11 import Response
from ..server.callables import refuse_coroutine
from ..threaded.guarded_logger import GuardedLogger
from .in_memory import InMemoryConnection, connect_wsgi
from .sock_handling import run_view
from .sock_options import check_names
from .wsgi import Gateway, WsgiConnection
from .wsgi_request import wsgi_headers

if TYPE_CHECKING:
    from django.test import Client

__all__ = ["connect_client", "websocket"]

View = Callable[..., Any]

logger = GuardedLogger(logging.getLogger("django.request"))

#: Exceptions of views that are answers, by which close reason they are told.
REFUSALS = {
    BadRequest: "Bad Request",
    Http404: "Not Found",
    PermissionDenied: "Forbidden",
}


def websocket(view: View | None = None, /, **options: Any) -> Any:
    """Decorate a view that gets a WebSocket: ``view(request, ws, ...)``.

    When it returns, the connection is closed. Before it runs the session is saved, and database
    connections that are too old are closed.

    Args:
        view: the view, in ``@websocket`` without options.
        options: of :class:`syncws.integrations.wsgi.Gateway`; they come before those of
            ``settings.SYNCWS``.

    Raises:
        TypeError: an option has a wrong type, or isn't one; or the view is a coroutine function.
        ValueError: an option has a wrong value.
    """
    check_names(options, "websocket()")
    Gateway(**options)  # so that a wrong option is an error here

    def decorate(view: View) -> View:
        refuse_coroutine(view, "a view")
        find = _Gateways(options).find

        @functools.wraps(view)
        def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            return _serve(request, find(), lambda ws: view(request, ws, *args, **kwargs))

        return answer

    return decorate if view is None else decorate(view)


def connect_client(client: Client, path: str = "/", **options: Any) -> InMemoryConnection:
    """Open a WebSocket to the application in a test, without a network; return the connection.

    ::

        with connect_client(self.client, "/echo/ann") as ws:
            ws.send("hello")
            self.assertEqual(ws.recv(timeout=5), "ann: hello")

    The application runs in a thread of its own, and so with a database connection of its own:
    use ``TransactionTestCase`` where it has to see what a test has written.

    Args:
        client: Django's test client; its cookies are sent, and those of the response kept.
        path: path and query, of the host ``testserver`` as for ``client.get()``; or a whole URI.
        options: as for :func:`syncws.integrations.in_memory.connect_wsgi`.

    Raises:
        InvalidStatus: the application answered with plain HTTP; has the response.
        TimeoutError: it did not answer in time.
        BaseException: what a view raised, if the client has ``raise_request_exception``; from
            here, or when the connection is closed.
    """
    headers = dict(options.pop("headers", None) or {})
    cookies = "; ".join(f"{m.key}={m.coded_value}" for m in client.cookies.values())
    if cookies:
        headers["Cookie"] = cookies
    environ = {**client.defaults, **options.pop("environ", {})}
    if path.startswith("/"):
        host = environ.get("HTTP_HOST") or environ.get("SERVER_NAME", "testserver")
        path = f"ws://{host}{path}"
    application = _Raising(client.raise_request_exception)
    try:
        connection = connect_wsgi(application, path, headers=headers, environ=environ, **options)
    except InvalidStatus as exc:
        _keep_cookies(client, exc.response)
        raise
    assert connection.response is not None
    _keep_cookies(client, connection.response)
    return connection


class _Gateways:
    """The gateway of a view, as the settings are now: tests change them.

    Args:
        options: of the view.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        # Settings and what was made of them; replaced as one, so that it needs no lock.
        self._made: tuple[Any, Gateway] | None = None

    def find(self) -> Gateway:
        """Return it.

        Raises:
            ImproperlyConfigured: the settings are wrong.
        """
        defaults = getattr(settings, "SYNCWS", None) or {}
        made = self._made
        if made is None or made[0] is not defaults:
            made = self._made = (defaults, self._make(defaults))
        return made[1]

    def _make(self, defaults: Any) -> Gateway:
        try:
            if not isinstance(defaults, Mapping):
                raise TypeError(f"it is a dict, not {defaults!r}")
            check_names(defaults, "it")
            return Gateway(**{**defaults, **self._options})
        except (TypeError, ValueError) as exc:
            raise ImproperlyConfigured(f"settings.SYNCWS: {exc}") from exc


# --- a request -------------------------------------------------------------------


def _serve(
    request: HttpRequest, gateway: Gateway, view: Callable[[WsgiConnection], Any]
) -> HttpResponse:
    """Accept the request, run its view, and return the response that goes nowhere."""
    environ = getattr(request, "environ", None)
    if environ is None:
        raise ImproperlyConfigured("WebSockets of @websocket need WSGI; this request is none of it")
    if environ.get("HTTP_UPGRADE", "").lower() != "websocket":
        return HttpResponse("This URL is for WebSockets.\n", "text/plain", 426)
    try:
        ws = gateway.accept(environ, extra_headers=_save_session(request))
    except InvalidHandshake as exc:
        if exc.response is None:
            raise
        return _refuse(exc.response)
    if hasattr(request, "session"):
        request.session.modified = False  # it is saved; again only if the view changes it
    _close_old_connections()

    def report(exc: Exception) -> str:
        got_request_exception.send(sender=_serve, request=request)
        extra = {"status_code": 101, "request": request}
        path = escape(request.path)  # Django has decoded it
        logger.error("WebSocket view failed: %s", path, exc_info=exc, extra=extra)
        return f"{type(exc).__name__}: {exc}" if settings.DEBUG else ""

    run_view(gateway, ws, functools.partial(_call, view), _describe_refusal, report)
    if hasattr(request, "session"):
        _save_only_changes(request.session)
    return HttpResponse(status=101)


def _call(view: Callable[[WsgiConnection], Any], ws: WsgiConnection) -> None:
    """Call a view; what it returns is dropped, unless it is an answer that refuses.

    A decorator such as ``login_required`` that stands below ``@websocket`` returns one. An
    exception undoes what was written, with ``ATOMIC_REQUESTS``, as it does in any view.
    """
    try:
        result = view(ws)
    except ConnectionClosed:
        raise
    except Exception:
        for database in connections.all():
            if database.settings_dict["ATOMIC_REQUESTS"] and database.in_atomic_block:
                database.set_rollback(True)
        raise
    if isinstance(result, HttpResponseBase) and result.status_code >= 300:
        ws.close(CloseCode.POLICY_VIOLATION, f"{result.status_code} {result.reason_phrase}")


def _close_old_connections() -> None:
    """Close database connections that are too old, but for those in a transaction."""
    for database in connections.all():
        if not database.in_atomic_block:  # ATOMIC_REQUESTS
            database.close_if_unusable_or_obsolete()


def _save_session(request: HttpRequest) -> list[tuple[str, str]]:
    """Save the session if the middleware would, now; return the headers that belong to it."""
    if not hasattr(request, "session"):
        return []
    carrier = HttpResponse()
    SessionMiddleware(lambda request: carrier).process_response(request, carrier)
    headers = [("Set-Cookie", morsel.OutputString()) for morsel in carrier.cookies.values()]
    if carrier.has_header("Vary"):
        headers.append(("Vary", carrier["Vary"]))
    return headers


def _save_only_changes(session: Any) -> None:
    """Keep ``SESSION_SAVE_EVERY_REQUEST`` from overwriting what others have stored meanwhile."""
    save = session.save

    def save_changes(*args: Any, **kwargs: Any) -> None:
        if session.modified:
            save(*args, **kwargs)

    session.save = save_changes


def _refuse(response: Response) -> HttpResponse:
    answer = HttpResponse(response.body, status=response.status_code)
    for name, value in wsgi_headers(response):
        answer[name] = value
    return answer


def _describe_refusal(exc: Exception) -> str | None:
    for kind, text in REFUSALS.items():
        if isinstance(exc, kind):
            return str(exc) if exc.args and isinstance(exc.args[0], str) else text
    return None


# --- tests -----------------------------------------------------------------------


class _Raising:
    """The application, which raises what its views raise, rather than answer with 500.

    Args:
        raises: whether it does.
    """

    def __init__(self, raises: bool) -> None:
        if not apps.ready:  # again, it would configure the logging again
            django.setup(set_prefix=False)
        self._application = WSGIHandler()
        self._raises = raises

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        thread = threading.get_ident()
        failures: list[BaseException | None] = []

        def note(**kwargs: Any) -> None:
            if threading.get_ident() == thread:
                failures.append(sys.exc_info()[1])

        got_request_exception.connect(note)
        try:
            response = self._application(environ, start_response)
        finally:
            got_request_exception.disconnect(note)
        if self._raises and failures and failures[0] is not None:
            response.close()
            raise failures[0]
        return response


def _keep_cookies(client: Client, response: Response) -> None:
    """Let a client keep the cookies of a response."""
    for value in response.headers.get_all("Set-Cookie"):
        client.cookies.load(value)
