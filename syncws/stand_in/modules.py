"""Modules that stand for those of other libraries, and the finder that makes them."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import types
from collections.abc import Sequence
from typing import Any

from .library import Library

__all__ = ["Finder", "StandInModule"]


class StandInModule(types.ModuleType):
    """A module that stands for one of another library: its names are found when they are used."""

    __library__: Library

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":
            return self._public()
        if f"{self.__name__}.{name}" in self.__library__.modules:  # not imported yet, or again
            return importlib.import_module(f"{self.__name__}.{name}")
        value = self.__library__.find(self.__name__, name)
        self.__dict__[name] = value  # the next time it is there
        return value

    def __dir__(self) -> list[str]:
        names = self.__library__.modules[self.__name__]
        return sorted({*self.__dict__, *names} - {"__library__"})

    def _public(self) -> list[str]:
        """Return what ``from ... import *`` gives."""
        names = self.__library__.modules[self.__name__]
        return sorted(name for name in names if not name.startswith("_") and hasattr(self, name))


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds and makes the modules of the libraries that are installed.

    Attributes:
        libraries: the libraries by name. Replaced, never changed: importing threads read it.
    """

    def __init__(self) -> None:
        self.libraries: dict[str, Library] = {}

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of one of their modules; ``None`` for any other.

        Raises:
            ModuleNotFoundError: it would belong to one of the libraries, which has no such module.
        """
        library = self.libraries.get(fullname.partition(".")[0])
        if library is None:
            return None
        if fullname not in library.modules:
            raise ModuleNotFoundError(
                f"No module named {fullname!r}: syncws stands in for {library.package}, and has "
                "no such module",
                name=fullname,
            )
        return importlib.machinery.ModuleSpec(
            fullname, self, origin="syncws", is_package=library.is_package(fullname)
        )

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> StandInModule:
        """Return a new module, which knows its library from the start."""
        module = StandInModule(spec.name)
        module.__dict__["__library__"] = self.libraries[spec.name.partition(".")[0]]
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """Give a module its names; one that is reloaded gets them again."""
        library: Library = module.__dict__["__library__"]
        for name in library.modules[module.__name__]:
            module.__dict__.pop(name, None)
        module.__doc__ = f"syncws, standing in for {module.__name__} of {library.package}."

    def make_modules(self, library: Library) -> dict[str, types.ModuleType]:
        """Return a library's modules, each as an attribute of its parent."""
        made: dict[str, types.ModuleType] = {}
        for name in sorted(library.modules):  # packages before what is in them
            spec = self.find_spec(name)
            assert spec is not None
            made[name] = importlib.util.module_from_spec(spec)
            self.exec_module(made[name])
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(made[parent], child, made[name])
        return made
