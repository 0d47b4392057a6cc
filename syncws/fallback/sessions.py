"""The sessions of a server: opening them, finding them, and what a request for none is told.

A session is opened by an opening handshake: that of an ordinary connection, over its end of a pair
of sockets, with the request that the HTTP request stands for. So all that judges a WebSocket's
request judges this one: origins, hosts, authentication, routes, the program.
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Hashable
from typing import Any, Callable

from ..sansio.http11 import Request, Response
from ..threaded.deadline import clock
from .answers import (
    RETRY_AFTER,
    answer_handshake,
    busy,
    complete_answer,
    copy_response,
    preflight,
)
from .complete_reply import CompleteReply
from .limits import Limits
from .opening import Caller, Opening
from .reactor import Reactor
from .session import Reply, Session, unknown_session
from .session_transport import SessionTransport
from .wire import (
    BYTES,
    ID,
    MAX_BODY,
    MAX_WAIT,
    NEW,
    NONCE,
    SESSION,
    build_error,
    find_header,
)

__all__ = ["Sessions"]

#: Starts a connection over a transport, of which these bytes were read; returns why not, or None.
Start = Callable[[SessionTransport, bytes, Any], "Response | None"]


class Sessions:
    """The sessions of a server. All is for the reactor's thread.

    Args:
        reactor: whose thread this is.
        limits: how many there may be.
        start: starts the connection's thread, given its transport, the head of its request, and
            what :meth:`handle` was given for it; returns a response if it can't.
    """

    def __init__(self, reactor: Reactor, limits: Limits, start: Start) -> None:
        self._reactor = reactor
        self._limits = limits
        self._start = start
        self._reset()

    def _reset(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._openings: dict[str, Opening] = {}  # by nonce
        # What opened a session was told, by nonce; nobody any more once the session was used.
        self._opened: dict[str, Response | None] = {}
        self._nonces: dict[str, str] = {}  # by id
        self._pages: dict[str, tuple[str | None, str]] = {}  # origin and target, by id
        self._counts: dict[Hashable, int] = {}
        self._count = 0
        self._retired = _Retired(self._limits)

    def __len__(self) -> int:
        """Return how many connections there are."""
        return self._count

    @property
    def is_idle(self) -> bool:
        """Whether all connections have ended, and their clients have been told all they said."""
        return not self._openings and all(each.finished for each in self._sessions.values())

    def handle(
        self, request: Request, caller: Caller, reply: Reply, context: Any = None
    ) -> Callable[[], None] | None:
        """Answer a request, now or later; return what to call if its client goes meanwhile.

        Args:
            request: the request, with ``Syncws-Session``, or a preflight of one.
            caller: who sends it.
            reply: what answers it.
            context: given to what starts connections.
        """
        if request.method == "OPTIONS":
            page = (find_header(request, "Origin"), request.path)
            allowed = preflight(is_known=page in self._pages.values())
            reply.respond(complete_answer(request, allowed))
            return None
        name = find_header(request, SESSION)
        with_headers = CompleteReply(request, reply)
        if name is None or (name != NEW and not ID.fullmatch(name)):
            with_headers.respond(build_error(400, "bad_request", f"{SESSION} is missing or wrong"))
            return None
        refusal = _check_method(request)
        if refusal is not None:
            with_headers.respond(refusal)
            return None
        if name == NEW:
            return self._open(request, caller, with_headers, context)
        session = self._sessions.get(name)
        if session is None:
            with_headers.respond(unknown_session())
            return None
        origin = find_header(request, "Origin")
        if origin is not None and origin != session.origin:
            message = "the session was opened by another origin"
            with_headers.respond(build_error(403, "origin", message))
            return None
        self._opened[self._nonces[name]] = None
        session.handle(request, with_headers)
        return lambda: session.forget(with_headers)

    def end_all(self) -> None:
        """Cut all connections."""
        for opening in list(self._openings.values()):
            opening.end()
        for session in list(self._sessions.values()):
            session.end()

    def after_fork(self) -> None:
        """Forget them in a forked child, with the descriptors."""
        for opening in self._openings.values():
            opening.after_fork()
        for session in self._sessions.values():
            session.after_fork()
        self._reset()

    # --- opening ---

    def _open(
        self, request: Request, caller: Caller, reply: CompleteReply, context: Any
    ) -> Callable[[], None] | None:
        nonce = find_header(request, NONCE)
        if request.method != "POST":
            reply.respond(build_error(405, "method", "sessions are opened by POST", Allow="POST"))
            return None
        if nonce is None or not ID.fullmatch(nonce):
            reply.respond(build_error(400, "bad_request", f"{NONCE} is missing or wrong"))
            return None
        if nonce in self._opened:
            opened = self._opened[nonce]  # the response was lost; or the network repeats requests
            reply.respond(_nonce_used() if opened is None else copy_response(opened))
            return None
        under_way = self._openings.get(nonce)
        if under_way is not None:
            under_way.add(reply)
            return lambda: under_way.forget(reply)
        refusal = self._admit(caller.key)
        if refusal is not None:
            reply.respond(refusal)
            return None
        try:
            opening = Opening(self, nonce, request, caller, reply)
        except OSError as exc:
            self._release(caller.key)
            reply.respond(busy(str(exc)))
            return None
        self._openings[nonce] = opening
        try:
            opening.start(context)
        except BaseException:  # a defect of ours
            opening.transport.close()
            opening.end()
            raise
        return lambda: opening.forget(reply)

    def _admit(self, key: Hashable) -> Response | None:
        """Count one more; return why there may not be, if so."""
        limits = self._limits
        if limits.max_sessions is not None and self._count >= limits.max_sessions:
            return busy("the server has as many sessions as it may have")
        most = limits.max_sessions_per_address
        if key is not None and most is not None and self._counts.get(key, 0) >= most:
            message = f"this address has {most} sessions already"
            retry = {"Retry_After": str(RETRY_AFTER)}
            return build_error(429, "too_many_sessions", message, **retry)
        self._count += 1
        self._counts[key] = self._counts.get(key, 0) + 1
        return None

    def _release(self, key: Hashable) -> None:
        self._count -= 1
        self._counts[key] -= 1
        if not self._counts[key]:
            del self._counts[key]

    def _enter(self, opening: Opening, response: Response) -> tuple[Session, Response]:
        """Make a session of an opening that succeeded; return it, and what its client is told."""
        name = secrets.token_urlsafe(16)
        key = opening.caller.key
        origin = find_header(opening.request, "Origin")
        session = Session(
            name,
            origin,
            opening.sock,
            opening.transport,
            self._reactor,
            self._limits,
            functools.partial(self._retire, key),
            functools.partial(self._forget, key),
        )
        self._sessions[name] = session
        told = {
            "session": name,
            "protocol": response.headers.get("Sec-WebSocket-Protocol"),
            "extensions": response.headers.get("Sec-WebSocket-Extensions"),
            "session_timeout": self._limits.session_timeout,
            "max_wait": int(MAX_WAIT),
            "max_body": MAX_BODY,
            "streaming": self._limits.streaming,
        }
        answer = answer_handshake(200, "OK", response, told)
        self._opened[opening.nonce] = answer
        self._nonces[name] = opening.nonce
        self._pages[name] = (origin, opening.request.path)
        return session, answer

    def _give_up(self, nonce: str) -> None:
        """Give up an opening if it takes too long."""
        opening = self._openings.get(nonce)  # perhaps another one by now
        if opening is not None and opening.due <= clock():
            opening.end()

    def _retire(self, key: Hashable, session: Session) -> None:
        """Count a session no more whose connection has ended."""
        self._release(key)
        if not session.is_over:
            self._retired.add(key, session)

    def _forget(self, key: Hashable, session: Session) -> None:
        del self._sessions[session.name]
        del self._pages[session.name]
        self._retired.discard(key, session)
        del self._opened[self._nonces.pop(session.name)]


class _Retired:
    """Sessions whose connections have ended, in that order.

    They keep what their clients may have missed, and clients may ask for it again and again. So
    there may only be as many as others; the oldest go first.

    Args:
        limits: how many there may be.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._all: dict[Session, None] = {}
        self._by_key: dict[Hashable, dict[Session, None]] = {}

    def add(self, key: Hashable, session: Session) -> None:
        """Add one that counted for an address; end another one, if there are too many."""
        same = self._by_key.setdefault(key, {})
        self._all[session] = same[session] = None
        limits = self._limits
        if limits.max_sessions is not None and len(self._all) > limits.max_sessions:
            next(iter(self._all)).end()
        most = limits.max_sessions_per_address
        if key is not None and most is not None and len(same) > most:
            next(iter(same)).end()

    def discard(self, key: Hashable, session: Session) -> None:
        """Forget one, if it is here."""
        if session in self._all:
            del self._all[session]
            same = self._by_key[key]
            del same[session]
            if not same:
                del self._by_key[key]


def _nonce_used() -> Response:
    return build_error(409, "nonce_used", "the session that this nonce has opened is in use")


def _check_method(request: Request) -> Response | None:
    """Return what refuses a request that isn't one of the protocol's."""
    if request.method not in ("GET", "POST", "DELETE"):
        allow = {"Allow": "GET, POST, DELETE, OPTIONS"}
        return build_error(405, "method", f"{request.method} isn't for sessions", **allow)
    kind = (find_header(request, "Content-Type") or "").partition(";")[0].strip().lower()
    if request.method == "POST" and kind != BYTES:
        return build_error(415, "content_type", f"the body of a POST is {BYTES}")
    if len(request.body) > MAX_BODY:
        return build_error(413, "too_large", f"a body may have {MAX_BODY} bytes")
    return None
