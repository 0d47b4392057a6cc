"""Handlers of plain HTTP requests, in Tornado's style: a page beside the sockets."""

from __future__ import annotations

from http.cookies import SimpleCookie
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, overload

from ...foreign import escape
from ...sansio.http11 import Response
from ...threaded.absent import explain_absence
from .answering import Answering, build_answer
from .errors import Finish, HTTPError, MissingArgumentError, call

if TYPE_CHECKING:
    from .application import Application
    from .request import WebRequest

__all__ = ["RequestHandler", "execute"]

_REQUIRED: Any = object()

BODY = "requests with a body are refused; use a web framework, with syncws beside it"
TEMPLATES = "there are no templates; write() what an engine such as Jinja renders"
SIGNING = "cookies aren't signed here; use a library such as itsdangerous with get_cookie()"

#: Methods of Tornado's handlers that aren't here, and what to use instead.
HINTS = {
    "render": TEMPLATES,
    "render_string": TEMPLATES,
    "get_secure_cookie": SIGNING,
    "set_secure_cookie": SIGNING,
    "get_signed_cookie": SIGNING,
    "set_signed_cookie": SIGNING,
    "get_body_argument": BODY,
    "get_body_arguments": BODY,
    "static_url": "there are no static files; leave them to a web server",
    "flush": "the answer is sent as a whole, when the method returns",
}


