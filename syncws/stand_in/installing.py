"""Putting the modules that stand for other libraries where programs import them from."""

from __future__ import annotations

import sys
from typing import Any

from ..locks import make_rlock
from .library import Library
from .modules import Finder, StandInModule
from .simple_websocket_names import SIMPLE_WEBSOCKET
from .websocket_names import WEBSOCKET
from .websockets_names import WEBSOCKETS

__all__ = ["LIBRARIES", "StandIn", "install_as"]

#: The libraries that this one can stand in for.
LIBRARIES = {library.name: library for library in (WEBSOCKET, WEBSOCKETS, SIMPLE_WEBSOCKET)}

_finder = Finder()

# Guards the finder's libraries, and what is in sys.modules for them. Re-entrant, for signal
# handlers, and since imports may run code that calls install_as().
_lock = make_rlock()


class StandIn:
    """What :func:`install_as` has done; as a context manager, it undoes that.

    Attributes:
        libraries: what this call installed, not what was installed before.
    """

    libraries: tuple[str, ...]

    def __init__(self, libraries: tuple[Library, ...], before: dict[str, Any]) -> None:
        self.libraries = tuple(library.name for library in libraries)
        self._before = before

    def __repr__(self) -> str:
        return f"<StandIn for {', '.join(self.libraries) or 'nothing that was not there'}>"

    def __enter__(self) -> StandIn:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Remove the modules, and put back what was there before.

        Modules imported in the meantime keep the names they have. Idempotent.
        """
        with _lock:
            names, self.libraries = self.libraries, ()
            _remove(names)
            for name, value in self._before.items():
                sys.modules.setdefault(name, value)
            self._before = {}


def install_as(*libraries: str) -> StandIn:
    """Let this library stand in for others, for programs that import them.

    From now on, ``import websocket`` (of websocket-client), ``import websockets`` (its synchronous
    half) and ``import simple_websocket`` give modules whose names are this library's. Programs and
    packages need no change, but this must come before they are imported::

        import syncws

        syncws.install_as("websocket")

        import socketio

    Either all are installed, or none. What is already installed stays as it is. Any thread may call
    it. :mod:`importlib.metadata` still tells which packages are really installed.

    As a context manager, for tests, it removes the modules at the end of the block. What was
    imported in the block keeps the names it has.

    Args:
        libraries: the names by which programs import them: ``"websocket"``, ``"websockets"``,
            ``"simple_websocket"``.

    Raises:
        RuntimeError: one is already imported; there would be two of it, whose exceptions differ.
        ValueError: a name is none of these, or there is no name.
    """
    wanted = [_find_library(name) for name in libraries]
    if not wanted:
        raise ValueError(f"install_as() takes the names of libraries: {_known()}")
    with _lock:
        there = _finder.libraries
        once = {library.name: library for library in wanted}
        new = tuple(library for library in once.values() if library.name not in there)
        for library in new:
            _refuse_imported(library)
        before = {name: None for lib in new for name in _entries(lib.name)}  # imports were blocked
        # The finder first: if a signal handler raises here, whatever is imported is still ours.
        if new and _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)
        _finder.libraries = {**there, **{library.name: library for library in new}}
        for library in new:
            sys.modules.update(_finder.make_modules(library))
    return StandIn(new, before)


def _find_library(name: str) -> Library:
    """Return a library that we can stand in for.

    Raises:
        ValueError: it is none of those.
    """
    library = LIBRARIES.get(name)
    if library is None:
        raise ValueError(f"syncws can't stand in for {name!r}; it can for {_known()}")
    return library


def _known() -> str:
    """Return the names that are known, for errors."""
    return ", ".join(
        repr(lib.name) if lib.name == lib.package else f"{lib.name!r} (of {lib.package})"
        for lib in LIBRARIES.values()
    )


def _entries(name: str) -> list[str]:
    """Return the names in :data:`sys.modules` of a library's modules."""
    return [entry for entry in list(sys.modules) if entry.partition(".")[0] == name]


def _refuse_imported(library: Library) -> None:
    """Return if nothing of the original is imported.

    Raises:
        RuntimeError: something is.
    """
    for name in sorted(_entries(library.name)):
        module = sys.modules.get(name)
        if module is not None:  # None only blocks the import
            where = getattr(module, "__file__", None)
            place = f", from {where}" if where else ""
            raise RuntimeError(
                f"syncws can't stand in for {library.name!r}: {name!r} is imported already"
                f"{place}; call install_as() before anything imports it"
            )


def _remove(names: tuple[str, ...]) -> None:
    """Remove the modules of libraries."""
    _finder.libraries = {k: v for k, v in _finder.libraries.items() if k not in names}
    for name in names:
        for entry in _entries(name):
            if isinstance(sys.modules.get(entry), StandInModule):
                del sys.modules[entry]
    if not _finder.libraries and _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
