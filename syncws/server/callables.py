"""Functions of the program, which must be plain: neither coroutines nor generators."""

from __future__ import annotations

from typing import Any, Callable

__all__ = ["refuse_awaitable", "refuse_coroutine"]


def refuse_coroutine(function: Callable[..., Any], what: str) -> None:
    """Return if this is a plain function.

    Raises:
        TypeError: it can't be called, or a call only makes a coroutine or a generator and
            runs nothing.
    """
    import functools
    import inspect

    if not callable(function):
        raise TypeError(f"{what} is a function, not {function!r}")
    inner: Any = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    for candidate in (inner, type(inner).__call__):
        if inspect.iscoroutinefunction(candidate) or inspect.isasyncgenfunction(candidate):
            kind, advice = "coroutine", "drop async and await"
        elif inspect.isgeneratorfunction(candidate):
            kind, advice = "generator", "drop yield"
        else:
            continue
        name = getattr(inner, "__name__", repr(inner))
        raise TypeError(f"{name} is a {kind} function; here {what} is a plain function: {advice}")


def refuse_awaitable(result: Any, message: str) -> Any:
    """Return what a function of the program's returned.

    Raises:
        TypeError: it must be awaited, which never happens here, and it counts as true.
    """
    if hasattr(result, "__await__"):
        if hasattr(result, "close"):
            result.close()  # or Python warns that it was never awaited
        raise TypeError(message)
    return result
