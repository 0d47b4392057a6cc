"""Text that others wrote, made fit to be shown in messages, in logs and on terminals."""

from __future__ import annotations

import re

__all__ = ["SECRET_HEADERS", "UNSAFE", "escape", "hide_credentials"]

#: What must not reach a terminal or a log as it is: control characters, C1 ones included, which
#: terminals obey; what breaks lines or changes the direction of text; halves of surrogate pairs,
#: which can't be encoded.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

#: Headers whose values are credentials, in lower case: they are left out of what is traced.
SECRET_HEADERS = frozenset(
    (
        "api-key",
        "authorization",
        "cookie",
        "proxy-authorization",
        "set-cookie",
        "syncws-nonce",
        "syncws-session",
        "x-access-token",
        "x-api-key",
        "x-auth-token",
        "x-csrf-token",
        "x-xsrf-token",
    )
)

#: What may stand before a user name: a scheme with its slashes.
_SCHEME = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.\-]*://)?")

#: A host, or what looks like one, and its port, which may be a password without its host.
_HOST_AND_PORT = re.compile(r"((?:(?:wss?|https?):(?=/))?/*(?:\[[^]/?#]*\]|[^][/?#:]*)):([^/?#]*)")

#: Addresses of IPv6 that lack their brackets.
_IPV6 = re.compile(r"[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")


def escape(text: str) -> str:
    """Return text in which everything unsafe is written as in a Python literal."""
    return UNSAFE.sub(lambda found: repr(found[0])[1:-1], text)


def hide_credentials(uri: str) -> str:
    """Return a URI, valid or not, with all that may be a user name or password as ``...``.

    Where it isn't valid, there is no telling where the credentials end: a password may have ``/``,
    ``?``,
    ``#``, ``@`` or ``://`` in it. So everything before the last ``@`` is hidden, except the scheme.
    Without any ``@``, what stands for the port is hidden, unless it is a number.
    """
    scheme = _SCHEME.match(uri)[0]  # type: ignore[index]  # it matches anything
    rest = uri[len(scheme) :]
    _, at, endpoint = rest.rpartition("@")
    if at:
        return f"{scheme}...@{endpoint}"
    found = _HOST_AND_PORT.match(rest)
    if found is None or found[2] == "" or (found[2].isascii() and found[2].isdigit()):
        return uri
    if _IPV6.fullmatch(found[0]):
        return uri
    return f"{scheme}{found[1]}:...{rest[found.end() :]}"
