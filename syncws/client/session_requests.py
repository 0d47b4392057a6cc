"""What the fallback's client asks for, and what the answers mean: docs/fallback-protocol.md."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..fallback import wire
from ..fallback.limits import SESSION_TIMEOUT
from ..sansio.fields import build_authorization_basic, build_host
from ..sansio.headers import Headers
from ..sansio.http11 import Request, Response
from ..sansio.uri import WebSocketURI
from .proxy import Proxy

if TYPE_CHECKING:
    from http.cookiejar import CookieJar

    from .http_link import HttpLink

__all__ = ["OpenedSession", "SessionLost", "SessionRequests", "Terms", "error_of", "lost_by"]

#: Codes after which asking again makes no sense: the session is lost, or we did something wrong.
_FATAL = frozenset(("unknown_session", "origin", "gap", "bad_request", "method", "content_type"))

#: Seconds that any of the server's times may have: a day.
_MAX_SECONDS = 86400.0


class SessionLost(Exception):
    """The session is over before its streams are; ``__cause__`` says why."""


@dataclass(frozen=True)
class Terms:
    """What the server has said at opening; see there."""

    session: str
    protocol: str | None
    extensions: str | None
    session_timeout: float
    max_wait: float
    max_body: int
    streaming: bool

    @classmethod
    def parse(cls, body: bytes) -> Terms:
        """Return what the body of the response says.

        Raises:
            ValueError: it isn't one that opens a session.
        """
        try:
            found = json.loads(body)
        except RecursionError:
            found = None
        if not isinstance(found, dict):
            raise ValueError("it isn't a JSON object")
        session = found.get("session")
        if not isinstance(session, str) or not wire.ID.fullmatch(session):
            raise ValueError("it has no session id")
        return cls(
            session,
            _text(found, "protocol"),
            _text(found, "extensions"),
            _seconds(found, "session_timeout", SESSION_TIMEOUT),
            _seconds(found, "max_wait", wire.MAX_WAIT),
            max(1, min(int(_number(found, "max_body", wire.MAX_BODY)), wire.MAX_BODY)),
            found.get("streaming") is True,
        )


def _text(found: dict[str, Any], name: str) -> str | None:
    value = found.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"its {name} isn't a string")
    return value


def _seconds(found: dict[str, Any], name: str, default: float) -> float:
    return max(0.1, min(_number(found, name, default), _MAX_SECONDS))


def _number(found: dict[str, Any], name: str, default: float) -> float:
    value = found.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"its {name} isn't a number")
    return float(value)


class SessionRequests:
    """The requests of one session.

    Any thread may use them; the jar has a lock of its own.

    Args:
        uri: the WebSocket's.
        headers: those of the opening handshake that every request has.
        jar: whose cookies are sent, and where the server's are kept; ``None``: one is made when the
            server sets some, as balancers do that send a session to the same server always.
        proxy: an HTTP proxy that requests are sent to, instead of the server.
    """

    def __init__(
        self,
        uri: WebSocketURI,
        headers: Headers,
        jar: CookieJar | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        self._uri = uri
        self._headers = headers
        self._jar = jar
        self._target = uri.resource_name
        if proxy is not None:
            # RFC 9112 §3.2.2: a proxy is asked for the whole URI.
            scheme = "https" if uri.secure else "http"
            host = build_host(uri.host, uri.port, uri.secure)
            self._target = f"{scheme}://{host}{self._target}"
            if proxy.username is not None:
                headers["Proxy-Authorization"] = build_authorization_basic(
                    proxy.username, proxy.password or ""
                )

    def build(
        self, method: str, session: str, fields: dict[str, str], body: bytes | None = None
    ) -> Request:
        """Return a request.

        Args:
            method: its method.
            session: the session's id, or ``"new"``.
            fields: its own headers, in place of others of the same names.
            body: the body; ``None``: it can't have one.
        """
        headers = self._headers.copy()
        fields = {wire.SESSION: session, **fields}
        if body is not None:
            fields.update({"Content-Type": wire.BYTES, "Content-Length": str(len(body))})
        for name, value in fields.items():
            if name in headers:
                del headers[name]
            headers[name] = value
        if self._jar is not None:
            from .cookie_jar import add_cookies  # slow to import

            add_cookies(self._jar, self._uri, headers)
        return Request(self._target, headers, method, body or b"")

    def keep_cookies(self, response: Response) -> None:
        """Keep the cookies that a response has set, for the requests after it."""
        if "Set-Cookie" not in response.headers:
            return
        from .cookie_jar import keep_cookies  # slow to import

        if self._jar is None:
            from http.cookiejar import CookieJar

            self._jar = CookieJar()
        keep_cookies(self._jar, self._uri, response.headers)


@dataclass(frozen=True)
class OpenedSession:
    """A session that was opened, and how.

    Attributes:
        link: the connection by which it was opened.
        requests: makes its requests.
        request: the one that has opened it.
        response: the answer to that.
        terms: what the answer says.
    """

    link: HttpLink
    requests: SessionRequests
    request: Request
    response: Response
    terms: Terms


def error_of(response: Response) -> tuple[str, str] | None:
    """Return code and message of an error of the protocol, or ``None`` if it isn't one."""
    try:
        error = json.loads(response.body)["error"]
        code, message = error["code"], error["message"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return (code, message) if isinstance(code, str) and isinstance(message, str) else None


def lost_by(response: Response) -> SessionLost | None:
    """Return what a response says about the session's end, if it does."""
    error = error_of(response)
    if error is None or error[0] not in _FATAL:
        return None
    lost = SessionLost()
    lost.__cause__ = ConnectionResetError(f"the server says {error[0]}: {error[1]}")
    return lost
