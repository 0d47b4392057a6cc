"""The writing half of a connection: frames of callers, and what the protocol has to say."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Callable
from typing import Protocol as Interface

from ..accel import WriteLock
from ..aliases import BytesLike, DataLike
from ..exceptions import ConcurrencyError, InvalidState, SendTimeout, SlowPeer
from ..sansio.frames import Opcode
from ..sansio.protocol import SEND_EOF, Protocol
from ..sansio.state import State
from .deadline import Deadline, Latch, forget_owner, is_green, wait_for_lock
from .flusher import call_when_writable
from .outgoing import encode_fragments
from .timekeeper import Timer, call_later
from .transport import Transport

__all__ = ["Broken", "Lock", "Writer"]

#: Bytes of a payload from which on it isn't copied behind its header.
LARGE = 1 << 15

#: Seconds after which the timekeeper tries again to write what another thread should have.
DRAIN_INTERVAL = 0.05


class Broken(Exception):
    """Nothing can be written: the connection isn't open, or just broke, as the cause says."""


class Lock(Interface):
    """A re-entrant lock that knows whether the calling thread has it."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it; return whether it was to be had."""

    def release(self) -> None:
        """Give it back."""

    def __enter__(self) -> bool: ...
    def __exit__(self, *args: object) -> None: ...
    def _is_owned(self) -> bool: ...


class _FragmentedMessage:
    """A fragmented message that a thread is sending."""

    __slots__ = ("done", "thread")

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.done = Latch()


