"""Which interpreter of the process this is: in a subinterpreter threads end otherwise."""

from __future__ import annotations

import importlib
import threading
from typing import Any, Callable

__all__ = ["IS_MAIN", "call_at_shutdown"]


def _is_main() -> bool:
    for name in ("_interpreters", "_xxsubinterpreters"):  # since Python 3.13; before
        try:
            interpreters: Any = importlib.import_module(name)
        except ImportError:
            continue
        main: bool = interpreters.get_current() == interpreters.get_main()
        return main
    return True


#: Whether this is the main interpreter. Our threads are daemons there, and only there: a
#: subinterpreter that still has threads when it ends brings the process down, and one with a lock
#: of its own can't have daemons at all.
IS_MAIN = _is_main()


def call_at_shutdown(function: Callable[[], None]) -> None:
    """Call a function before the interpreter waits for threads that are no daemons."""
    register: Any = threading._register_atexit  # type: ignore[attr-defined]
    register(function)
