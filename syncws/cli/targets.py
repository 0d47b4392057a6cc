"""Finding what ``MODULE:HANDLER`` names."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
import types
from typing import Any

from ..server.settings import find_router
from .run_command import is_safe

__all__ = ["TargetError", "find_target", "is_target"]

#: Files whose frames say nothing about why a program's module can't be imported.
OWN_FILES = (__file__, importlib.__file__)


class TargetError(Exception):
    """There is nothing of that name that can be served."""


def is_target(text: str) -> bool:
    """Tell whether a text is of the form ``MODULE:HANDLER``."""
    module, _, name = text.partition(":")
    return all(part.isidentifier() for part in (*module.split("."), *name.split(".")))


def find_target(text: str) -> Any:
    """Return a handler, a router or a map by its module and its name there.

    Modules are also looked for in the current directory, as ``python -m`` does.

    Raises:
        TargetError: there is none, or its module can't be imported; the traceback was printed then.
    """
    module_name, _, name = text.partition(":")
    if not is_safe() and os.getcwd() not in sys.path[:1]:
        sys.path.insert(0, os.getcwd())
    found: Any = _import(module_name)
    for part in name.split("."):
        if not hasattr(found, part):
            raise TargetError(f"{text}: there is no {part!r} in {_describe(found)}")
        found = getattr(found, part)
    if hasattr(found, "wsgi_app"):
        raise TargetError(f"{text} is a WSGI application; servers of WSGI run it")
    try:
        find_router(found)
    except (TypeError, ValueError) as exc:
        raise TargetError(f"{text} is no handler: {exc}") from None
    return found


def _import(name: str) -> types.ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{name}.".startswith(f"{exc.name}."):
            _show(exc)
            raise TargetError(f"{name} can't be imported: {exc}") from None
        raise TargetError(f"there is no module {exc.name!r}") from None
    except Exception as exc:
        _show(exc)
        raise TargetError(f"{name} can't be imported: {type(exc).__name__}: {exc}") from None


def _show(exc: Exception) -> None:
    """Print a traceback from where the program's module begins."""
    rest = exc.__traceback__
    while rest is not None:
        file = rest.tb_frame.f_code.co_filename
        if file not in OWN_FILES and not file.startswith("<frozen importlib"):
            break
        rest = rest.tb_next
    lines = traceback.format_exception(type(exc), exc, rest)
    if sys.stderr is not None:
        sys.stderr.write("".join(lines))


def _describe(found: Any) -> str:
    is_module = isinstance(found, types.ModuleType)
    return f"module {found.__name__!r}" if is_module else type(found).__name__
