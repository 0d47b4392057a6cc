"""Opening a connection in attempts: each reaches a server and shakes hands; redirects lead on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable

from ..exceptions import InvalidHandshake, InvalidStatus, SecurityError
from ..sansio.client_protocol import ClientProtocol
from ..sansio.headers import Headers
from ..sansio.http11 import Response
from ..sansio.uri import WebSocketURI
from ..threaded import lifecycle
from ..threaded.deadline import Deadline
from .client_connection import AdditionalHeaders, ClientConnection
from .falling_back import is_blocked
from .reaching import Route
from .redirects import Destination, Hop, is_permanent, is_redirect, next_hop

if TYPE_CHECKING:
    from http.cookiejar import CookieJar

__all__ = ["Opening"]

#: Where there is a fallback: how much of the time that is left WebSocket gets, and the seconds that
#: it gets where there is no limit.
UPGRADE_SHARE = 0.5
UPGRADE_TIMEOUT = 10.0


@dataclass(frozen=True)
class Opening:
    """What opening a connection needs besides the URI; arguments of :func:`~syncws.connect`."""

    route: Route
    additional_headers: AdditionalHeaders
    user_agent_header: str | None
    cookies: CookieJar | None
    max_redirects: int
    redirect_headers: Collection[str]
    has_subprotocols: bool
    make_protocol: Callable[[WebSocketURI], ClientProtocol]
    make_connection: Callable[..., ClientConnection]
    fallback: bool = False

    def run(self, destination: Destination, deadline: Deadline) -> ClientConnection:
        """Return an open connection, after following redirects.

        Raises:
            InvalidHandshake: a server or proxy refused, or a redirect can't be followed.
            TimeoutError: a server or proxy did not answer before the deadline.
            OSError: a server can't be reached, or its certificate is wrong.
        """
        attempt = self._try_session if destination.is_http else self._try
        hop = destination.first
        permanent = True
        for left in range(self.max_redirects, -1, -1):
            try:
                return attempt(hop, deadline)
            except InvalidStatus as exc:
                can_redial = self.max_redirects and self.route.sock is None
                if not can_redial or not is_redirect(exc.response):
                    raise
                if not left:
                    raise SecurityError(f"more than {self.max_redirects} redirects") from exc
                hop = self._follow(hop, exc)
                permanent = permanent and is_permanent(exc.response)
                if permanent:
                    destination.first = hop
        raise AssertionError("the last hop returns or raises")  # pragma: no cover

    def _follow(self, hop: Hop, exc: InvalidStatus) -> Hop:
        try:
            following = next_hop(hop, exc.response)
        except InvalidHandshake as reason:
            raise reason from (reason.__cause__ or exc)
        if self.route.fixed is not None and not following.is_origin:
            raise SecurityError(
                f"redirect to {following} refused: {self.route.fixed} is for another server"
            ) from exc
        allowed = following.gets_subprotocols or "sec-websocket-protocol" in self.redirect_headers
        if self.has_subprotocols and not allowed:
            raise SecurityError(
                f"redirect to {following} refused: subprotocols may have tokens in them;"
                " redirect_headers=['Sec-WebSocket-Protocol'] offers them to other servers"
            ) from exc
        return following

    def _try(self, hop: Hop, deadline: Deadline) -> ClientConnection:
        """Open a connection to this server, or find out why not."""
        if not self.fallback:
            return self._upgrade(hop, deadline)
        remaining = deadline.remaining()
        share = UPGRADE_TIMEOUT if remaining is None else UPGRADE_SHARE * remaining
        try:
            return self._upgrade(hop, deadline.within(share))
        except Exception as exc:
            if not is_blocked(exc, secure=hop.uri.secure):
                raise
            try:
                return self._try_session(hop, deadline)
            except Exception as reason:
                raise reason from (reason.__cause__ or exc)

    def _try_session(self, hop: Hop, deadline: Deadline) -> ClientConnection:
        """Open a connection whose bytes are carried by plain HTTP."""
        from .session_opening import open_session  # rarely needed

        return open_session(self, hop, deadline)

    def _upgrade(self, hop: Hop, deadline: Deadline) -> ClientConnection:
        """Open a connection by WebSocket's opening handshake."""
        protocol = self.make_protocol(hop.uri)
        transport = self.route.open(hop.uri, deadline, is_origin=hop.is_origin)
        try:
            connection = self.make_connection(transport, protocol)
        except BaseException:
            transport.close()
            raise
        try:
            with lifecycle.opening(transport):
                connection.handshake(
                    lambda: self._headers(hop),
                    user_agent_header=self.user_agent_header,
                    timeout=deadline.remaining(),
                )
            self._keep_cookies(hop, connection.response)
        except InvalidStatus as exc:
            self._keep_cookies(hop, exc.response)
            raise
        except BaseException:
            connection.abort()  # it may be open: a signal handler raised, or the jar
            raise
        return connection

    def additional(self, hop: Hop) -> Headers:
        """Return those of the additional headers that this server gets."""
        additional = self.additional_headers
        if callable(additional):
            additional = additional()
        return hop.select(
            Headers() if additional is None else Headers(additional), self.redirect_headers
        )

    def _headers(self, hop: Hop) -> Headers:
        """Return what to add to the request."""
        headers = self.additional(hop)
        if self.cookies is not None:
            from .cookie_jar import add_cookies  # slow to import

            add_cookies(self.cookies, hop.uri, headers)
        return headers

    def _keep_cookies(self, hop: Hop, response: Response | None) -> None:
        if self.cookies is not None and response is not None:
            from .cookie_jar import keep_cookies  # slow to import

            keep_cookies(self.cookies, hop.uri, response.headers)
