"""Rules of an application: which pattern leads to which handler."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Union
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from .application import Application
    from .request_handler import RequestHandler

__all__ = ["Found", "Rule", "URLSpec", "as_spec", "url"]


class Found(NamedTuple):
    """What a path leads to.

    Attributes:
        spec: the rule.
        args: the groups of its pattern, if they have no names; ``None`` for those that took
            no part in the match.
        kwargs: the groups by name, if they have names.
    """

    spec: URLSpec
    args: list[str | None]
    kwargs: dict[str, str | None]


class URLSpec:
    """A pattern and the handler that it leads to.

    Args:
        pattern: a regular expression that has to match the whole path as it is sent
            (percent-encoded); or a compiled one, which has to match its beginning.
        handler: a subclass of :class:`RequestHandler` or :class:`WebSocketHandler`; or another
            application.
        kwargs: arguments of its ``initialize()``.
        name: for ``reverse_url()``.

    Attributes:
        regex: the pattern, compiled.
        handler_class: the handler.
        kwargs: arguments of its ``initialize()``.
        name: for ``reverse_url()``.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: the pattern is malformed, or only some of its groups have names.
    """

    def __init__(
        self,
        pattern: str | re.Pattern[str],
        handler: type[RequestHandler] | Application,
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        if not isinstance(handler, type) and not hasattr(handler, "respond"):
            raise TypeError(f"the handler for {pattern!r} is a class, not {handler!r}")
        try:
            self.regex: re.Pattern[str] = re.compile(pattern)
        except re.error as exc:
            raise ValueError(f"invalid pattern {pattern!r}: {exc}") from None
        if not isinstance(self.regex.pattern, str):
            raise TypeError(f"a pattern is text, not {pattern!r}")
        # As in Tornado, which adds a "$" to patterns that are given as text.
        self._match = self.regex.fullmatch if isinstance(pattern, str) else self.regex.match
        if len(self.regex.groupindex) not in (0, self.regex.groups):
            raise ValueError(f"either all groups of a pattern have names, or none: {pattern!r}")
        self.handler_class: Any = handler
        self.kwargs: dict[str, Any] = dict(kwargs or {})
        self.name = name

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.regex.pattern!r}, {_name(self.handler_class)}, "
            f"kwargs={self.kwargs!r}, name={self.name!r})"
        )

    def match(self, path: str) -> Found | None:
        """Return the groups of a path, percent-decoded; ``None`` if it isn't for this rule.

        Raises:
            UnicodeDecodeError: a group isn't UTF-8.
        """
        match = self._match(path)
        if match is None:
            return None
        if self.regex.groupindex:
            named = {name: _decode(value) for name, value in match.groupdict().items()}
            return Found(self, [], named)
        return Found(self, [_decode(value) for value in match.groups()], {})

    def reverse(self, *args: Any) -> str:
        """Return the path with these values for the groups, in the order of the pattern.

        Raises:
            ValueError: there are more or fewer groups, or the pattern has more than text and
                groups, so that no path is known.
        """
        template = _template(self.regex.pattern)
        if template.count(None) != len(args):
            raise ValueError(f"{self.regex.pattern!r} has {template.count(None)} groups")
        values = iter(args)
        return "".join(_encode(next(values)) if text is None else text for text in template)


url = URLSpec

#: Pattern, handler, and perhaps arguments of its ``initialize()`` and a name.
Rule = Union[URLSpec, tuple[Any, ...], list[Any]]


def as_spec(rule: Any) -> URLSpec:
    """Return a rule as an object.

    Raises:
        TypeError: it isn't one.
    """
    if isinstance(rule, URLSpec):
        return rule
    if isinstance(rule, (tuple, list)) and 2 <= len(rule) <= 4:
        return URLSpec(*rule)
    raise TypeError(f"a rule is (pattern, handler), perhaps with kwargs and name, not {rule!r}")


def _name(target: Any) -> str:
    return target.__name__ if isinstance(target, type) else repr(target)


def _decode(value: str | None) -> str | None:
    return None if value is None else unquote(value, errors="strict")


def _encode(value: Any) -> str:
    return quote(value if isinstance(value, (str, bytes)) else str(value))


#: A group, a character that is escaped, or text. Nothing else has a single meaning.
_PIECE = re.compile(
    r"(?P<group>\((?!\?(?!P<))[^()]*\))|\\(?P<escaped>\W)|(?P<text>[^\\^$|?*+(){}\[\]])"
)


def _template(pattern: str) -> list[str | None]:
    """Return the literal parts of a pattern, with ``None`` for each group.

    Raises:
        ValueError: it has more than these.
    """
    inner = pattern.removeprefix("^")
    if inner.endswith("$") and not inner.endswith(r"\$"):
        inner = inner[:-1]
    pieces: list[str | None] = []
    position = 0
    while position < len(inner):
        piece = _PIECE.match(inner, position)
        if piece is None:
            raise ValueError(f"{pattern!r} can't be reversed: it has more than text and groups")
        pieces.append(None if piece["group"] else piece["escaped"] or piece["text"])
        position = piece.end()
    return pieces
