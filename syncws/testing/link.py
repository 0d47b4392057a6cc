"""One end of a connection that a test has in hand: bytes, time, and their faults."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading
from typing import TYPE_CHECKING

from ..locks import make_rlock
from ..threaded.deadline import Deadline

if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["Link", "Stopped", "shorten"]

#: Bytes that are read at once.
READ_SIZE = 1 << 16

#: Bytes that are read before closing, at most: the other end may go on sending.
MAX_UNREAD = 1 << 24

#: SO_LINGER for a reset: on, for 0 seconds.
LINGER = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)

#: What waiting too long raises; the two are one class from Python 3.10 on.
TIMEOUTS = (TimeoutError, socket.timeout)

#: Lines of what went over the link last, for errors.
RECENT = 12


class Stopped(BaseException):
    """The test is over, and so is the script. Only the code that runs the script catches it."""


class Link:
    """A connected socket, whose every wait has a deadline and ends with the test.

    One thread uses it; any may call ``_stop()`` and ``_kill()``.

    Args:
        sock: the socket; the link owns it from now on.
        timeout: seconds that each call may wait for the other end.
        name: what errors begin with.

    Attributes:
        timeout: as the argument; may be changed.
        byte_interval: seconds between any two bytes that are sent; ``None`` sends all at
            once, as usual. Makes this end a slow sender, including in the opening handshake.
        transcript: what was sent and received so far, a line each; errors quote the last ones.
    """

    def __init__(self, sock: socket.socket, timeout: float, name: str = "") -> None:
        self.timeout = timeout
        self.byte_interval: float | None = None
        self.transcript: list[str] = []
        self._sock = sock
        with contextlib.suppress(OSError):  # the other end is gone already
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # single bytes are to go out
        self._name = name
        self._stopping = threading.Event()  # stalls and delays end
        self._killed = False  # all other waits as well
        # Keeps _kill() from shutting down what has the descriptor's number after closing.
        self._ending = make_rlock()
        self._gone = False  # we closed the socket

    # --- time ---

    def delay(self, seconds: float) -> None:
        """Do nothing for so long; nothing is read, either. Ends with the test."""
        self._pause(seconds)

    def _pause(self, seconds: float | None) -> None:
        if self._stopping.wait(seconds):
            raise Stopped

    # --- bytes ---

    def send_raw(self, data: bytes) -> None:
        """Send these bytes, whatever they are. Does not shake hands before.

        Raises:
            AssertionError: the other end doesn't read, or is gone.
        """
        self._note(f"> {len(data)} bytes {shorten(data)}")
        self._write(data)

    def send_garbage(self, size: int = 16) -> None:
        """Send bytes that are neither HTTP nor a frame (RFC 6455 §5.2): all their bits are 1.

        Does not shake hands before.

        Raises:
            AssertionError: the other end doesn't read, or is gone.
        """
        self.send_raw(b"\xff" * size)

    def _write(self, data: bytes) -> None:
        interval = self.byte_interval
        pieces = [data] if interval is None else [data[i : i + 1] for i in range(len(data))]
        for number, piece in enumerate(pieces):
            if number and interval is not None:
                self._pause(interval)
            try:
                self._sock.settimeout(self.timeout)
                self._sock.sendall(piece)
            except TIMEOUTS:
                self._fail(f"the other end read too little for {self.timeout:g} s")
            except OSError as exc:
                if self._killed:
                    raise Stopped from None
                self._fail(f"sending failed: {exc}", exc)

    def _read(self, deadline: Deadline, wanted: str) -> bytes:
        """Return what has come, nothing at the end; block until something has.

        A reset counts as an end.
        """
        try:
            # A timeout of 0 would be a socket that doesn't block.
            self._sock.settimeout(max(deadline.remaining() or 0.0, 0.001))
            data = self._sock.recv(READ_SIZE)
        except TIMEOUTS:
            self._fail(f"expected {wanted}, but nothing came in {deadline.timeout:g} s")
        except ConnectionError:
            data = b""
        except OSError as exc:
            self._fail(f"expected {wanted}, but reading failed: {exc}", exc)
        if not data and self._killed:
            self._fail(f"expected {wanted}, but the test ended before it came")
        return data

    # --- the end ---

    def cut(self) -> None:
        """Close the TCP connection, without a close frame. What was sent still arrives.

        Idempotent.
        """
        if not self._gone:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)
                # Closing with something unread would be a reset.
                self._sock.setblocking(False)
                self._read_away()
        self._close("* cuts the connection")

    def _read_away(self) -> None:
        for _ in range(MAX_UNREAD // READ_SIZE):
            if not self._sock.recv(READ_SIZE):
                break

    def reset(self) -> None:
        """Reset the TCP connection: what was sent last may be lost to the other end. Idempotent."""
        if not self._gone:
            # Closing with a time to linger of 0 drops what is unsent, and sends RST.
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        self._close("* resets the connection")

    def _stop(self) -> None:
        """End delays and stalls, now and from now on: the test is over."""
        self._stopping.set()

    def _kill(self) -> None:
        """End all other waits as well."""
        self._stop()
        self._shut_down()

    def _shut_down(self) -> None:
        self._killed = True
        with self._ending, contextlib.suppress(OSError):
            if not self._gone:
                # Not the method of a TLS socket, which isn't for other threads.
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def _close(self, note: str) -> None:
        with self._ending:
            if self._gone:
                return
            self._gone = True
            self._note(note)
            self._sock.close()

    # --- errors ---

    def _note(self, line: str) -> None:
        self.transcript.append(line)

    def _fail(self, what: str, cause: BaseException | None = None) -> NoReturn:
        """Raise an AssertionError that says what went over the link."""
        lines = self.transcript[-RECENT:] or ["(nothing was sent or received)"]
        if len(self.transcript) > RECENT:
            lines.insert(0, "...")
        raise AssertionError("\n  ".join([f"{self._name}{what}; so far:", *lines])) from cause


def shorten(data: str | bytes) -> str:
    """Quote what may be long."""
    return repr(data) if len(data) <= 60 else f"{data[:50]!r}..."
