"""Letting connections in: each gets a thread as long as there is room; others are refused."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from ..aliases import LoggerLike
from ..exceptions import InvalidHandshake
from ..sansio.plain_responses import build_response
from ..threaded.lifecycle import is_exiting, start_thread
from ..threaded.transport import Transport
from .accepting import NO_DESCRIPTOR
from .admission import RETRY_AFTER, Admission, Refusal, shutting_down
from .capacity import find_shortage
from .doorkeeper import Doorkeeper
from .handling import Handling
from .refusal_log import RefusalLog
from .responses import http_date
from .roster import Job, Roster

if TYPE_CHECKING:
    import ssl as ssl_module

__all__ = ["Entrance"]


class Entrance:
    """What becomes of connections that a server accepts.

    Args:
        admission: how many connections there may be.
        roster: where they are entered.
        handling: what their threads do.
        refusal_log: counts and logs who isn't let in.
        ssl: certificates and rules, for TLS.
        server_header: value of Server in what refuses them; ``None`` sends none.
        limited_by: what limits their number, if that is a limit of the process.
        stack_size: bytes of their threads' stacks; ``None`` means the default.
        logger: where to log.

    Attributes:
        doorkeeper: tells those who aren't let in.
    """

    def __init__(
        self,
        admission: Admission,
        roster: Roster,
        handling: Handling,
        refusal_log: RefusalLog,
        *,
        ssl: ssl_module.SSLContext | None,
        server_header: str | None,
        limited_by: str | None,
        stack_size: int | None,
        logger: LoggerLike,
    ) -> None:
        self._admission = admission
        self._roster = roster
        self._handling = handling
        self._refusal_log = refusal_log
        self._server_header = server_header
        self._limited_by = limited_by
        self._stack_size = stack_size
        self._logger = logger
        self.doorkeeper = Doorkeeper(
            ssl, self._build_refusal, self._answer_plain, self._refused, logger
        )

    def accepted(self, sock: socket.socket, peer: Any = None) -> None:
        """Run a connection in a thread of its own, or refuse it. On the accepting thread."""
        key, job = self._admission.find_key(sock), Job()
        thread = self._make_thread(sock, job, peer=peer)
        refusal = self._roster.admit(thread, job, key)
        if refusal is None:
            try:
                self._launch(thread)
                return
            except OSError as exc:
                refusal = _lack(exc)
        if refusal.reason == "full" and self._limited_by is not None:
            why, self._limited_by = self._limited_by, None  # this is logged once
            message = "the server is full: %s; max_connections= says otherwise"
            self._logger.warning(message, why)
        self.doorkeeper.refuse(sock, refusal)

    def start_connection(
        self, transport: Transport, head: bytes, key: bytes | None
    ) -> Refusal | None:
        """Run a session of the fallback, or a connection that it passes on, in a thread of its own.

        Any thread may call this. Return why it can't be.

        Args:
            transport: what it is over.
            head: its request.
            key: the address that it counts for.
        """
        job = Job()
        thread = self._make_thread(transport, job, head)
        refusal = self._roster.admit(thread, job, key)
        if refusal is None:
            try:
                self._launch(thread)
            except OSError as exc:
                refusal = _lack(exc)
        return refusal

    def lacking(self, sock: socket.socket, exc: OSError) -> None:
        """Refuse a connection for which there is no descriptor. On the accepting thread."""
        self._roster.note_accepted()
        self.doorkeeper.refuse(sock, _lack(exc))

    def _make_thread(
        self, sock: socket.socket | Transport, job: Job, head: bytes = b"", peer: Any = None
    ) -> threading.Thread:
        arguments = (sock, job, head, peer)
        return threading.Thread(target=self._handling.run, args=arguments, name="syncws-handler")

    def _launch(self, thread: threading.Thread) -> None:
        """Start a connection's thread.

        Raises:
            OSError: none is available, or no memory for one.
        """
        try:
            start_thread(thread, self._stack_size)
        except BaseException as exc:
            self._roster.end(thread)
            if isinstance(exc, RuntimeError):  # a peer's doing rather than a defect
                number = errno.ENOMEM if isinstance(exc.__cause__, MemoryError) else errno.EAGAIN
                raise OSError(number, str(exc)) from exc
            raise

    # --- called by the doorkeeper, on its thread ---

    def _refused(self, address: Any, refusal: Refusal) -> None:
        """Count and log a connection that was not let in."""
        self._refusal_log.refuse(
            refusal.reason,
            logging.ERROR if refusal.reason == "resources" else logging.WARNING,
            "connection from %s refused: %s%s",
            address,
            refusal.exc,
            refusal.detail,
            ws_remote_address=address,
            ws_path=None,
            ws_status=503,
        )

    def _build_refusal(self, refusal: Refusal) -> bytes:
        text = f"Failed to open a WebSocket connection: {refusal.exc}.\n"
        headers = {"Retry-After": str(RETRY_AFTER), "Date": http_date(time.time())}
        if self._server_header is not None:
            headers["Server"] = self._server_header
        return build_response(503, text, headers).serialize()

    def _answer_plain(self, transport: Transport, head: bytes, refusal: Refusal) -> bool:
        """Have the program answer a request that doesn't ask for a WebSocket, if it wants to."""
        job = Job(refusal)
        thread = self._make_thread(transport, job, head)
        if not self._roster.admit_plain(thread, job):
            return False
        try:
            self._launch(thread)
        except OSError:
            return False
        return True


class _Shortage:
    """Why something isn't available. Finding out takes a while, so only what is logged is asked."""

    def __init__(self, what: str, exc: OSError) -> None:
        self._what = what
        self._exc = exc

    def __str__(self) -> str:
        limit = ""
        with contextlib.suppress(Exception):  # there may be no memory for that either
            limit = find_shortage(self._what)
        return f" ({': '.join(filter(None, [str(self._exc), limit]))})"


def _lack(exc: OSError) -> Refusal:
    """Return the refusal of a connection for which the process lacks something."""
    if is_exiting():
        return shutting_down()
    if exc.errno in NO_DESCRIPTOR:
        what = "descriptor"
    else:
        what = "memory" if exc.errno == errno.ENOMEM else "thread"
    text = f"no {what} is available; try again in {RETRY_AFTER} s"
    return Refusal("resources", InvalidHandshake(text), _Shortage(what, exc))
