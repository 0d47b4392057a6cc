"""Tables of names: what stands for another library, and where to find it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .asynchronous import absent_class

__all__ = ["Library", "Names", "ours", "unavailable"]

#: Names of one module, and the source of each: ``"module:name"`` within this package;
#: ``"/module:name"`` of another one, or without a name the module; ``"!instead"`` for a name of the
#: asynchronous API, with what to use instead.
Names = Mapping[str, str]

_PACKAGE = __name__.partition(".")[0]


@dataclass(frozen=True)
class Library:
    """A library, and what stands in for it.

    Attributes:
        name: the name that programs import.
        package: the name of its package, as installers know it.
        modules: its modules by their full names, and the names in each.
    """

    name: str
    package: str
    modules: Mapping[str, Names]

    def is_package(self, module: str) -> bool:
        """Tell whether a module has submodules, or is the library itself."""
        return module == self.name or any(name.startswith(module + ".") for name in self.modules)

    def find(self, module: str, name: str) -> Any:
        """Return what a name in a module stands for.

        Raises:
            AttributeError: there is no such name; the text explains.
        """
        source = self.modules[module].get(name)
        if source is not None:
            if source.startswith("!"):
                return absent_class(module, name, source[1:])
            place, _, found = source.partition(":")
            where = importlib.import_module(place[1:] if place[0] == "/" else f"{_PACKAGE}.{place}")
            if not found:
                return where
            if hasattr(where, found):
                return getattr(where, found)
        raise AttributeError(
            f"module {module!r} has no attribute {name!r}: {_PACKAGE} stands in for "
            f"{self.package}, and has no such name"
        )


def ours(place: str, names: str) -> dict[str, str]:
    """Return the sources of names that one of our modules has.

    Args:
        place: the module, within this package.
        names: the names, with spaces between; ``theirs=ours`` where they differ.
    """
    pairs = [name.partition("=") for name in names.split()]
    return {theirs: f"{place}:{own or theirs}" for theirs, _, own in pairs}


def unavailable(names: str, instead: str) -> dict[str, str]:
    """Return the sources of names of the asynchronous API, with what to use instead."""
    return dict.fromkeys(names.split(), f"!{instead}")
