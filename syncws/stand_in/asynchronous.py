"""Names of asynchronous APIs: they can be imported, and say on use that there is none."""

from __future__ import annotations

import abc
import functools
from typing import Any, NoReturn

__all__ = ["absent_class"]


class _Absent(abc.ABCMeta):  # so that a class may have an abstract base beside it
    """A class that can be imported, inherited from and asked for, but not used.

    It is a class because programs use such names in annotations, in ``isinstance()`` and as base
    classes, all of it in modules whose other half is synchronous.
    """

    _text: str

    def __call__(cls, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(cls._text)

    def __getattr__(cls, name: str) -> NoReturn:
        if name.startswith("__"):  # Python looks for these to see what a class can do
            raise AttributeError(f"type object {cls.__name__!r} has no attribute {name!r}")
        raise AttributeError(f"{cls.__name__}.{name}: {cls._text}")


@functools.cache
def absent_class(module: str, name: str, instead: str) -> type:
    """Return what stands for a name of an asynchronous API; the same one each time.

    Calling it raises :exc:`NotImplementedError`, before anybody awaits the result.

    Args:
        module: the module that has it.
        name: the name.
        instead: what synchronous programs use instead, or nothing.
    """
    text = (
        f"{module}.{name} is of the asynchronous API; syncws, which stands in for "
        f"{module.partition('.')[0]} here, is a synchronous library and has none"
    )
    if instead:
        text += f": use {instead}, without async and await"
    return _Absent(name, (), {"__module__": module, "__doc__": f"{text}.", "_text": text})
