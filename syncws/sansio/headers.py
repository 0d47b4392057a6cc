"""HTTP header fields: a multidict that ignores the case of names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Union

from ..accel.header_lines import TOKEN
from ..exceptions import MultipleValuesError

__all__ = ["TOKEN", "Headers", "HeadersLike"]

#: What a value can't hold (RFC 9110 §5.5): control characters, of which CR and LF would
#: let a value add header lines of its own, and what isn't Latin-1.
_NOT_IN_VALUE = re.compile(r"[^\t -~\x80-\xff]")

_NOTHING: tuple[tuple[str, str], ...] = ()


class Headers(MutableMapping[str, str]):
    """Header fields in their order, as spelled; names are looked up in any case.

    A name may occur several times: ``headers[name] = value`` *adds* a field and keeps
    those that are there. To replace them, delete the name first. As a mapping, it has
    each name once, in lower case; :meth:`raw_items` has the fields one by one.

    Args:
        headers: fields to start with: a mapping, pairs, or other ``Headers``.
        **kwargs: more of them.

    Raises:
        TypeError: a name or a value isn't a ``str``.
        ValueError: a name isn't a token, or a value has characters that can't be sent.
    """

    __slots__ = ("_fields", "_values")

    def __init__(self, headers: HeadersLike = _NOTHING, /, **kwargs: str) -> None:
        self._fields: list[tuple[str, str]] = []  # in order, as spelled
        # The same by lower-case name; a list only where there are several.
        self._values: dict[str, str | list[str]] = {}
        if headers is not _NOTHING or kwargs:
            self.update(headers, **kwargs)

    @classmethod
    def from_parsed(cls, fields: Iterable[tuple[str, str]]) -> Headers:
        """Make headers of fields that a parser has validated; they aren't checked again."""
        headers = cls()
        headers.add_parsed(fields)
        return headers

    @classmethod
    def from_index(
        cls, fields: list[tuple[str, str]], values: dict[str, str | list[str]]
    ) -> Headers:
        """Take over fields and their values by name, as ``split_head()`` found."""
        headers = cls()
        headers._fields = fields
        headers._values = values
        return headers

    def add_parsed(self, fields: Iterable[tuple[str, str]]) -> None:
        """Add fields that are known to be valid; they aren't checked."""
        start = len(self._fields)
        self._fields += fields
        values = self._values
        for name, value in self._fields[start:]:
            key = name.lower()
            if key in values:
                self._index(key, value)
            else:  # as most are: it is done for each header of each connection that opens
                values[key] = value

    def copy(self) -> Headers:
        """Return independent headers with the same fields."""
        return self.from_parsed(self._fields)

    __copy__ = copy

    # --- as a mapping --------------------------------------------------------------

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, name: str) -> str:
        """Return the value of a header that occurs once.

        Raises:
            KeyError: there is no such header.
            MultipleValuesError: there are several; see :meth:`get_all`.
        """
        value = self._values[name.lower()]
        if isinstance(value, list):
            raise MultipleValuesError(name)
        return value

    def __setitem__(self, name: str, value: str) -> None:
        """Add a field at the end; fields of the same name stay.

        Raises:
            TypeError: the name or the value isn't a ``str``.
            ValueError: the name isn't a token, or the value can't be sent.
        """
        _check_field(name, value)
        self._fields.append((name, value))
        self._index(name.lower(), value)

    def __delitem__(self, name: str) -> None:
        """Remove all fields of that name.

        Raises:
            KeyError: there is none.
        """
        key = name.lower()
        del self._values[key]
        self._fields = [field for field in self._fields if field[0].lower() != key]

    def __eq__(self, other: object) -> bool:
        """Tell whether both have the same values by name, those of one name in the same order."""
        if not isinstance(other, Headers):
            return NotImplemented
        return self._values == other._values

    def clear(self) -> None:
        """Remove all fields."""
        self._fields.clear()
        self._values.clear()

    # The type differs from the inherited one on purpose: it takes what the constructor takes.
    def update(  # type: ignore[override]
        self, headers: HeadersLike = (), /, **kwargs: str
    ) -> None:
        """Add fields, each as ``headers[name] = value`` does: nothing is replaced.

        Raises:
            TypeError: a name or a value isn't a ``str``.
            ValueError: a name isn't a token, or a value can't be sent.
        """
        for name, value in _pairs(headers):
            self[name] = value
        for name, value in kwargs.items():
            self[name] = value

    # --- fields one by one ---------------------------------------------------------

    def get_all(self, name: str) -> list[str]:
        """Return the values of a header, in order; an empty list if there is none."""
        value = self._values.get(name.lower())
        if value is None:
            return []
        return value.copy() if isinstance(value, list) else [value]

    def raw_items(self) -> Iterator[tuple[str, str]]:
        """Iterate over the fields in order, names as spelled, repeated ones included."""
        return iter(self._fields)

    def _index(self, key: str, value: str) -> None:
        found = self._values.get(key)
        if found is None:
            self._values[key] = value
        elif isinstance(found, list):
            found.append(value)
        else:
            self._values[key] = [found, value]

    # --- as text -------------------------------------------------------------------

    def serialize(self) -> bytes:
        """Return the header lines and the empty line after them (RFC 9112 §2.1)."""
        return str(self).encode("latin-1")

    def __str__(self) -> str:
        return "".join([f"{name}: {value}\r\n" for name, value in self._fields]) + "\r\n"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._fields!r})"


#: What is accepted where headers are expected.
HeadersLike = Union[Headers, Mapping[str, str], Iterable[tuple[str, str]]]


def _pairs(headers: HeadersLike) -> Iterable[tuple[str, str]]:
    if isinstance(headers, Headers):
        # A snapshot, since headers may be added to themselves.
        return list(headers.raw_items())
    if isinstance(headers, Mapping):
        return headers.items()
    return headers


def _check_field(name: str, value: str) -> None:
    if not isinstance(name, str):
        raise TypeError(f"header name must be a str, got {name!r}")
    if not isinstance(value, str):
        raise TypeError(f"value of header {name} must be a str, got {value!r}")
    if not TOKEN.fullmatch(name):
        raise ValueError(f"invalid header name {name!r}: it must be a token (RFC 9110 §5.6.2)")
    wrong = _NOT_IN_VALUE.search(value)
    if wrong:
        raise ValueError(
            f"invalid value of header {name}: {wrong[0]!r} at {wrong.start()} can't be sent"
        )
