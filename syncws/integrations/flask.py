"""WebSockets in Flask applications.

::

    app = Flask(__name__)
    sock = Sock(app)

    @sock.route("/echo/<name>")
    def echo(ws, name):
        for message in ws:
            ws.send(f"{name}: {message}")

What runs before a view runs before a handler as well, while the request can still be answered
with plain HTTP: ``before_request`` functions, the session, decorators. Then the request is
accepted, and the handler runs in the request's thread and context, until it returns.

Programs written for flask-sock run after a change of the import.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Callable, TypeVar, cast
from urllib.parse import quote

from flask import Blueprint, Flask, abort, current_app, got_request_exception, request, session
from flask.testing import EnvironBuilder, FlaskClient
from werkzeug.datastructures import Headers
from werkzeug.exceptions import BadRequest, HTTPException, default_exceptions
from werkzeug.routing import WebsocketMismatch
from werkzeug.wrappers import Response as WerkzeugResponse

from ..exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from ..sansio.http11 import Response
from ..server.callables import refuse_coroutine
from ..server.fallback import Fallback, as_fallback
from .in_memory import FAILURES, InMemoryConnection, connect_wsgi
from .sock_connection import SockConnection
from .sock_handling import run_view
from .sock_options import FALLBACK_KEY, check_names, merge_options, split_options
from .wsgi import Gateway
from .wsgi_fallback import FallbackMiddleware
from .wsgi_request import wsgi_headers

if TYPE_CHECKING:
    from flask.wrappers import Response as FlaskResponse

__all__ = ["ConnectionClosed", "Sock", "SockClient", "SockConnection"]

Handler = TypeVar("Handler", bound=Callable[..., Any])

#: What a query may have as it is.
PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))

#: Where an application has its gateways, in ``app.extensions``.
EXTENSION = "syncws"

#: Where it has what serves the fallback.
FALLBACK = "syncws-fallback"


class UpgradeRequired(HTTPException):
    """A route of a WebSocket was asked for without asking for one."""

    code = 426
    description = "This URL is for WebSockets."


class Sock:
    """Routes of WebSockets in Flask applications.

    Options that are not given here are taken from ``app.config``, when the first connection
    comes: ``SYNCWS_MAX_SIZE`` is ``max_size``, and so on; and from ``SOCK_SERVER_OPTIONS``,
    which flask-sock has. Those of a route come first, then those given here, then ``SYNCWS_*``.

    Args:
        app: the application; :meth:`init_app` adds it later, or several.
        fallback: whether and how to serve them over plain HTTP as well, where WebSocket does not
            get through: ``True``, or a :class:`~syncws.Fallback`. By default what
            ``SYNCWS_FALLBACK`` says, when the application is added. It makes ``app.wsgi_app`` a
            :class:`syncws.integrations.wsgi.FallbackMiddleware`, once.
        options: of :class:`syncws.integrations.wsgi.Gateway`, for all routes.

    Raises:
        TypeError: an option has a wrong type, or isn't one.
        ValueError: an option has a wrong value, or a key of the configuration isn't known.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        fallback: bool | Fallback | None = None,
        **options: Any,
    ) -> None:
        check_names(options, "Sock()")
        Gateway(**options)  # so that a wrong option is an error here
        self._fallback = None if fallback is None else as_fallback(fallback) or False
        self.app: Flask | None = None
        self._options = options
        self._early: list[tuple[str, dict[str, Any]]] = []  # routes from before there was an app
        # Handlers, their options and decorators, and what Flask calls for them.
        self._views: list[tuple[Any, Any, Any, Callable[..., Any]]] = []
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Add the routes to an application; and those that come later, until the next call.

        Raises:
            TypeError: the configuration has an option that has a wrong type.
            ValueError: it has a key that isn't known, or an option that has a wrong value.
        """
        options = merge_options(app.config, self._options)
        Gateway(**options)
        fallback = app.config.get(FALLBACK_KEY, False) if self._fallback is None else self._fallback
        if as_fallback(fallback) is not None and FALLBACK not in app.extensions:
            middleware = FallbackMiddleware(
                app.wsgi_app, fallback, trusted_proxies=options.get("trusted_proxies")
            )
            app.extensions[FALLBACK] = middleware
            app.wsgi_app = middleware  # type: ignore[method-assign]
        self.app = app
        app.register_error_handler(WebsocketMismatch, _answer_mismatch)
        if self._early:
            names = (f"syncws{number or ''}" for number in itertools.count())
            name = next(name for name in names if name not in app.blueprints)
            blueprint = Blueprint(name, __name__)
            for path, options in self._early:
                blueprint.add_url_rule(path, **options)
            app.register_blueprint(blueprint)

    def route(
        self, path: str, bp: Blueprint | None = None, **options: Any
    ) -> Callable[[Handler], Handler]:
        """Return a decorator that makes a function the handler of a path.

        The handler is called with the connection and the variables of the path. When it
        returns, the connection is closed.

        Args:
            path: as in Flask, ``"/echo/<name>"``.
            bp: the blueprint that it belongs to.
            options: of :class:`syncws.integrations.wsgi.Gateway`, for this route; others go to
                Flask: ``endpoint``, ``subdomain``, ``host``, ``defaults``, ... ``decorators``
                are functions such as flask-login's ``login_required``, the innermost first:
                what they answer is an answer to the HTTP request.

        Failures are raised here, or by the decorator.

        Raises:
            TypeError: an option has a wrong type, or isn't one; or the handler is a coroutine
                function.
            ValueError: an option has a wrong value.
        """
        decorators = tuple(options.pop("decorators", ()))
        ours, theirs = split_options(options)
        Gateway(**{**self._options, **ours})

        def decorate(handler: Handler) -> Handler:
            refuse_coroutine(handler, "a handler")
            view = self._find_view(handler, ours, decorators)
            name = getattr(handler, "__name__", None)
            rule = {"endpoint": name, **theirs, "view_func": view, "websocket": True}
            if bp is not None:
                bp.add_url_rule(path, **rule)
            elif self.app is not None:
                self.app.add_url_rule(path, **rule)
            else:
                self._early.append((path, rule))
            return handler

        return decorate

    def _find_view(
        self, handler: Callable[..., Any], ours: dict[str, Any], decorators: tuple[Any, ...]
    ) -> Callable[..., Any]:
        """Return what Flask calls for a handler: the same for all routes that are stacked on it.

        Flask has one view for an endpoint.
        """
        for known, options, above, view in self._views:
            if known is handler and (options, above) == (ours, decorators):
                return view
        view = _make_view(handler, [self._options, ours], decorators)
        self._views.append((handler, ours, decorators, view))
        return view

    def test_client(self, app: Flask | None = None, **kwargs: Any) -> SockClient:
        """Return a test client of the application, which can open WebSockets without a network.

        Args:
            app: the application; by default the one that was added last.
            kwargs: as for ``app.test_client()``.

        Raises:
            RuntimeError: there is no application.
        """
        app = app or self.app
        if app is None:
            raise RuntimeError("there is no application: call init_app(), or test_client(app)")
        base: Any = app.test_client_class or FlaskClient
        client_class = type("SockClient", (SockClient, base), {})
        return cast(SockClient, client_class(app, app.response_class, **kwargs))


class SockClient(FlaskClient):
    """Flask's test client, which can open WebSockets, with the same cookies."""

    def connect(
        self,
        path: str = "/",
        *,
        headers: Any = None,
        base_url: str | None = None,
        subdomain: str | None = None,
        query_string: Any = None,
        environ_overrides: dict[str, Any] | None = None,
        **options: Any,
    ) -> InMemoryConnection:
        """Open a WebSocket to the application, without a network; return the connection.

        ::

            with client.connect("/echo/ann") as ws:
                ws.send("hello")
                assert ws.recv(timeout=5) == "ann: hello"

        The client's cookies are sent, and those of the response kept. See
        :func:`syncws.integrations.in_memory.connect_wsgi`.

        Args:
            path: as for ``client.get()``.
            headers: as for ``client.get()``.
            base_url: as for ``client.get()``.
            subdomain: as for ``client.get()``.
            query_string: as for ``client.get()``.
            environ_overrides: more for the environ.
            options: of :func:`~syncws.connect`.

        Raises:
            InvalidStatus: the application answered with plain HTTP; has the response.
            TimeoutError: it did not answer in time.
            BaseException: what the application raised, if ``PROPAGATE_EXCEPTIONS`` or
                ``TESTING`` is set; from here, or when the connection is closed.
        """
        builder = EnvironBuilder(
            self.application,
            path,
            base_url,
            subdomain,
            headers=headers,
            query_string=query_string,
            environ_base=self.environ_base,
        )
        environ = builder.get_environ()
        _add_cookies(self, environ)
        fields = [(key, value) for key, value in builder.headers.items() if key != "Cookie"]
        if "HTTP_COOKIE" in environ:
            fields.append(("Cookie", environ["HTTP_COOKIE"]))
        more = {**self.environ_base, **(environ_overrides or {})}
        more["SCRIPT_NAME"] = environ["SCRIPT_NAME"]
        response: Response | None = None
        try:
            connection = connect_wsgi(
                self.application,
                _find_uri(environ),
                headers=fields,
                environ=more,
                user_agent_header=environ.get("HTTP_USER_AGENT"),
                **options,
            )
            response = connection.response
        except InvalidStatus as exc:
            response = exc.response
            raise
        finally:
            if response is not None:
                _keep_cookies(self, environ, response)
        return connection