@explain_absence(HINTS)
class RequestHandler(Answering):
    """Answers one plain HTTP request; subclasses have ``get()``, and ``head()`` if needed.

    ::

        class Page(RequestHandler):
            def get(self, name):
                self.write(f"<h1>Hello, {name}</h1>")

        Application([(r"/hello/(.*)", Page)]).listen(8888)

    There is an instance for each request, used by one thread. Its methods are called within
    ``open_timeout``. What they write is sent when they return. What they raise is logged and
    answered with 500, except :exc:`HTTPError` and :exc:`Finish`. Only GET and HEAD are answered,
    and the connection isn't kept.

    Attributes:
        application: the :class:`Application`.
        request: the request, a ``WebRequest``.
        path_args: the groups of the pattern.
        path_kwargs: the groups of the pattern, if they have names.
    """

    def __init__(self, application: Application, request: WebRequest, **kwargs: Any) -> None:
        self.application = application
        self.request = request
        self.path_args: list[str | None] = []
        self.path_kwargs: dict[str, str | None] = {}
        self._current_user: Any = _REQUIRED
        self.clear()
        call(self.initialize, **kwargs)

    # --- what subclasses have ---

    def initialize(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing; subclasses keep the arguments of their rule here.

        Raises:
            TypeError: the rule has arguments, and the class has no ``initialize()`` for them.
        """
        if args or kwargs:
            names = ", ".join(sorted(kwargs))
            raise TypeError(f"{type(self).__name__} has no initialize() that takes {names}")

    def prepare(self) -> None:
        """Do nothing; subclasses do what comes before ``get()``, such as refusing."""

    def get(self, *args: Any, **kwargs: Any) -> None:
        """Refuse with 405; subclasses answer GET. Arguments are the groups of the pattern."""
        raise HTTPError(405)

    def head(self, *args: Any, **kwargs: Any) -> None:
        """Refuse with 405; subclasses answer HEAD. Arguments are the groups of the pattern."""
        raise HTTPError(405)

    def get_current_user(self) -> Any:
        """Return ``None``; subclasses return the user, for :attr:`current_user`."""
        return None

    def check_trusted_origin(self, origin: str) -> bool:
        """Return whether pages of another origin may open a WebSocket: see ``check_origin()``.

        This accepts the setting ``trusted_origins``, a list.
        """
        return origin in self.settings.get("trusted_origins", ())

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Log an exception that a method raised. Subclasses may do something else.

        An :exc:`HTTPError` that answers the request is logged as a warning, and only if it has
        a message; all else as an error with its traceback.
        """
        logger = self.request.connection.logger
        if isinstance(value, HTTPError) and not self._ws_upgrading:
            if value.log_message is not None:
                # What the program quotes may come from the client, and the path is decoded.
                path, text = escape(self.request.path), escape(str(value))
                logger.warning("%s %s: %s", self.request.method, path, text)
        else:
            name = type(self).__name__
            logger.error("%s failed", name, exc_info=(typ, value, tb))  # type: ignore[arg-type]

    # --- what was asked for ---

    @property
    def settings(self) -> dict[str, Any]:
        """The application's settings."""
        return self.application.settings

    @property
    def current_user(self) -> Any:
        """The user: what :meth:`get_current_user`, called once, returned; or what was set."""
        if self._current_user is _REQUIRED:
            self._current_user = call(self.get_current_user)
        return self._current_user

    @current_user.setter
    def current_user(self, value: Any) -> None:
        self._current_user = value

    @property
    def cookies(self) -> SimpleCookie:
        """The cookies that the client sent."""
        return self.request.cookies

    def get_cookie(self, name: str, default: str | None = None) -> str | None:
        """Return a cookie's value, or the default if there is no such cookie."""
        cookie = self.cookies.get(name)
        return default if cookie is None else str(cookie.value)

    @overload
    def get_argument(self, name: str, *, strip: bool = True) -> str: ...
    @overload
    def get_argument(self, name: str, default: str, strip: bool = True) -> str: ...
    @overload
    def get_argument(self, name: str, default: None, strip: bool = True) -> str | None: ...

    def get_argument(
        self, name: str, default: str | None = _REQUIRED, strip: bool = True
    ) -> str | None:
        """Return the last value of an argument of the query, as text.

        Args:
            name: its name.
            default: what to return if it is missing.
            strip: whether to remove white space around it.

        Raises:
            HTTPError: 400: it isn't UTF-8, or it is missing and there is no default.
        """
        values = self.get_arguments(name, strip)
        if values:
            return values[-1]
        if default is _REQUIRED:
            raise MissingArgumentError(name)
        return default

    def get_arguments(self, name: str, strip: bool = True) -> list[str]:
        """Return all values of an argument of the query, as text.

        Raises:
            HTTPError: 400: one isn't UTF-8.
        """
        try:
            values = [value.decode() for value in self.request.arguments.get(name, [])]
        except UnicodeDecodeError:
            raise HTTPError(400, "Argument %s isn't UTF-8", name) from None
        return [value.strip() for value in values] if strip else values

    get_query_argument = get_argument
    get_query_arguments = get_arguments

    def reverse_url(self, name: str, *args: Any) -> str:
        """Return the path of a rule; see :meth:`Application.reverse_url`."""
        return self.application.reverse_url(name, *args)


def execute(handler: RequestHandler) -> Response | None:
    """Return a handler's answer to its request; ``None`` if a WebSocket is to be opened."""
    try:
        _dispatch(handler)
    except Finish as exc:
        if not handler._finished and not handler._ws_upgrading:
            handler.finish(*exc.args)
    except Exception as exc:
        _fail(handler, exc)
    if handler._ws_upgrading:
        return None
    cls, names = type(handler), ("get", "head")
    answered = [n.upper() for n in names if getattr(cls, n) is not getattr(RequestHandler, n)]
    return build_answer(handler, answered)


def _dispatch(handler: RequestHandler) -> None:
    method = handler.request.method
    if method not in ("GET", "HEAD"):
        raise HTTPError(405)
    call(handler.prepare)
    if not handler._finished:
        function: Callable[..., Any] = handler.get if method == "GET" else handler.head
        result = call(function, *handler.path_args, **handler.path_kwargs)
        if result is not None:
            raise TypeError(
                f"{type(handler).__name__}.{method.lower()}() returned {type(result).__name__}; "
                "what is to be sent is written: self.write()"
            )


def _fail(handler: RequestHandler, exc: Exception) -> None:
    """Answer with an error, unless there is an answer already."""
    handler._ws_upgrading = False
    exc_info = type(exc), exc, exc.__traceback__
    handler.log_exception(*exc_info)
    if handler._finished:
        return
    status, reason = 500, None
    if isinstance(exc, HTTPError):
        status, reason = exc.status_code, exc.reason
    try:
        handler.send_error(status, reason=reason, exc_info=exc_info)
    except Finish:
        handler._finished = True
