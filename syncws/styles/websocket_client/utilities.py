"""Small things of websocket-client's that programs import from its submodules."""

from __future__ import annotations

from http import HTTPStatus
from http.cookies import Morsel, SimpleCookie
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "SUCCESS_STATUSES",
    "SUPPORTED_REDIRECT_STATUSES",
    "NoLock",
    "SimpleCookieJar",
    "extract_err_message",
    "extract_error_code",
    "handshake_response",
    "sock_opt",
    "validate_utf8",
]

#: Redirects that are followed.
SUPPORTED_REDIRECT_STATUSES = (
    HTTPStatus.MOVED_PERMANENTLY,
    HTTPStatus.FOUND,
    HTTPStatus.SEE_OTHER,
    HTTPStatus.TEMPORARY_REDIRECT,
    HTTPStatus.PERMANENT_REDIRECT,
)

#: Statuses that are not refusals.
SUCCESS_STATUSES = (*SUPPORTED_REDIRECT_STATUSES, HTTPStatus.SWITCHING_PROTOCOLS)


class sock_opt:
    """What a :class:`~.websocket.WebSocket` connects with.

    Attributes:
        sockopt: arguments of :meth:`socket.socket.setsockopt`, for each call of it.
        sslopt: TLS.
        timeout: seconds that each call may take; ``None`` waits forever.
    """

    def __init__(self, sockopt: Any, sslopt: Mapping[str, Any] | None) -> None:
        self.sockopt = [] if sockopt is None else sockopt
        self.sslopt = {} if sslopt is None else sslopt
        self.timeout: float | None = None


class handshake_response:
    """The server's answer to the opening handshake.

    Attributes:
        status: its status.
        headers: its headers, by names in lower case.
        subprotocol: the one that was agreed on, in lower case, or ``None``.
    """

    def __init__(self, status: int, headers: dict[str, str], subprotocol: str | None) -> None:
        self.status = status
        self.headers = headers
        self.subprotocol = subprotocol


class NoLock:
    """A context manager that does nothing."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass


class SimpleCookieJar:
    """Cookies by domains. No connection of this library uses one: see ``cookies=``.

    Attributes:
        jar: the cookies, by domains in lower case, with a dot before.
    """

    def __init__(self) -> None:
        self.jar: dict[str, SimpleCookie] = {}

    def add(self, set_cookie: str | None) -> None:
        """Add the cookies of a ``Set-Cookie`` header that names a domain to those kept before."""
        self._keep(set_cookie, replace=False)

    def set(self, set_cookie: str | None) -> None:
        """Keep the cookies of a ``Set-Cookie`` header that names a domain, and drop its others."""
        self._keep(set_cookie, replace=True)

    def get(self, host: str | None) -> str:
        """Return what a ``Cookie`` header for a host has; empty if there is nothing."""
        host = (host or "").lower()
        pairs = [
            f"{name}={morsel.value}"
            for domain, cookies in self.jar.items()
            if host and (host.endswith(domain) or host == domain[1:])
            for name, morsel in cookies.items()
        ]
        return "; ".join(sorted(pairs))

    def _keep(self, set_cookie: str | None, *, replace: bool) -> None:
        cookies: SimpleCookie = SimpleCookie(set_cookie or "")
        morsels: list[Morsel[str]] = list(cookies.values())
        for morsel in morsels:
            domain = morsel["domain"].lower()
            if domain:
                domain = domain if domain.startswith(".") else f".{domain}"
                if replace:
                    self.jar[domain] = cookies
                else:
                    self.jar.setdefault(domain, SimpleCookie()).update(cookies)


def validate_utf8(utfbytes: str | bytes) -> bool:
    """Tell whether it is UTF-8."""
    try:
        if isinstance(utfbytes, str):
            utfbytes.encode()
        else:
            str(utfbytes, "utf-8")
    except UnicodeError:
        return False
    return True


def extract_err_message(exception: BaseException) -> str | None:
    """Return the first argument of an exception, as text; ``None`` if it has none."""
    return str(exception.args[0]) if exception.args else None


def extract_error_code(exception: BaseException) -> int | None:
    """Return the first of several arguments of an exception, if it is a number."""
    args = exception.args
    return args[0] if len(args) > 1 and isinstance(args[0], int) else None