class Writer:
    """Everything that a connection writes goes through here.

    Args:
        protocol: the codec.
        state_lock: guards it.
        transport: where to write.
        abort: cuts the connection, for a reason.
        fail: fails the connection after a fragmented message that can't be completed.

    Attributes:
        lock: the write lock.
        frames_sent: data frames sent.
        messages_sent: messages sent.
    """

    def __init__(
        self,
        protocol: Protocol,
        state_lock: Lock,
        transport: Transport,
        abort: Callable[[BaseException], None],
        fail: Callable[[], None],
    ) -> None:
        self._protocol = protocol
        self._state_lock = state_lock
        self._transport = transport
        self._abort = abort
        self._fail = fail
        # The write lock: held while the bytes of one frame are written, which may take as
        # long as the peer likes. Never taken by who holds the state lock; only tried, never
        # waited for, by the reader and the timekeeper. It knows its owner, so that it can
        # be released when a signal handler raised right after it was taken.
        self.lock: Lock = _make_write_lock()
        # Guarded by the write lock:
        self.frames_sent = self.messages_sent = 0
        # Guarded by the state lock: messages sent by post(), a frame each.
        self.messages_posted = 0
        # Set with the write lock, from the first frame of a fragmented message to its last.
        # Others wait for the end of it without the lock, so that control frames get through.
        self._fragmented: _FragmentedMessage | None = None
        self._moving = 0  # bytes on their way from the protocol's output to the backlog
        self._timer: Timer | None = None
        self._awaits_room = False  # the flusher calls once the kernel takes more
        self._closed = False

    # --- data frames, on callers' threads ---

    def send(
        self,
        opcode: Opcode,
        data: BytesLike,
        timeout: float | None,
        compress: bool | None,
    ) -> None:
        """Write a message in one frame.

        Raises:
            ConcurrencyError: the calling thread is sending already.
            SendTimeout: nothing was written in time.
            Broken: the connection isn't open, or broke and is cut.
        """
        self._send_frame(opcode, data, True, timeout, compress, None)

    def send_batch(self, messages: list[DataLike], timeout: float | None) -> None:
        """Write messages, a frame each, in one piece.

        Raises what :meth:`send` does.
        """
        deadline = None if timeout is None else Deadline(timeout)
        self._exclusively(lambda: self._write_batch(messages, deadline), deadline, None)

    def send_fragments(
        self,
        fragments: Iterable[DataLike],
        text: bool | None,
        timeout: float | None,
        compress: bool | None,
    ) -> None:
        """Write a message in fragments, each as soon as it is there; nothing if there are none.

        A list or a tuple is checked before anything is written. Of other iterables nobody knows
        which fragment is the last: an empty one is.

        Raises what :meth:`send` does, and what iterating raises.
        """
        encoded: Iterable[tuple[Opcode, BytesLike]] = encode_fragments(fragments, text)
        count = None
        if isinstance(fragments, (list, tuple)):
            encoded = list(encoded)
            count = len(encoded)
        message = _FragmentedMessage()
        number = 0
        try:
            for opcode, data in encoded:
                number += 1
                kind = opcode if number == 1 else Opcode.CONT
                self._send_frame(kind, data, number == count, timeout, compress, message)
            if number and count is None:
                self._send_frame(Opcode.CONT, b"", True, timeout, compress, message)
            self._end_fragmented(message)
        except BaseException:
            # The message has begun, and others can't send before its end: that is now. First,
            # so that they find the connection failed.
            if self._fragmented is message and self._protocol.fragmenting:
                self._fail()
            # Perhaps once more: a signal handler may have raised on the way there.
            self._end_fragmented(message)
            raise

    def complete(self, timeout: float | None) -> None:
        """Wait until the kernel has taken the rest of a frame that was sent at once.

        Raises:
            Broken: it did not in time, or the connection broke; it is cut.
        """
        deadline = None if timeout is None else Deadline(timeout)
        lock = self.lock
        try:
            # Who has the lock meanwhile writes our rest first, and so does everybody after.
            if wait_for_lock(lock, -1 if deadline is None else deadline.lock_timeout()):
                self._transport.send_all(b"", deadline)
        except OSError as exc:  # half a frame is out
            self._abort(exc)
            raise Broken from exc
        except BaseException as exc:  # raised by a signal handler: the same
            self._abort(exc)
            raise
        finally:
            try:  # noqa: SIM105  # as in _exclusively()
                lock.release()
            except RuntimeError:  # it was not acquired
                pass
            self.drain()

    def _end_fragmented(self, message: _FragmentedMessage) -> None:
        if self._fragmented is message:
            self._fragmented = None
        message.done.set()

    def _send_frame(
        self,
        opcode: Opcode,
        data: BytesLike,
        fin: bool,
        timeout: float | None,
        compress: bool | None,
        message: _FragmentedMessage | None,
    ) -> None:
        """Write a data frame; ``message`` is what it is a fragment of, if it is one."""
        deadline = None if timeout is None else Deadline(timeout)
        self._exclusively(
            lambda: self._write_frame(opcode, data, fin, deadline, compress), deadline, message
        )

    def _exclusively(
        self,
        write: Callable[[], None],
        deadline: Deadline | None,
        message: _FragmentedMessage | None,
    ) -> None:
        """Call ``write`` with the write lock; ``message`` is what it writes a fragment of."""
        lock = self.lock
        if lock._is_owned():
            raise ConcurrencyError("a signal handler can't send while it interrupts a send")
        try:
            try:
                self._acquire(deadline, message)
                if message is not None:
                    self._fragmented = message
                self._write(write, deadline)
            finally:
                # One call, so that a signal handler can't raise between looking and releasing.
                try:  # noqa: SIM105  # entering suppress() would be such a point
                    lock.release()
                except RuntimeError:  # it was not acquired
                    pass
        except BaseException:
            self.drain()  # as below, and what the timekeeper found the lock taken for
            raise
        # What came while we held the lock found it taken: it is for us to write.
        if self._protocol.has_output:
            self.drain()

    def _acquire(self, deadline: Deadline | None, message: _FragmentedMessage | None) -> None:
        """Wait for the write lock, and for the end of another thread's fragmented message."""
        while True:
            if self.lock.acquire(blocking=False):
                pass
            elif deadline is None:
                wait_for_lock(self.lock, -1)
            elif not wait_for_lock(self.lock, deadline.lock_timeout()):
                raise SendTimeout(f"other threads kept sending for {deadline.timeout} s")
            other = self._fragmented
            if other is None or other is message:
                return
            if other.thread == threading.get_ident():
                raise ConcurrencyError("the fragments of a message can't send messages")
            self.lock.release()
            self.drain()  # who came in between found the lock taken
            if not other.done.wait(None if deadline is None else deadline.remaining()):
                assert deadline is not None
                raise SendTimeout(f"a fragmented message went on for {deadline.timeout} s")
            if self._protocol.close_expected():
                raise Broken

    def _write(self, write: Callable[[], None], deadline: Deadline | None) -> None:
        """Serialize and write data frames, with the write lock held."""
        try:
            # The peer must have room before the frame is made: once compressed or
            # encrypted, it can't be taken back.
            if deadline is not None:
                self._wait_for_peer(deadline)
            write()
        except SendTimeout:
            raise
        except InvalidState as exc:
            raise Broken from exc
        except OSError as exc:  # half a frame may be out
            self._abort(exc)
            raise Broken from exc
        except BaseException as exc:  # raised by a signal handler: the same
            self._abort(exc)
            raise

    def _write_frame(
        self,
        opcode: Opcode,
        data: BytesLike,
        fin: bool,
        deadline: Deadline | None,
        compress: bool | None,
    ) -> None:
        with self._state_lock:
            ahead = self._take_ahead()
            header = None
            if len(data) >= LARGE:
                header = self._protocol.serialize_large(opcode, data, fin)
            if header is None:
                frame = self._protocol.serialize_message(opcode, data, fin, compress)
            self._protocol.release_posted()
        if ahead:
            self._transport.send_all(ahead, deadline)
        if header is None:
            self._transport.send_all(frame, deadline)
        else:
            self._transport.send_apart(header, data, deadline)
        self.frames_sent += 1
        self.messages_sent += fin

    def _write_batch(self, messages: list[DataLike], deadline: Deadline | None) -> None:
        with self._state_lock:
            ahead = self._take_ahead()
            frames = self._protocol.serialize_messages(messages)
        self._transport.send_all(ahead + frames, deadline)
        self.frames_sent += len(messages)
        self.messages_sent += len(messages)

    def _wait_for_peer(self, deadline: Deadline) -> None:
        is_open = self._protocol.state is State.OPEN
        if is_open and not self._transport.wait_writable(deadline):
            raise SendTimeout(f"the peer did not read for {deadline.timeout} s")

    def _take_ahead(self) -> bytes:
        """Return what is to be written before the next data frame; with both locks held.

        What was posted before must be there before: the next frame may have been compressed
        knowing that.
        """
        if not self._protocol.has_output or self._protocol.state is not State.OPEN:
            return b""
        return b"".join(self._protocol.data_to_send())

    # --- what many connections send, on any thread ---

    def post(self, frame: bytes, limit: int) -> None:
        """Send a message that was serialized apart, without waiting: the rest goes out later.

        Does nothing if the connection isn't open.

        Args:
            frame: the message.
            limit: bytes that may wait for the peer, if any do.

        Raises:
            SlowPeer: there would be more; nothing was done.
        """
        with self._state_lock:
            if self._protocol.state is not State.OPEN:
                return
            waiting = self.waiting
            if waiting and waiting + len(frame) > limit:
                raise SlowPeer(waiting, limit)
            self._protocol.post(frame)
            self.messages_posted += 1
        self.drain()

    @property
    def waiting(self) -> int:
        """Bytes that wait to be written."""
        return self._transport.backlog_size + self._protocol.output_size + self._moving

    # --- what the protocol has to say, on any thread ---

    def drain(self) -> None:
        """Write the protocol's output, as far as nobody has to wait for it.

        Who finds the write lock taken leaves: its holder looks at the output once more after
        releasing it. What the kernel does not take, the timekeeper comes back for.
        """
        lock = self.lock
        if lock._is_owned():
            return  # in a signal handler: the call that it interrupted goes on
        while self.is_behind:
            try:
                if not lock.acquire(blocking=False):
                    return
                if not self._write_output():
                    self._come_back()
                    return
            except OSError as exc:
                self._abort(exc)
                return
            except BaseException as exc:  # raised by a signal handler
                self._abort(exc)
                raise
            finally:
                try:  # noqa: SIM105  # as in _exclusively()
                    lock.release()
                except RuntimeError:  # it was not acquired
                    pass

    @property
    def is_behind(self) -> bool:
        """Whether something waits to be written."""
        return self._protocol.has_output or self._transport.pending

    def flush(self, deadline: Deadline) -> None:
        """Block until the protocol's output and the backlog are written.

        Raises:
            ConcurrencyError: the calling thread is writing already.
            TimeoutError: the peer did not read them in time; they stay.
            Broken: the connection broke, and is cut.
        """
        lock = self.lock
        if lock._is_owned():
            raise ConcurrencyError("a signal handler can't flush while it interrupts a send")
        while self.is_behind:
            try:
                if not (
                    wait_for_lock(lock, deadline.lock_timeout())
                    and self._transport.wait_writable(deadline)
                ):
                    raise TimeoutError(f"the peer did not read for {deadline.timeout} s")
                self._write_output()
            except TimeoutError:
                raise
            except OSError as exc:
                self._abort(exc)
                raise Broken from exc
            except BaseException as exc:  # raised by a signal handler
                self._abort(exc)
                raise
            finally:
                try:  # noqa: SIM105  # as in _exclusively()
                    lock.release()
                except RuntimeError:  # it was not acquired
                    pass
                self.drain()  # what found the lock taken; the timekeeper comes back for the rest

    def close(self) -> None:
        """Release the descriptor, once whoever writes has noticed that the connection is cut."""
        message = self._fragmented
        if message is not None:
            message.done.set()
        with self.lock:
            self._closed = True
            timer = self._timer
            if timer is not None:
                timer.cancel()
            self._transport.close()

    def after_fork(self) -> None:
        """Let go of who waits here, in a forked child: nothing is ever written."""
        self._closed = True
        forget_owner(self.lock)
        message = self._fragmented
        if message is not None:
            message.done.set()

    def _write_output(self) -> bool:
        """Write what is queued without waiting; return whether all of it went."""
        # While the kernel takes nothing the rest stays with the protocol, where a pong
        # replaces an older one: a peer that sends pings and does not read costs no memory.
        if not self._transport.flush():
            return False
        with self._state_lock:
            output = self._protocol.data_to_send()
            self._moving = sum(map(len, output))
        for data in output:
            self._moving -= len(data)  # from here on the transport counts it
            if data == SEND_EOF:
                self._transport.finish_sending()
            else:
                self._transport.send_now(data)
        return self._transport.flush()

    def _come_back(self) -> None:
        """See to it that the rest is written once the kernel takes more."""
        if not self._awaits_room and not self._closed:
            self._awaits_room = True
            call_when_writable(self._transport.sock, self._has_room)

    def _has_room(self) -> None:
        self._awaits_room = False
        self._timer = None
        if self._closed:
            return
        self.drain()
        if self._transport.pending and not self._awaits_room:
            # Somebody has the lock, and may have counted on us: not at once again, as the
            # kernel may go on taking more without their writing any.
            self._timer = call_later(DRAIN_INTERVAL, self._has_room)


def _make_write_lock() -> Lock:
    # To the accelerator's lock all green threads (gevent, eventlet) are one and the same.
    green = is_green(threading.Lock())
    lock: Lock = threading.RLock() if green else WriteLock()  # type: ignore[assignment]
    return lock
