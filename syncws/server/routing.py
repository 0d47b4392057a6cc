"""Paths to handlers: which function answers a request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Callable, NamedTuple, TypeVar, Union

from ..sansio.headers import TOKEN
from ..sansio.http11 import Request, Response
from ..sansio.plain_responses import build_response
from .callables import refuse_coroutine
from .responses import copy_response

__all__ = [
    "Match",
    "Router",
    "check_parameters",
    "decode_path",
    "is_upgrade",
    "leads_out",
    "not_found",
]

_F = TypeVar("_F", bound=Callable[..., Any])

#: What a function for plain HTTP returns.
Answer = Union[str, bytes, Response]

#: Converters, those that win first.
CONVERTERS = ("int", "str", "path")

_PLACEHOLDER = re.compile(r"<(?:([^:<>]*):)?([^:<>]*)>")

#: More digits than any identifier has; Python refuses to read numbers of thousands.
_INT = re.compile(r"[0-9]{1,100}")


class Match(NamedTuple):
    """The function for a path, the values for its parameters, and methods of plain HTTP."""

    function: Callable[..., Any]
    values: dict[str, Any]
    methods: tuple[str, ...] = ()


class Route(NamedTuple):
    """A function, the names of its parameters in their order, and the pattern it is for."""

    function: Callable[..., Any]
    names: list[str]
    pattern: str
    methods: tuple[str, ...] = ()


class Node:
    """What may come next in a path."""

    __slots__ = ("dynamic", "route", "static")

    def __init__(self) -> None:
        self.route: Route | None = None  # of the path that ends here
        self.static: dict[str, Node] = {}
        self.dynamic: dict[str, Node] = {}  # by converter

    def find(self, segments: list[str], index: int, values: list[Any]) -> Route | None:
        """Return the route of a path from a segment on, and append values; each node once."""
        if index == len(segments):
            return self.route
        node = self.static.get(segments[index])
        if node is not None:
            route = node.find(segments, index + 1, values)
            if route is not None:
                return route
        if not self.dynamic:
            return None
        for converter, value, rest in _readings(segments, index):
            node = self.dynamic.get(converter)
            if node is None:
                continue
            values.append(value)
            route = node.find(segments, rest, values)
            if route is not None:
                return route
            values.pop()
        return None


def _readings(segments: list[str], index: int) -> Iterator[tuple[str, Any, int]]:
    """Yield converters that take what comes next, their values, and where these end."""
    segment = segments[index]
    if not segment or leads_out(segment):
        return
    if _INT.fullmatch(segment):
        yield "int", int(segment), index + 1
    yield "str", segment, index + 1
    if not any(map(leads_out, segments[index + 1 :])):
        yield "path", "/".join(segments[index:]), len(segments)


class Router:
    r"""Calls the function whose pattern matches a request's path.

    ::

        router = Router()

        @router.route("/chat/<room>")
        def chat(ws, room):
            ...

        @router.http("/health")
        def health(request):
            return "fine"

        serve(router, "localhost", 8765)

    Patterns are paths as people write them, not percent-encoded; the query isn't part of
    them. ``<name>`` or ``<str:name>`` takes one segment, ``<int:name>`` one that is a number
    (at most 100 digits), ``<path:name>``, at the end, all that remains. Values come as keyword
    arguments, percent-decoded: what the client wrote, with any characters, even ``/`` (written
    ``%2F``). Segments that are empty, or could lead out of a directory, are no values: those that
    begin with a slash, or have ``.`` or ``..`` between slashes; decoded once, or twice, and with
    ``\`` counting as a slash.

    Where several patterns match a path, the first segment in which they differ decides: text
    comes before ``int``, ``int`` before ``str``, ``str`` before ``path``, in whatever order
    they were registered. Other paths are answered with 404.

    The server's ``process_request`` functions run first: what they refuse is not looked up.
    Routes may be registered while the server runs.
    """

    def __init__(self) -> None:
        self._handlers = Node()
        self._answers = Node()

    def route(self, pattern: str) -> Callable[[_F], _F]:
        """Return a decorator that registers a handler for a pattern.

        The handler is called with the connection, and the pattern's values as keywords. What is
        wrong is raised here, or by the decorator.

        Raises:
            TypeError: the handler is no plain function, or doesn't take these arguments.
            ValueError: the pattern is malformed, or was registered before.
        """
        return _registration(self._handlers, pattern, "a handler")

    def http(self, pattern: str, *, methods: Sequence[str] = ("GET",)) -> Callable[[_F], _F]:
        """Return a decorator that registers a function for plain HTTP.

        The function is called with the request, and the pattern's values as keywords, in the
        time of ``open_timeout``; ``request.body`` has at most ``max_body_size`` bytes. It returns
        the body, as text or bytes, or a :class:`~syncws.Response`; what it raises is logged, and
        answered with 500. A path may have a handler too, which gets the requests for a WebSocket.

        Args:
            pattern: the pattern.
            methods: what it answers, such as ``["GET", "POST"]``; with GET it answers HEAD as well.
                Other requests are answered with 405. Browsers send POST for pages of any origin:
                compare ``request.headers.get("Origin")`` before something is changed.

        Raises what :meth:`route` does; and ValueError if there is no such method.
        """
        answered = _parse_methods(methods)
        return _registration(self._answers, pattern, "a function for HTTP", answered)

    def resolve(self, request: Request, host: str, secure: bool) -> Match | Response:
        """Return the handler for a request, or the answer to it.

        Args:
            request: the request.
            host: the host that it is for.
            secure: whether the client uses TLS.
        """
        segments = decode_path(request.path)
        if segments is None:
            return not_found()
        handler = _find(self._handlers, segments)
        if handler is not None and is_upgrade(request):
            return handler
        answer = _find(self._answers, segments)
        if answer is not None:
            return _answer(answer, request)
        return not_found() if handler is None else handler


def _parse_methods(methods: Sequence[str]) -> tuple[str, ...]:
    if isinstance(methods, str):
        raise TypeError(f"methods must be a list, such as [{methods!r}], not {methods!r}")
    answered = [method.upper() for method in methods]
    for method in answered:
        if not TOKEN.fullmatch(method):
            raise ValueError(f"{method!r} is no method")
    if not answered:
        raise ValueError("there must be a method")
    if "GET" in answered:
        answered.append("HEAD")
    return tuple(dict.fromkeys(answered))


def _registration(
    root: Node, pattern: str, what: str, methods: tuple[str, ...] = ()
) -> Callable[[_F], _F]:
    segments = _parse_pattern(pattern)
    names = [name for converter, name in segments if converter]

    def register(function: _F) -> _F:
        refuse_coroutine(function, what)
        check_parameters(function, names, pattern)
        node = root
        for converter, name in segments:
            children = node.dynamic if converter else node.static
            node = children.setdefault(converter or name, Node())
        if node.route is not None:
            raise ValueError(
                f"{pattern!r} has {what} already: {_name(node.route.function)}, "
                f"registered for {node.route.pattern!r}"
            )
        node.route = Route(function, names, pattern, methods)
        return function

    return register


def _parse_pattern(pattern: str) -> list[tuple[str, str]]:
    """Return the segments of a pattern: converter and name, or ``""`` and text."""

    def fail(reason: str) -> ValueError:
        return ValueError(f"invalid pattern {pattern!r}: {reason}")

    if not isinstance(pattern, str):
        raise TypeError(f"a pattern is a str, not {pattern!r}")
    if not pattern.startswith("/"):
        raise fail("it doesn't start with '/'")
    if "?" in pattern or "#" in pattern:
        raise fail("query and fragment aren't part of it")
    if "%" in pattern:
        raise fail("write it without percent-encoding")
    if "//" in pattern:
        raise fail("it has an empty segment")
    segments: list[tuple[str, str]] = []
    for text in pattern[1:].split("/"):
        if segments and segments[-1][0] == "path":
            raise fail("<path:> is only for the end")
        if "<" not in text and ">" not in text:
            segments.append(("", text))
            continue
        found = _PLACEHOLDER.fullmatch(text)
        if not found:
            raise fail(f"{text!r} isn't a whole segment such as <name> or <int:name>")
        converter, name = found.groups()
        converter = "str" if converter is None else converter
        if converter not in CONVERTERS:
            raise fail(f"there is no converter {converter!r}, only {', '.join(CONVERTERS)}")
        if not name.isidentifier():
            raise fail(f"{name!r} can't be a parameter's name")
        if any(other and name == taken for other, taken in segments):
            raise fail(f"it has {name!r} twice")
        segments.append((converter, name))
    return segments


def check_parameters(function: Callable[..., Any], names: list[str], pattern: str) -> None:
    """Return if a function can be called with one argument and these keywords.

    Raises:
        TypeError: it can't.
    """
    import inspect

    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # a function in C, perhaps: it can't be known
    try:
        signature.bind(None, **dict.fromkeys(names))
    except TypeError as exc:
        call = ", ".join(["one argument", *(f"{name}=" for name in names)])
        raise TypeError(
            f"{_name(function)} is for {pattern!r} and is called with {call}: {exc}"
        ) from None


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", repr(function))


def decode_path(target: str) -> list[str] | None:
    """Return the segments of a request's target; ``None`` if they aren't UTF-8."""
    segments = target.partition("?")[0][1:].split("/")
    if "%" not in target:
        return segments
    from urllib.parse import unquote  # slow to import, and most paths need no decoding

    try:
        return [unquote(segment, errors="strict") for segment in segments]
    except UnicodeDecodeError:
        return None


_SLASH = re.compile(r"[/\\]")


def leads_out(segment: str) -> bool:
    """Tell whether a decoded segment, as a part of a file's name, could lead to another directory.

    Clients resolve ``.`` and ``..`` (RFC 3986 §5.2.4); what still has them, however it is written,
    is after files of ours. So is what begins with a slash: joined to a directory, it replaces it.
    """
    if segment.isalnum():  # as most are
        return False
    readings = [segment]
    if "%" in segment:  # it was encoded twice, and may be decoded again
        from urllib.parse import unquote  # slow to import

        readings.append(unquote(segment))
    for reading in readings:
        parts = _SLASH.split(reading)
        if "." in parts or ".." in parts or (len(parts) > 1 and not parts[0]):
            return True
    return False


def _find(root: Node, segments: list[str]) -> Match | None:
    values: list[Any] = []
    route = root.find(segments, 0, values)
    if route is None:
        return None
    return Match(route.function, dict(zip(route.names, values)), route.methods)


def is_upgrade(request: Request) -> bool:
    """Tell whether a request is for a WebSocket; the opening handshake finds out if a valid one."""
    values = ",".join(request.headers.get_all("Upgrade")).split(",")
    return request.method == "GET" and "websocket" in [value.strip().lower() for value in values]


def not_found() -> Response:
    """Return the answer to a request for what isn't here."""
    return build_response(404, "There is nothing here.\n")


def _answer(match: Match, request: Request) -> Response:
    if request.method not in match.methods:
        text = f"The method {request.method} isn't for this address.\n"
        return build_response(405, text, {"Allow": ", ".join(match.methods)})
    answer: Answer = match.function(request, **match.values)
    if isinstance(answer, str):
        return build_response(200, answer)
    if isinstance(answer, bytes):
        return build_response(200, answer, {"Content-Type": "application/octet-stream"})
    if not isinstance(answer, Response):
        kind, name = type(answer).__name__, _name(match.function)
        raise TypeError(f"{name} returned {kind}; it returns str, bytes or a Response")
    return copy_response(answer)