# --- a request -------------------------------------------------------------------


def _make_view(
    handler: Callable[..., Any],
    options: list[dict[str, Any]],
    decorators: Iterable[Callable[[Any], Any]],
) -> Callable[..., Any]:
    """Return what Flask calls for a request to a handler's route."""

    @functools.wraps(handler)
    def view(**values: Any) -> FlaskResponse:
        app: Flask = cast(Any, current_app)._get_current_object()
        gateways = app.extensions.setdefault(EXTENSION, {})
        if view not in gateways:
            gateways.setdefault(view, Gateway(**merge_options(app.config, *options)))
        return _serve(app, gateways[view], functools.partial(_call, handler, values))

    decorated: Callable[..., Any] = view
    for decorator in decorators:
        decorated = decorator(decorated)
    return decorated


def _call(handler: Callable[..., Any], values: dict[str, Any], ws: Any) -> None:
    """Call a handler; what it returns is dropped, unless it is an answer that refuses.

    A decorator such as ``login_required`` that stands below the route's returns one.
    """
    result = handler(ws, **values)
    if isinstance(result, tuple) and result[1:] and result[1] in range(300, 600):
        result = current_app.response_class(status=result[1])  # of (body, status)
    if isinstance(result, WerkzeugResponse) and result.status_code >= 300:
        abort(result)


