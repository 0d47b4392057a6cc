"""The client's end of a session of the fallback: what moves a connection's bytes over HTTP.

The connection has one end of a socket pair, and takes it for TCP. At the other end two threads are
at work. The *sender* takes what the connection wrote, and posts it, again and again until the
server has acknowledged it. The *receiver* asks for the server's bytes, as a stream of events or by
long polling, and writes those that are new. Both wait in ways that the connection's end wakes.

Whoever notices first that it is over tells the others:

- the connection has ended: the receiver stops at once; the sender posts what is left, a close frame
  perhaps, and ends the session, within a second each;
- the server's stream has ended: the receiver ends the connection's input, as TCP's end would, so
  the connection ends, and then the rest as above;
- the session is lost: the connection is cut, with the reason as its cause.

Acknowledgements are the receiver's, and have a connection of their own: the sender's requests may
have to wait until the server's handler receives, while the handler waits until it can send.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any, Callable

from ..fallback.session_transport import SessionTransport
from ..threaded import lifecycle
from ..threaded.deadline import Deadline
from ..threaded.latch import Latch
from ..threaded.timekeeper import call_later
from ..threaded.transport import Transport
from .http_link import HttpLink
from .session_exchange import SessionExchange
from .session_receiver import Gone, SessionReceiver
from .session_requests import OpenedSession, SessionLost
from .session_sender import FINAL_TIMEOUT, SessionSender

__all__ = ["Carrier"]

#: Seconds for a request under way when the connection ends: it may have the close frame.
CUT_DELAY = 0.5


class Carrier:
    """Moves bytes between a connection and a session.

    Args:
        inner: the other end of the connection's transport; owned from now on.
        outer: that transport; it is told how its bytes are carried.
        opened: the session.
        make_link: makes further ones.
        logger: where to log.

    Attributes:
        is_started: whether there are threads that own the session.
    """

    def __init__(
        self,
        inner: Transport,
        outer: SessionTransport,
        opened: OpenedSession,
        make_link: Callable[[], HttpLink],
        logger: Any,
    ) -> None:
        self._inner = inner
        self._exchange = exchange = SessionExchange(opened, make_link, logger)
        self._sender = sender = SessionSender(exchange, inner, opened.link)
        self._receiver = SessionReceiver(exchange, inner, outer, lambda: sender.position)
        self._receiver_done = Latch()
        self._lose: Callable[[], Callable[[BaseException], None] | None] = lambda: None
        self.is_started = False

    def start(self, lose: Callable[[BaseException], None]) -> None:
        """Start the threads.

        Args:
            lose: a method, called with the reason if the session is lost. It must not block.

        Raises:
            RuntimeError: no thread is available.
        """
        self._lose = weakref.WeakMethod(lose)
        lifecycle.register(self)
        receiver, sender = (
            threading.Thread(target=self._run, args=(half,), name=f"syncws-fallback-{name}")
            for name, half in (("receiver", self._receiver), ("sender", self._sender))
        )
        try:
            lifecycle.start_thread(receiver)
            lifecycle.start_thread(sender)
        finally:
            self.is_started = sender.ident is not None  # a signal handler may have raised
            if not self.is_started:
                self._sender.is_final = True
                self.end()
                if receiver.ident is not None:
                    self._receiver_done.wait(FINAL_TIMEOUT)
                self._close()

    def end(self) -> None:
        """Stop: the connection has ended. Never blocks; any thread may call it. Idempotent."""
        ending = self._exchange.ending
        if ending.is_set():
            return
        ending.set()
        self._receiver.cut()
        if not self._sender.is_final:
            call_later(CUT_DELAY, self._sender.cut)

    # --- the process ---

    def begin_exit(self) -> None:
        """Do nothing: the connection closes."""

    def end_exit(self, deadline: Deadline) -> None:
        """Do nothing."""

    def after_fork(self) -> None:
        """Leave the session to the parent, in a child."""
        self._inner.after_fork()

    # --- both threads ---

    def _run(self, half: SessionSender | SessionReceiver) -> None:
        try:
            half.run()
        except Gone:
            pass
        except SessionLost as exc:
            self._give_up(exc.__cause__ or exc)
        except BaseException as exc:  # a defect of ours: not without an end
            self._give_up(exc)
            raise
        finally:
            if half is self._receiver:
                self._receiver.drop()
                self._receiver_done.set()
            else:
                self._finish()

    def _give_up(self, cause: BaseException) -> None:
        self._exchange.is_lost = True
        lose = self._lose()
        if lose is not None:
            lose(cause)
        self.end()

    def _finish(self) -> None:
        """Release everything: the sender's last act."""
        self._sender.is_final = True
        self.end()
        self._receiver_done.wait()
        self._close()

    def _close(self) -> None:
        self._sender.link.drop()
        self._inner.close()
        lifecycle.unregister(self)
