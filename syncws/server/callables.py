"""Functions that programs give to a server, in the forms that they come in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, Optional

__all__ = ["Handler", "SelectSubprotocol", "adapt_handler", "adapt_select_subprotocol"]

#: Called with the connection, or with connection and path.
Handler = Callable[..., Any]

#: Called with the connection and what the client offers; returns one of these, or ``None``.
SelectSubprotocol = Callable[[Any, Sequence[str]], Optional[str]]


def _positional(function: Callable[..., Any]) -> list[Any]:
    """Return the positional parameters without a default; none if that can't be known."""
    import inspect

    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p for p in parameters if p.kind in kinds and p.default is p.empty]


def adapt_handler(handler: Handler) -> Callable[[Any], Any]:
    """Return a handler that takes the connection only.

    Raises:
        TypeError: it can't be called, or not with one or two arguments.
    """
    if not callable(handler):
        raise TypeError(f"a handler is a function of the connection, not {handler!r}")
    if hasattr(handler, "__code__") and handler.__code__.co_flags & 0x80:  # CO_COROUTINE
        raise TypeError(
            f"{handler.__name__} is a coroutine function; here handlers are plain functions: "
            "drop async and await"
        )
    required = len(_positional(handler))
    if required > 2:
        raise TypeError(f"a handler takes the connection, or connection and path: {handler!r}")
    if required == 2:
        return lambda ws: handler(ws, ws.path)
    return handler


def adapt_select_subprotocol(
    select: Callable[..., str | None] | None, subprotocols: Sequence[str] | None
) -> SelectSubprotocol | None:
    """Return a function of the connection and the client's offers.

    The older form, of the client's and the server's subprotocols, is known by the name of its
    first parameter, which has "client" or "subprotocols" in it.
    """
    if select is None:
        return None
    parameters = _positional(select)
    if len(parameters) == 2:
        name = parameters[0].name
        if "client" in name or "subprotocols" in name:
            ours = list(subprotocols or ())
            return lambda ws, offered: select(offered, ours)
    return select
