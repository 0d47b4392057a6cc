"""A server's fallback: the same handlers over plain HTTP, where WebSocket does not get through.

A request of the fallback is recognized by its head, before there is a handshake. Its connection
goes from its thread to the reactor's, which serves all of them; a session that is opened gets a
thread like any other connection.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
from collections.abc import Hashable, Iterable
from dataclasses import replace
from importlib.resources import files
from typing import Any, Callable

from ..aliases import LoggerLike
from ..exceptions import InvalidHandshake
from ..fallback.answers import busy
from ..fallback.limits import LAST_WORDS
from ..fallback.opening import Caller
from ..fallback.reactor import Reactor
from ..fallback.sessions import Sessions
from ..fallback.wire import MAX_BODY, NEW, SESSION
from ..sansio.forwarded import TrustedProxies
from ..sansio.headers import Headers
from ..sansio.http11 import Request, Response
from ..threaded.deadline import Deadline
from ..threaded.transport import Transport
from .admission import Refusal, address_key
from .fallback import Fallback
from .http_peer import HttpPeer

__all__ = ["FallbackDesk", "make_script_response"]

#: HTTP connections that a client may have for each of the connections that it may have: for what
#: comes, for what goes, and for acknowledgements.
CONNECTIONS = 3

_OURS = re.compile(rb"(?i)\r\nsyncws-session[ \t]*:")
_PREFLIGHT = re.compile(
    rb"(?i)OPTIONS [^\r]*\r\n(?:.*\r\n)*access-control-request-headers[ \t]*:.*syncws-session"
)


class FallbackDesk:
    """Where a server's requests of the fallback are served.

    Any thread may call it.

    Args:
        fallback: how.
        max_connections: connections that the server may have at the same time.
        max_connections_per_address: the same, of one address.
        start: starts a connection's thread, given its transport, the head of its request and what
            it counts for; returns why it can't.
        find_key: returns what an address counts for.
        proxies: whose word is taken for the addresses that sessions count for.
        server_header: value of Server; ``None`` sends none.
        max_header_size: of requests.
        logger: where to log defects.
    """

    def __init__(
        self,
        fallback: Fallback,
        *,
        max_connections: int | None,
        max_connections_per_address: int | None,
        start: Callable[[Transport, bytes, bytes | None], Refusal | None],
        find_key: Callable[[Any], bytes | None],
        proxies: TrustedProxies | None,
        server_header: str | None,
        max_header_size: int | None,
        logger: LoggerLike,
    ) -> None:
        self._fallback = fallback
        self._max_connections = max_connections
        most = max_connections_per_address
        self._max_per_address = None if most is None else most * CONNECTIONS
        self._start = start
        self._find_key = find_key
        self._proxies = proxies
        self._server_header = server_header
        self._max_header_size = max_header_size
        self._script = None if fallback.script is None else fallback.script.encode("latin-1")
        self._reactor = Reactor(logger, self._close)
        limits = fallback.limits(max_connections)
        self._sessions = Sessions(self._reactor, limits, self._start_connection)
        self._peers: dict[HttpPeer, bytes | None] = {}  # and their addresses; the reactor's

    @property
    def thread(self) -> Any:
        """The thread that serves them, or ``None`` as long as there is none."""
        return self._reactor.thread

    def claims(self, head: bytes) -> bool:
        """Tell whether a request is for the fallback, by its first bytes: all of its head."""
        head = head.partition(b"\r\n\r\n")[0]  # a body may say what it likes
        if _OURS.search(head) or _PREFLIGHT.match(head):
            return True
        method, _, rest = head.partition(b" ")
        target = rest.partition(b" ")[0].partition(b"?")[0]
        return target == self._script and method in (b"GET", b"HEAD")

    def adopt(self, transport: Transport, head: bytes) -> None:
        """Serve a connection, of which these bytes were read, from now on.

        Raises:
            OSError: no descriptor is available.
            RuntimeError: no thread is available, or the server is closed.
        """
        self._reactor.call(lambda: self._begin(transport, head))

    def finish(self, deadline: Deadline) -> None:
        """Let clients read the last that there is for them, and end; at most a few seconds."""
        self._reactor.stop(LAST_WORDS, lambda: self._sessions.is_idle)
        self._reactor.join(deadline)

    def stop(self) -> None:
        """End, at once. Never blocks."""
        self._reactor.stop(0, lambda: True)

    def after_fork(self) -> None:
        """Release the descriptors in a forked child, which has no part in them."""
        peers, self._peers = self._peers, {}
        for peer in peers:
            peer.transport.after_fork()
        self._sessions.after_fork()
        self._reactor.after_fork()
        self.stop()

    # --- on the reactor's thread ---

    def _begin(self, transport: Transport, head: bytes) -> None:
        address = transport.remote_address
        key = self._find_key(address)
        caller = Caller(transport.local_address, address, transport.secure, key)
        peer = HttpPeer(
            transport,
            self._reactor,
            functools.partial(self._handle, caller),
            self.claims,
            self._pass_on,
            self._forget,
            server_header=self._server_header,
            max_header_size=self._max_header_size,
            max_body_size=MAX_BODY,
        )
        has_room = self._make_room(key)
        self._peers[peer] = key
        if has_room:
            peer.start(head)
        else:
            peer.close()

    def _make_room(self, key: bytes | None) -> bool:
        """Tell whether there may be another connection, if need be in place of one that idles."""
        most, peers = self._max_connections, self._peers
        if most is not None and len(peers) >= most and not _close_idle(peers):
            return False
        most = self._max_per_address
        if most is None or key is None:
            return True
        same = [peer for peer, address in peers.items() if address == key]
        return len(same) < most or _close_idle(same)

    def _handle(
        self, caller: Caller, request: Request, peer: HttpPeer
    ) -> Callable[[], None] | None:
        path = request.path.partition("?")[0]
        if request.method in ("GET", "HEAD") and path == self._fallback.script:
            peer.respond(make_script_response(request))
            return None
        key = caller.key
        if self._proxies is not None and request.headers.get_all(SESSION) == [NEW]:
            caller = replace(caller, key=self._find_client(caller, request))
        return self._sessions.handle(request, caller, peer, key)

    def _find_client(self, caller: Caller, request: Request) -> Hashable:
        """Return what a session counts for: the client's address, where a proxy tells it."""
        client = None
        assert self._proxies is not None
        with contextlib.suppress(InvalidHandshake):  # the opening handshake refuses it
            client = self._proxies.identify(caller.remote_address, request.headers)
        return caller.key if client is None else address_key(client.address)

    def _forget(self, peer: HttpPeer) -> None:
        del self._peers[peer]

    def _pass_on(self, transport: Transport, data: bytes) -> Response | None:
        return self._start_connection(transport, data, self._find_key(transport.remote_address))

    def _start_connection(
        self, transport: Transport, head: bytes, key: bytes | None
    ) -> Response | None:
        refusal = self._start(transport, head, key)
        return None if refusal is None else busy(str(refusal.exc))

    def _close(self) -> None:
        self._sessions.end_all()
        for peer in list(self._peers):
            peer.close()


def _close_idle(peers: Iterable[HttpPeer]) -> bool:
    """Close the oldest of these connections that has no request; return whether there is one."""
    for peer in peers:
        if peer.is_idle:
            peer.close()
            return True
    return False


@functools.cache
def _read_script() -> tuple[bytes, str]:
    """Return the browser's part, and what stands for its version."""
    data = (files("syncws") / "browser" / "syncws.js").read_bytes()
    return data, f'"{hashlib.sha256(data).hexdigest()[:16]}"'


def make_script_response(request: Request) -> Response:
    """Return the browser's part, ``syncws.js``; pages of all origins may use it."""
    data, tag = _read_script()
    headers = Headers(
        [
            ("Content-Type", "text/javascript; charset=utf-8"),
            ("Cache-Control", "no-cache"),  # ask whether it has changed
            ("ETag", tag),
            ("Access-Control-Allow-Origin", "*"),
            ("X-Content-Type-Options", "nosniff"),
        ]
    )
    known = request.headers.get_all("If-None-Match")
    if any(tag in each for each in known):
        return Response(304, "Not Modified", headers)
    headers["Content-Length"] = str(len(data))
    return Response(200, "OK", headers, data)
