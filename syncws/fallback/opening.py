"""An opening handshake that an HTTP request stands for: the request, and waiting for the response.

All is for the reactor's thread.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import os
import socket
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..sansio.headers import Headers
from ..sansio.http11 import Request, Response
from ..sansio.http_parser import ResponseParser
from ..threaded.deadline import clock
from .answers import OURS, busy, copy_response, refused
from .complete_reply import CompleteReply
from .session_transport import SessionTransport
from .wire import EXTENSIONS, PROTOCOL, find_header

if TYPE_CHECKING:
    from .sessions import Sessions

__all__ = ["OPEN_TIMEOUT", "Caller", "Opening"]

#: Seconds that the handshake may take, should the server not have a limit of its own.
OPEN_TIMEOUT = 60.0

#: Requests with the same nonce that wait for the response. A network repeats one, perhaps.
MOST_REPLIES = 2

#: Bytes read of the handshake's response at once.
READ_SIZE = 1 << 16

#: Of the request, not part of the handshake that it stands for; in lower case.
_NOT_HANDSHAKE = {
    *(name.lower() for name in OURS),
    *("accept", "connection", "content-length", "content-type", "expect", "keep-alive"),
    *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    *("sec-websocket-extensions", "sec-websocket-key", "sec-websocket-protocol"),
    "sec-websocket-version",
}


@dataclass(frozen=True)
class Caller:
    """Who sends a request, and over what.

    Attributes:
        local_address: of the HTTP connection.
        remote_address: of the HTTP connection.
        secure: whether that has TLS.
        key: what sessions of one address have in common; ``None`` is not limited.
    """

    local_address: Any
    remote_address: Any
    secure: bool
    key: Hashable = None


class Opening:
    """An opening handshake: the request, and the response that is waited for.

    Raises:
        OSError: no descriptors are available.
    """

    def __init__(
        self,
        sessions: Sessions,
        nonce: str,
        request: Request,
        caller: Caller,
        reply: CompleteReply,
    ) -> None:
        self.nonce = nonce
        self.request = request
        self.caller = caller
        self.sock, theirs = socket.socketpair()
        self.sock.setblocking(False)
        self.transport = SessionTransport(
            theirs, caller.local_address, caller.remote_address, caller.secure
        )
        self._sessions = sessions
        self._replies = [reply]
        self._parser = ResponseParser(max_header_size=None)  # it is our own
        self.due = clock() + OPEN_TIMEOUT
        self._is_over = False

    def start(self, context: Any) -> None:
        """Have the connection answer the request of the handshake."""
        sessions = self._sessions
        refusal = sessions._start(self.transport, _build_head(self.request), context)
        if refusal is not None:
            self.transport.close()
            self._refuse(refusal)
            return
        sessions._reactor.watch(self.sock, self._ready, read=True)
        # By its nonce: the timer is there long after this is over.
        sessions._reactor.call_at(self.due, functools.partial(sessions._give_up, self.nonce))

    def add(self, reply: CompleteReply) -> None:
        """Answer another request, with the same nonce, in the same way; of many the newest ones."""
        self._replies.append(reply)
        if len(self._replies) > MOST_REPLIES:
            self._replies.pop(0).respond(busy("other requests with this nonce have come"))

    def forget(self, reply: CompleteReply) -> None:
        """Note that the client is gone: it may come again."""
        if reply in self._replies:
            self._replies.remove(reply)

    def end(self) -> None:
        """Give up, if the handshake isn't over."""
        if not self._is_over:
            self._refuse(busy("the opening handshake took too long"))

    def after_fork(self) -> None:
        """Release a forked child's descriptor."""
        self.sock.close()

    def _ready(self) -> None:
        try:
            data = self.sock.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        try:
            response = self._parser.receive_data(data) if data else self._parser.receive_eof()
        except (EOFError, ValueError):
            self._refuse(busy("the server ended the handshake without a response"))
            return
        if response is None:
            return
        if response.status_code == 101:
            self._succeed(response)
        else:
            self._refuse(refused(response))

    def _finish(self) -> None:
        self._is_over = True
        del self._sessions._openings[self.nonce]
        self._sessions._reactor.watch(self.sock, self._ready)

    def _succeed(self, response: Response) -> None:
        self._finish()
        session, answer = self._sessions._enter(self, response)
        session.begin(self._parser.trailing)
        for reply in self._replies:
            reply.respond(copy_response(answer))

    def _refuse(self, response: Response) -> None:
        self._finish()
        with contextlib.suppress(OSError):
            self.sock.close()
        self._sessions._release(self.caller.key)
        for reply in self._replies:
            reply.refuse(copy_response(response))


def _build_head(request: Request) -> bytes:
    """Return the opening handshake that a request stands for."""
    headers = Headers(
        [
            (name, value)
            for name, value in request.headers.raw_items()
            if name.lower() not in _NOT_HANDSHAKE
        ]
    )
    headers["Upgrade"] = "websocket"
    headers["Connection"] = "Upgrade"
    headers["Sec-WebSocket-Version"] = "13"
    headers["Sec-WebSocket-Key"] = base64.b64encode(os.urandom(16)).decode()
    for ours, theirs in ((PROTOCOL, "Protocol"), (EXTENSIONS, "Extensions")):
        value = find_header(request, ours)
        if value:
            headers[f"Sec-WebSocket-{theirs}"] = value
    return Request(request.path, headers).serialize()