def _serve(app: Flask, gateway: Gateway, handler: Callable[[Any], None]) -> FlaskResponse:
    """Accept the request, run its handler, and return the response that goes nowhere."""
    try:
        ws = gateway.accept(request.environ, extra_headers=_save_session(app))
    except InvalidHandshake as exc:
        if exc.response is None:
            raise
        raise _refuse(app, exc.response) from exc
    _forget_changes()

    def report(exc: Exception) -> str:
        got_request_exception.send(app, exception=exc)
        if FAILURES in request.environ and _propagates(app):
            request.environ[FAILURES].append(exc)  # of a test, which wants to see it
        else:
            app.log_exception(sys.exc_info())
        return f"{type(exc).__name__}: {exc}" if app.debug else ""

    run_view(gateway, ws, handler, _describe_refusal, report)
    return app.response_class(status=101)


def _propagates(app: Flask) -> bool:
    """Tell whether exceptions are to leave the application, as Flask decides it."""
    propagate = app.config["PROPAGATE_EXCEPTIONS"]
    return app.testing or app.debug if propagate is None else bool(propagate)


def _save_session(app: Flask) -> list[tuple[str, str]]:
    """Save the session as it is now; return the headers that belong to it."""
    carrier = app.response_class()
    carrier.headers.clear()
    current = cast(Any, session)._get_current_object()
    if not app.session_interface.is_null_session(current):
        app.session_interface.save_session(app, current, carrier)
    return list(carrier.headers.items())


def _forget_changes() -> None:
    """Let the session be saved again only if the handler changes it.

    What other requests have stored on the server meanwhile would be overwritten.
    """
    current = cast(Any, session)._get_current_object()
    if "modified" in getattr(current, "__dict__", ()):  # it takes notice of changes
        current.modified = False


def _refuse(app: Flask, response: Response) -> HTTPException:
    """Return a refusal as Flask's error handlers know them; without one it is sent as it is."""
    status = response.status_code
    known = default_exceptions.get(status)
    kind: Any = known or type("Refusal", (HTTPException,), {"code": status})
    body = app.response_class(response.body, status=status, headers=wsgi_headers(response))
    return cast(HTTPException, kind(description=response.body.decode(), response=body))


def _describe_refusal(exc: Exception) -> str | None:
    if not isinstance(exc, HTTPException):
        return None
    if exc.code is None and exc.response is not None:  # abort(redirect(...))
        return str(getattr(exc.response, "status", ""))
    return str(exc.description or exc.name)


def _answer_mismatch(exc: Exception) -> Any:
    """Answer plain HTTP to a WebSocket's route with 426; what is the other way round with 400."""
    if request.headers.get("Upgrade", "").lower() == "websocket":
        return current_app.handle_http_exception(BadRequest())
    return current_app.handle_http_exception(UpgradeRequired())


# --- the test client --------------------------------------------------------------


def _find_uri(environ: dict[str, Any]) -> str:
    """Return the URI that an environ was made for."""
    path = quote((environ["SCRIPT_NAME"] + environ["PATH_INFO"]).encode("latin-1"))
    query = quote(environ["QUERY_STRING"].encode("latin-1"), safe=PRINTABLE)
    scheme = environ["wsgi.url_scheme"].replace("http", "ws")
    return f"{scheme}://{environ['HTTP_HOST']}{path}{'?' if query else ''}{query}"


def _add_cookies(client: Any, environ: dict[str, Any]) -> None:
    """Put a client's cookies into an environ."""
    if hasattr(client, "_add_cookies_to_wsgi"):
        client._add_cookies_to_wsgi(environ)
    elif client.cookie_jar is not None:  # before Werkzeug 2.3
        client.cookie_jar.inject_wsgi(environ)


def _keep_cookies(client: Any, environ: dict[str, Any], response: Response) -> None:
    """Let a client keep the cookies of a response."""
    cookies = response.headers.get_all("Set-Cookie")
    if hasattr(client, "_update_cookies_from_response"):
        host = environ["HTTP_HOST"].partition(":")[0]
        client._update_cookies_from_response(host, environ["PATH_INFO"], cookies)
    elif client.cookie_jar is not None:
        headers = Headers([("Set-Cookie", value) for value in cookies])
        client.cookie_jar.extract_wsgi(environ, headers)
