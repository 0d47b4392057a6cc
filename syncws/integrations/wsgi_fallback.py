"""The fallback in WSGI servers: WebSockets over plain HTTP, whatever the server gives away.

A middleware answers the fallback's requests, and has the application see one of each session: the
one that opens it, as the request of a WebSocket. So what judges a WebSocket judges a session:
routes, decorators, cookies, origins, limits. The handler runs in a thread of its own.

A request that waits for messages, or for its handler to take some, has one of the server's threads
meanwhile. All of them wait for one thread of ours, the reactor's, which starts with the first
request: a server that forks has forked by then.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Callable

from ..aliases import LoggerLike
from ..exceptions import InvalidHandshake
from ..fallback.answers import busy, complete_answer
from ..fallback.limits import LAST_WORDS, Limits
from ..fallback.opening import OPEN_TIMEOUT, Caller
from ..fallback.reactor import Reactor
from ..fallback.session_transport import SessionTransport
from ..fallback.sessions import Sessions
from ..fallback.wire import MAX_BODY, MAX_WAIT, NEW, SESSION, build_error
from ..sansio.forwarded import TrustedProxies
from ..sansio.headers import Headers
from ..sansio.http11 import Request, Response
from ..server.admission import address_key
from ..server.fallback import Fallback, as_fallback
from ..server.fallback_desk import make_script_response
from ..threaded import lifecycle
from ..threaded.deadline import Deadline
from ..threaded.guarded_logger import GuardedLogger, own_logger
from .answering import WsgiApplication
from .session_call import SessionCall
from .wsgi_reply import WsgiReply
from .wsgi_request import read_plain_request, wsgi_headers, wsgi_status
from .wsgi_roster import roster
from .wsgi_servers import HAS_FALLBACK, Found, find_host

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["FallbackMiddleware"]

#: Seconds that a request waits where it has the last thread of the server's.
SHORT_WAIT = 1.0

#: Seconds after which something is wrong, and a thread is not to wait any longer.
LIMIT = OPEN_TIMEOUT + 10

#: Seconds of a stream in which something comes in any case.
STREAM_LIMIT = MAX_WAIT + 10

#: Seconds that its end may take, besides those for the last words.
END_TIMEOUT = 1.0

#: What :func:`address_key` returns for ::1.
_LOOPBACK_6 = bytes(8)

_ELSEWHERE = (
    "a request of the fallback came to a process that does not have its session, which is in "
    "another one of the server's processes, or has ended: a client's requests must go to one "
    "process"
)


class FallbackMiddleware:
    """A WSGI application that serves the WebSockets of another one over plain HTTP as well.

    ::

        app = FallbackMiddleware(app)

    It answers requests with ``Syncws-Session``, preflights of these, and those for the script;
    all others go to the application, upgrades to WebSocket included. Whatever judges a WebSocket's
    request has to be in the application, middlewares that tell who the client is around this one.

    Any thread may call it. A request waits for up to 25 seconds, and so does its thread of the
    server's. Where the number of threads is known (gunicorn, cheroot, waitress, uWSGI, mod_wsgi)
    one is left to other requests: there are that many sessions at most, unless ``max_sessions``
    says otherwise, and a request that gets the last thread waits for one second, and is no stream.

    A session is in one process. With several, all requests of a client must go to the same one.

    Args:
        application: the application.
        fallback: how; ``True`` is ``Fallback()``, ``False`` none at all.
        trusted_proxies: whose word is taken for the addresses that ``max_sessions_per_address``
            counts; as for :func:`~syncws.serve`. Without it, addresses of this machine don't
            count, as they are a proxy's.
        logger: where to log; ``syncws.server`` by default.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: a proxy isn't a network.
    """

    def __init__(
        self,
        application: WsgiApplication,
        fallback: bool | Fallback = True,
        *,
        trusted_proxies: Iterable[Any] | None = None,
        logger: LoggerLike | None = None,
    ) -> None:
        if not callable(application):
            raise TypeError(f"application is a WSGI application, not {application!r}")
        self._application = application
        self._fallback = as_fallback(fallback)
        self._proxies = None if trusted_proxies is None else TrustedProxies(trusted_proxies)
        self._logger = GuardedLogger(logger or own_logger("server"))
        self._has_warned = False
        self._is_closed = False
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()  # guards the beginning
        self._reactor: Reactor | None = None
        self._sessions: Sessions | None = None

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request (PEP 3333)."""
        if not self._claims(environ):
            if self._fallback is not None:
                environ[HAS_FALLBACK] = True
            return self._application(environ, start_response)
        try:
            request = read_plain_request(environ, MAX_BODY)
        except InvalidHandshake as exc:
            refused = Request("/", Headers(), environ["REQUEST_METHOD"])
            response = complete_answer(refused, build_error(400, "bad_request", str(exc)))
            return _respond(refused, response, start_response)
        if self._is_script(environ):
            return _respond(request, make_script_response(request), start_response)
        return self._serve(request, environ, start_response)

    def close(self) -> None:
        """Cut all sessions, once their clients have read what there is for them.

        Blocks for two seconds at most. Requests of the fallback are refused with 503 from then on;
        the application's go on. Idempotent.
        """
        self._is_closed = True
        if self._stop(LAST_WORDS):
            lifecycle.unregister(self)

    def begin_exit(self) -> None:
        """Do nothing: the connections are closed, which their clients are to learn of."""

    def end_exit(self, deadline: Deadline) -> None:
        """Let clients read that."""
        self._stop(deadline.remaining() or 0)

    def _stop(self, seconds: float) -> bool:
        """End the sessions and wait for that; return whether there could be any."""
        with self._lock:
            reactor, sessions = self._reactor, self._sessions
        if reactor is None or sessions is None:
            return False
        reactor.stop(seconds, lambda: sessions.is_idle)
        reactor.join(Deadline(seconds + END_TIMEOUT))
        return True

    def after_fork(self) -> None:
        """Forget the parent's sessions, in the child, which has sessions of its own."""
        if self._reactor is not None and self._sessions is not None:
            self._sessions.after_fork()
            self._reactor.after_fork()
        self._reset()

    # --- requests ---

    def _claims(self, environ: WSGIEnvironment) -> bool:
        if self._fallback is None:
            return False
        if "HTTP_SYNCWS_SESSION" in environ or self._is_script(environ):
            return True
        asked = environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", "")
        return environ["REQUEST_METHOD"] == "OPTIONS" and SESSION.lower() in asked.lower()

    def _is_script(self, environ: WSGIEnvironment) -> bool:
        assert self._fallback is not None
        is_read = environ["REQUEST_METHOD"] in ("GET", "HEAD")
        return is_read and environ.get("PATH_INFO") == self._fallback.script

    def _serve(
        self, request: Request, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Put a request to the sessions, wait for the answer, and give it."""
        assert self._fallback is not None
        host = find_host(environ)
        may_wait = roster.begin_wait(host.threads)
        reply = WsgiReply(
            MAX_WAIT if may_wait else SHORT_WAIT, self._fallback.streaming and may_wait
        )
        stream = None
        try:
            response = self._ask(request, environ, host, reply)
            self._warn(environ, response)
            body = _respond(request, response, start_response)
            if reply.is_stream:
                stream = _Stream(reply, self._give_up)
        except BaseException:
            self._give_up(reply)
            raise
        finally:
            if stream is None:
                roster.end_wait()
        return body if stream is None else stream

    def _ask(
        self, request: Request, environ: WSGIEnvironment, host: Found, reply: WsgiReply
    ) -> Response:
        """Block until the sessions have a response, or the head of one."""
        if environ.get("wsgi.run_once"):
            message = "sessions need a server whose processes serve more than one request"
            return complete_answer(request, build_error(501, "refused", message))
        caller = self._find_caller(environ, request)
        try:
            reactor, sessions = self._begin(host)

            def handle() -> None:
                reply.gone = sessions.handle(request, caller, reply, (environ, host))

            reactor.call(handle)
        except (OSError, RuntimeError) as exc:
            return complete_answer(request, busy(str(exc)))
        response = reply.wait(LIMIT)
        if response is None:
            self._give_up(reply)
            response = complete_answer(request, busy("there was no answer in time"))
        return response

    def _begin(self, host: Found) -> tuple[Reactor, Sessions]:
        """Return what serves the sessions of this process.

        Raises:
            RuntimeError: it is closed.
        """
        with self._lock:
            if self._reactor is None or self._sessions is None:
                if self._is_closed:
                    raise RuntimeError("the server is closed")
                reactor = Reactor(self._logger, lambda: sessions.end_all())
                sessions = Sessions(reactor, self._find_limits(host), self._start)
                self._reactor, self._sessions = reactor, sessions
                lifecycle.register(self)
                if host.sock is None and host.warning is not None:
                    self._logger.warning(host.warning)
            return self._reactor, self._sessions

    def _find_limits(self, host: Found) -> Limits:
        assert self._fallback is not None
        limits = self._fallback.limits()
        if limits.max_sessions is None and host.threads is not None:
            limits = replace(limits, max_sessions=max(1, host.threads - 1))
        return limits

    def _find_caller(self, environ: WSGIEnvironment, request: Request) -> Caller:
        remote = _address(environ.get("REMOTE_ADDR"), environ.get("REMOTE_PORT"))
        local = _address(environ.get("SERVER_NAME"), environ.get("SERVER_PORT"))
        secure = environ.get("wsgi.url_scheme") in ("https", "wss")
        return Caller(local, remote, secure, self._find_key(remote, request))

    def _find_key(self, remote: Any, request: Request) -> bytes | None:
        """Return what a client's address counts for; ``None`` is not limited."""
        proxies = self._proxies
        if proxies is None:
            key = address_key(remote)
            return None if key is None or _is_own(key) else key
        client = None
        with contextlib.suppress(InvalidHandshake):  # the opening handshake refuses it
            client = proxies.identify(remote, request.headers)
        return address_key(remote if client is None else client.address)

    def _give_up(self, reply: WsgiReply) -> None:
        """Have the sessions forget a request."""
        reactor = self._reactor
        if reactor is not None:
            with contextlib.suppress(OSError, RuntimeError):  # nothing is left of them
                reactor.call(reply.give_up)

    def _warn(self, environ: WSGIEnvironment, response: Response) -> None:
        """Say what may be wrong if a session isn't here."""
        if (
            response.status_code == 404
            and environ.get("wsgi.multiprocess")
            and environ.get("HTTP_SYNCWS_SESSION") != NEW
            and not self._has_warned
        ):
            self._has_warned = True
            self._logger.warning(_ELSEWHERE)

    # --- on the reactor's thread ---

    def _start(self, transport: SessionTransport, head: bytes, context: Any) -> Response | None:
        """Have the application judge a session's request; return why that can't be."""
        environ, host = context
        try:
            call = SessionCall(self._application, transport, head, environ, host, self._logger)
            call.start()
        except (InvalidHandshake, ValueError) as exc:
            return build_error(400, "bad_request", f"it isn't an opening handshake: {exc}")
        except RuntimeError as exc:
            return busy(str(exc))
        return None


class _Stream:
    """The body of a response that comes in pieces.

    Args:
        reply: where they come from.
        give_up: called with it if the server wants no more of them.
    """

    def __init__(self, reply: WsgiReply, give_up: Callable[[WsgiReply], None]) -> None:
        self._reply = reply
        self._give_up = give_up
        self._is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """Block until there is a piece."""
        data = self._reply.take(STREAM_LIMIT)
        if not data:
            self.close()
            raise StopIteration
        return data

    def close(self) -> None:
        """Note that the server is done with it (PEP 3333). Idempotent."""
        if not self._is_closed:
            self._is_closed = True
            roster.end_wait()
            self._give_up(self._reply)


def _respond(
    request: Request, response: Response, start_response: StartResponse
) -> Iterable[bytes]:
    start_response(wsgi_status(response), wsgi_headers(response))
    return [response.body] if response.body and request.method != "HEAD" else []


def _address(host: str | None, port: Any) -> Any:
    """Return an address as sockets give it; ``""`` for a Unix socket."""
    if not host:
        return ""
    number = int(port) if str(port).isdecimal() else 0
    return (host, number, 0, 0) if ":" in host else (host, number)


def _is_own(key: bytes) -> bool:
    """Tell whether an address is this machine's: then it may be that of a proxy."""
    return key == _LOOPBACK_6 or (key.startswith(b"\x7f") and len(key) == 4)
