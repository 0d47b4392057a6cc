"""Grammar of the header values that a handshake reads and writes.

Lists are those of RFC 9110 §5.6.1, extensions those of RFC 6455 §9.1, credentials those
of RFC 7617. Parsing goes once through a value, from left to right, and takes linear
time: each pattern matches at a position and has one way to match.
"""

from __future__ import annotations

import binascii
import functools
import re
from collections.abc import Iterable, Sequence
from re import Pattern
from typing import Callable, Optional, TypeVar

from ..exceptions import InvalidHeaderFormat, InvalidHeaderValue
from .headers import TOKEN

__all__ = [
    "ExtensionHeader",
    "ExtensionParameter",
    "build_authorization_basic",
    "build_extension",
    "build_host",
    "build_subprotocol",
    "build_www_authenticate_basic",
    "parse_authorization_basic",
    "parse_connection",
    "parse_extension",
    "parse_subprotocol",
    "parse_upgrade",
    "validate_subprotocols",
]

#: Name and value of a parameter; ``None`` where there is only a name.
ExtensionParameter = tuple[str, Optional[str]]

#: Name and parameters of an extension.
ExtensionHeader = tuple[str, list[ExtensionParameter]]

_T = TypeVar("_T")

_PROTOCOL = re.compile(rf"{TOKEN.pattern}(?:/{TOKEN.pattern})?")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SPACES = re.compile(r"[ \t]*")
_COMMAS = re.compile(r"[ \t,]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class _Scanner:
    """A header's value and how far it has been read."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.pos = 0

    def fail(self, error: str) -> InvalidHeaderFormat:
        return InvalidHeaderFormat(self.name, error, self.text, self.pos)

    def skip(self, pattern: Pattern[str]) -> None:
        found = pattern.match(self.text, self.pos)
        self.pos = found.end() if found else self.pos

    def take(self, pattern: Pattern[str], expected: str) -> str:
        found = pattern.match(self.text, self.pos)
        if not found:
            raise self.fail(f"expected {expected}")
        self.pos = found.end()
        return found[0]

    def accept(self, char: str) -> bool:
        """Read a delimiter with the white space around it, if it comes next."""
        self.skip(_SPACES)
        if not self.text.startswith(char, self.pos):
            return False
        self.pos += 1
        self.skip(_SPACES)
        return True

    def at_end(self) -> bool:
        return self.pos == len(self.text)

    def take_list(self, take_item: Callable[[], _T]) -> list[_T]:
        """Read all the rest as a list with commas; empty items don't count (RFC 9110 §5.6.1.2).

        A list without items is accepted: clients with nothing to offer send the header all the
        same, though RFC 6455 §11.3 wants an item.
        """
        items = []
        self.skip(_COMMAS)
        while not self.at_end():
            items.append(take_item())
            if not self.accept(",") and not self.at_end():
                raise self.fail("expected a comma")
            self.skip(_COMMAS)
        return items


def _parse_list(name: str, value: str, pattern: Pattern[str], expected: str) -> list[str]:
    if pattern.fullmatch(value):
        return [value]  # as usual
    items = [item for item in [part.strip(" \t") for part in value.split(",")] if item]
    if all(map(pattern.fullmatch, items)):
        return items
    scanner = _Scanner(name, value)  # it finds out what is wrong
    return scanner.take_list(lambda: scanner.take(pattern, expected))


# --- Connection and Upgrade ------------------------------------------------------


def parse_connection(value: str) -> list[str]:
    """Return the options in a ``Connection`` header, as spelled (RFC 9110 §7.6.1).

    Raises:
        InvalidHeaderFormat: it isn't a list of tokens.
    """
    return _parse_list("Connection", value, TOKEN, "a connection option")


def parse_upgrade(value: str) -> list[str]:
    """Return the protocols in an ``Upgrade`` header, as spelled (RFC 9110 §7.8).

    Raises:
        InvalidHeaderFormat: it isn't a list of protocols.
    """
    return _parse_list("Upgrade", value, _PROTOCOL, "a protocol")


# --- Sec-WebSocket-Extensions ----------------------------------------------------


def parse_extension(value: str) -> list[ExtensionHeader]:
    """Return the extensions in a ``Sec-WebSocket-Extensions`` header (RFC 6455 §9.1).

    Raises:
        InvalidHeaderFormat: it isn't a list of extensions with parameters.
    """
    if len(value) > MAX_CACHED_LENGTH:
        return _parse_extension(value)
    # A copy, as the lists are for the caller.
    return [(name, parameters.copy()) for name, parameters in _parse_extension_once(value)]


def _parse_extension(value: str) -> list[ExtensionHeader]:
    scanner = _Scanner("Sec-WebSocket-Extensions", value)
    return scanner.take_list(lambda: _take_extension(scanner))


#: Peers are of a few kinds, each of which sends the same value. Long ones are of no such kind,
#: and aren't worth their memory.
MAX_CACHED_LENGTH = 200

_parse_extension_once = functools.lru_cache(maxsize=16)(_parse_extension)


def _take_extension(scanner: _Scanner) -> ExtensionHeader:
    name = scanner.take(TOKEN, "an extension")
    parameters = []
    while scanner.accept(";"):
        parameters.append(_take_parameter(scanner))
    return name, parameters


def _take_parameter(scanner: _Scanner) -> ExtensionParameter:
    name = scanner.take(TOKEN, "a parameter")
    if not scanner.accept("="):
        return name, None
    if not scanner.text.startswith('"', scanner.pos):
        return name, scanner.take(TOKEN, "a value")
    start = scanner.pos
    value = _ESCAPED.sub(r"\1", scanner.take(_QUOTED, "a quoted value")[1:-1])
    # RFC 6455 §9.1: what the quotes hold must be a token all the same.
    if not TOKEN.fullmatch(value):
        scanner.pos = start
        raise scanner.fail("expected a token in quotes")
    return name, value


def build_extension(extensions: Iterable[ExtensionHeader]) -> str:
    """Return the value of a ``Sec-WebSocket-Extensions`` header (RFC 6455 §9.1)."""
    items = []
    for item, parameters in extensions:
        for name, value in parameters:
            item += f"; {name}" if value is None else f"; {name}={value}"
        items.append(item)
    return ", ".join(items)


# --- Sec-WebSocket-Protocol ------------------------------------------------------


def parse_subprotocol(value: str) -> list[str]:
    """Return the subprotocols in a ``Sec-WebSocket-Protocol`` header (RFC 6455 §11.3.4).

    Raises:
        InvalidHeaderFormat: it isn't a list of tokens.
    """
    return _parse_list("Sec-WebSocket-Protocol", value, TOKEN, "a subprotocol")


def build_subprotocol(subprotocols: Iterable[str]) -> str:
    """Return the value of a ``Sec-WebSocket-Protocol`` header (RFC 6455 §11.3.4)."""
    return ", ".join(subprotocols)


def validate_subprotocols(subprotocols: Sequence[str]) -> None:
    """Check that these can be offered as subprotocols (RFC 6455 §4.1, item 10).

    Raises:
        TypeError: it is a single ``str``, or has an item that isn't one.
        ValueError: one isn't a token, or is there twice.
    """
    if isinstance(subprotocols, str):
        raise TypeError(f"subprotocols must be a list of str, got the str {subprotocols!r}")
    seen = set()
    for subprotocol in subprotocols:
        if not isinstance(subprotocol, str):
            raise TypeError(f"a subprotocol must be a str, got {subprotocol!r}")
        if not TOKEN.fullmatch(subprotocol):
            raise ValueError(f"invalid subprotocol {subprotocol!r}: it must be a token")
        if subprotocol in seen:
            raise ValueError(f"duplicate subprotocol {subprotocol!r}")
        seen.add(subprotocol)


# --- Host ------------------------------------------------------------------------


def build_host(host: str, port: int, secure: bool) -> str:
    """Return the value of a ``Host`` header (RFC 6455 §4.1, item 4).

    Args:
        host: a name or an address; IPv6 without brackets.
        port: left out where it is the default one.
        secure: whether the default is 443 instead of 80.
    """
    if ":" in host:
        # A zone means something on this machine only and isn't sent (RFC 6874 §4).
        host = f"[{host.partition('%')[0]}]"
    return host if port == (443 if secure else 80) else f"{host}:{port}"


# --- Authorization ---------------------------------------------------------------


def build_authorization_basic(username: str, password: str) -> str:
    """Return the value of an ``Authorization`` header for HTTP Basic (RFC 7617 §2).

    Raises:
        ValueError: the user name has a colon, which the scheme can't express.
    """
    if ":" in username:
        raise ValueError("a user name with a colon can't be sent by HTTP Basic")
    credentials = f"{username}:{password}".encode()
    return "Basic " + binascii.b2a_base64(credentials, newline=False).decode()


def parse_authorization_basic(value: str) -> tuple[str, str]:
    """Return user name and password from an ``Authorization`` header (RFC 7617 §2).

    Errors don't quote the header: they may be logged, and it has a password.

    Raises:
        InvalidHeaderValue: it has another scheme, or no valid credentials.
    """
    scheme, _, encoded = value.partition(" ")
    if scheme.lower() != "basic":
        raise InvalidHeaderValue("Authorization", "the scheme isn't Basic")
    import base64  # not needed by most programs

    try:
        credentials = base64.b64decode(encoded.strip(" "), validate=True).decode()
    except ValueError:
        # The cause would quote what it could not decode.
        raise InvalidHeaderValue(
            "Authorization", "the credentials aren't UTF-8 text in base64"
        ) from None
    username, colon, password = credentials.partition(":")
    if not colon:
        raise InvalidHeaderValue("Authorization", "the credentials have no colon")
    return username, password


def build_www_authenticate_basic(realm: str) -> str:
    """Return the value of a ``WWW-Authenticate`` header for HTTP Basic (RFC 7617 §2).

    Raises:
        ValueError: the realm has control characters.
    """
    if _CONTROL.search(realm):
        raise ValueError(f"invalid realm {realm!r}: it has control characters")
    quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
    return f'Basic realm="{quoted}", charset="UTF-8"'
