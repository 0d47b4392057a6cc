"""Telling clients that there is no room for them, in one thread however many there are.

The cost is bounded: a limited number of clients at a time and per second, each for a short
time and a few bytes. The others are just closed, which tells them as much.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Callable

from ..aliases import LoggerLike
from ..locks import make_rlock
from ..threaded.deadline import Deadline, clock
from ..threaded.lifecycle import start_thread
from ..threaded.tls_transport import TlsTransport
from ..threaded.transport import Transport
from ..threaded.wakeable_selector import WakeableSelector
from .admission import Refusal

if TYPE_CHECKING:
    import ssl as ssl_module

__all__ = ["Doorkeeper"]

#: Clients that are told at the same time.
MAX_REFUSING = 256

#: Clients that are told in a second: TLS takes a millisecond of computing for each.
RATE = 1000.0
TLS_RATE = 100.0

#: Seconds that a client has to ask, and to read the answer.
REFUSING_TIMEOUT = 2.0

#: Bytes of a request after which it is answered, complete or not; bytes after it that are read,
#: since closing with unread input would reset the connection, and with it the answer.
MAX_HEAD = 1 << 14
MAX_AFTER = 1 << 16

_WEBSOCKET = re.compile(rb"(?i)\nupgrade[ \t]*:[^\r\n]*websocket")


class _Client:
    """A client that must be told."""

    __slots__ = ("due", "head", "received", "refusal", "told", "transport")

    def __init__(self, transport: Transport, refusal: Refusal) -> None:
        self.transport = transport
        self.refusal = refusal
        self.due = clock() + REFUSING_TIMEOUT
        self.head = b""
        self.received = 0  # after it was told
        self.told = False


class Doorkeeper:
    """Answers requests of clients that can't be let in, in a thread of its own.

    Args:
        ssl: certificates and rules, for TLS.
        build_answer: returns the bytes of the response that says why.
        hand_over: given the transport, what was read of a request that doesn't ask for a
            WebSocket, and why it is refused; returns whether it takes care of it. Must not block.
        refused: called once for each other client, with its address and why.
        logger: where to log defects.
    """

    def __init__(
        self,
        ssl: ssl_module.SSLContext | None,
        build_answer: Callable[[Refusal], bytes],
        hand_over: Callable[[Transport, bytes, Refusal], bool],
        refused: Callable[[Any, Refusal], None],
        logger: LoggerLike,
    ) -> None:
        self._ssl = ssl
        self._build_answer = build_answer
        self._hand_over = hand_over
        self._refused = refused
        self._logger = logger
        self._rate = RATE if ssl is None else TLS_RATE
        # The accepting thread's own: how many may be told now, and when that was computed.
        self._allowance = self._rate
        self._counted_at = clock()
        # Guards the end: a client added after the thread has ended would never be told. Taken by
        # the accepting thread and this one, never by signal handlers.
        self._lock = make_rlock()
        self._ended = False
        self._new: deque[_Client] = deque()
        # The thread's own, in the order of arrival:
        self._clients: dict[_Client, None] = {}
        self._stop_by: float | None = None
        self.thread: threading.Thread | None = None
        self._selector: WakeableSelector | None = None

    # --- called by others ---

    def refuse(self, sock: socket.socket, refusal: Refusal) -> None:
        """Tell a client, or close its socket at once. Never blocks; the accepting thread calls."""
        transport = Transport(sock)
        try:
            told = self._is_affordable() and self._add(_Client(transport, refusal))
        except Exception:  # no descriptor or no thread is available
            told = False
            self._tell_at_once(transport, refusal)
        if not told:
            transport.close()
            _safely(self._refused, transport.remote_address, refusal)

    def stop(self, timeout: float) -> None:
        """Tell no more clients; cut off those being told after ``timeout`` s. Never blocks."""
        self._stop_by = clock() + timeout
        self._wake()

    def join(self, deadline: Deadline) -> None:
        """Wait for the thread to end, after :meth:`stop`."""
        thread = self.thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(deadline.remaining())

    def after_fork(self) -> None:
        """Release the descriptors in a forked child, which does not have the thread."""
        self._lock = make_rlock()
        self.thread = None
        self._ended = True
        for client in (*self._clients, *self._new):
            client.transport.after_fork()
        self._release()

    def _tell_at_once(self, transport: Transport, refusal: Refusal) -> None:
        """Answer a request that may not have come yet, as nobody can wait for it."""
        if self._ssl is None:
            with contextlib.suppress(OSError):  # nothing has come, or the client went away
                transport.send_now(self._build_answer(refusal))
                transport.finish_sending()
                transport.recv(Deadline(0))  # what is unread would reset the connection

    def _is_affordable(self) -> bool:
        now = clock()
        earned = (now - self._counted_at) * self._rate
        self._allowance = min(self._rate, self._allowance + earned)
        self._counted_at = now
        if self._allowance < 1 or len(self._clients) + len(self._new) >= MAX_REFUSING:
            return False
        self._allowance -= 1
        return True

    def _is_over(self) -> bool:
        return self._ended or self._stop_by is not None

    def _add(self, client: _Client) -> bool:
        if self._is_over():
            return False
        if self._ssl is not None:
            client.transport = TlsTransport(client.transport, self._ssl, server_side=True)
        if self.thread is None:
            self._start()
        with self._lock:
            if self._is_over():
                return False
            self._new.append(client)
        self._wake()
        return True

    def _start(self) -> None:
        try:
            self._selector = WakeableSelector()
            thread = threading.Thread(target=self._run, name="syncws-refuse")
            start_thread(thread)
        except BaseException:
            self._release()
            raise
        self.thread = thread

    def _wake(self) -> None:
        selector = self._selector
        if selector is not None:
            selector.wake()

    def _release(self) -> None:
        selector, self._selector = self._selector, None
        if selector is not None:
            selector.close()

    # --- the thread ---

    def _run(self) -> None:
        assert self._selector is not None
        while not self._has_ended():
            for key in self._selector.select(self._timeout()):
                self._guard(key.data, self._advance)
            while self._new:
                # It enters one collection before it leaves the other, so that it is always in one.
                client = self._new[0]
                self._clients[client] = None
                self._new.popleft()
                self._guard(client, self._begin)
            now = clock()
            for client in [each for each in self._clients if self._due(each) <= now]:
                self._end(client)
        self._release()

    def _has_ended(self) -> bool:
        with self._lock:
            if self._stop_by is not None and not self._clients and not self._new:
                self._ended = True
            return self._ended

    def _due(self, client: _Client) -> float:
        return client.due if self._stop_by is None else min(client.due, self._stop_by)

    def _timeout(self) -> float | None:
        first = next(iter(self._clients), None)
        return None if first is None else max(0.0, self._due(first) - clock())

    def _guard(self, client: _Client, act: Callable[[_Client], None]) -> None:
        try:
            act(client)
        except OSError:  # it went away
            self._end(client)
        except BaseException:  # a defect of ours must not stop us
            _safely(self._logger.exception, "refusing a connection failed")
            self._end(client)

    def _begin(self, client: _Client) -> None:
        assert self._selector is not None
        self._selector.register(client.transport.sock, client)

    def _advance(self, client: _Client) -> None:
        """Read what there is, and answer once the request is there."""
        transport, now = client.transport, Deadline(0)
        try:
            if isinstance(transport, TlsTransport):
                transport.handshake(now)  # goes on where it was
            self._read_on(client, now)
        except TimeoutError as exc:
            if exc.errno is not None:
                raise

    def _read_on(self, client: _Client, now: Deadline) -> None:
        while client in self._clients:
            data = client.transport.recv(now)
            if not data:
                self._end(client)
            elif client.told:
                client.received += len(data)
                if client.received > MAX_AFTER:
                    self._end(client)
            else:
                self._receive(client, data)

    def _receive(self, client: _Client, data: bytes) -> None:
        client.head += data
        if b"\r\n\r\n" not in client.head and len(client.head) < MAX_HEAD:
            return
        if not _WEBSOCKET.search(client.head):
            self._forget(client)
            if self._hand_over(client.transport, client.head, client.refusal):
                return
            self._clients[client] = None
            self._begin(client)
        client.told = True
        _safely(self._refused, client.transport.remote_address, client.refusal)
        client.transport.send_now(self._build_answer(client.refusal))
        client.transport.finish_sending()

    def _forget(self, client: _Client) -> None:
        assert self._selector is not None
        self._clients.pop(client, None)
        with contextlib.suppress(KeyError, ValueError):  # it was not registered
            self._selector.unregister(client.transport.sock)

    def _end(self, client: _Client) -> None:
        self._forget(client)
        client.transport.close()
        if not client.told:
            _safely(self._refused, client.transport.remote_address, client.refusal)


def _safely(log: Callable[..., None], *args: Any) -> None:
    """Call what logs. Where the program's logging raises, that is shown, and the thread goes on."""
    try:
        log(*args)
    except Exception:
        import traceback

        traceback.print_exc()
