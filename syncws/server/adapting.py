"""Functions that programs give to a server, adapted from the forms that they come in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable

from ..sansio.http11 import Request, Response
from .callables import refuse_coroutine
from .responses import as_response
from .server_connection import Handler, ProcessRequest, SelectSubprotocol, ServerConnection

__all__ = ["adapt_handler", "adapt_select_subprotocol", "in_turn"]


def adapt_handler(handler: Handler) -> Callable[[Any], Any]:
    """Return a handler that takes the connection only.

    One that needs two arguments, or whose second one is called ``path``, gets the path too.

    Raises:
        TypeError: it can't be called, or not with one or two arguments.
    """
    refuse_coroutine(handler, "a handler")
    parameters = _positional(handler)
    if len(parameters) > 1 and parameters[1] == "path" and _accepts(handler, 2):
        return lambda ws: handler(ws, ws.path)
    if _accepts(handler, 1):
        return handler
    if _accepts(handler, 2):
        return lambda ws: handler(ws, ws.path)
    raise TypeError(f"a handler takes the connection, or connection and path: {handler!r}")


def in_turn(
    functions: ProcessRequest | Sequence[ProcessRequest] | None,
) -> ProcessRequest | None:
    """Return one ``process_request`` function that calls several, until one responds.

    Raises:
        TypeError: one of them is no plain function.
    """
    if functions is None:
        return None
    if callable(functions) or not isinstance(functions, Sequence):
        return _adapt_process_request(functions)
    several = [_adapt_process_request(function) for function in functions]

    def process_request(ws: ServerConnection, request: Request) -> Response | None:
        for function in several:
            response = function(ws, request)
            if response is not None:
                return response
        return None

    return process_request


def _adapt_process_request(function: Callable[..., Any]) -> ProcessRequest:
    """Return a function of connection and request.

    The older form, of path and headers, is known by the name of its first parameter.

    Raises:
        TypeError: it can't be called, or only makes a coroutine.
    """
    refuse_coroutine(function, "process_request")
    if _positional(function)[:1] == ["path"]:
        return lambda ws, request: as_response(function(request.path, request.headers))
    return function


def adapt_select_subprotocol(
    select: Callable[..., str | None] | None, subprotocols: Sequence[str] | None
) -> SelectSubprotocol | None:
    """Return a function of the connection and the client's offers.

    The older form, of the client's and the server's subprotocols, is known by the names of
    its parameters: ``*protocols*`` the first, or ``*server*`` the second. It is called only
    when both sides have some.

    Raises:
        TypeError: it can't be called, or only makes a coroutine.
    """
    if select is None:
        return None
    refuse_coroutine(select, "select_subprotocol")
    older = select
    parameters = _positional(select)
    if len(parameters) == 2 and ("protocols" in parameters[0] or "server" in parameters[1]):
        ours = list(subprotocols or ())
        return lambda ws, offered: older(offered, ours) if offered and ours else None
    return select


def _positional(function: Callable[..., Any]) -> list[str]:
    """Return the names of the positional parameters; none if that can't be known."""
    import inspect

    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [parameter.name for parameter in parameters if parameter.kind in kinds]


def _accepts(function: Callable[..., Any], count: int) -> bool:
    """Tell whether it takes this many positional arguments; yes if that can't be known."""
    import inspect

    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True
