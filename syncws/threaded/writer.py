"""The writing half of a connection: frames of callers, and what the protocol has to say."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterable
from typing import Any, Callable, TypeVar

from ..aliases import BytesLike, DataLike
from ..exceptions import ConcurrencyError, InvalidState, SendTimeout, SlowPeer
from ..sansio.frames import Opcode
from ..sansio.protocol import SEND_EOF, Protocol
from ..sansio.state import State
from .blocking import Lock, forget_owner, is_main_thread, make_lock, wait_for_lock
from .deadline import Deadline
from .flusher import call_when_writable
from .latch import Latch
from .outgoing import encode_fragments
from .timekeeper import Timer, call_later
from .tracebacks import drop_frames
from .transport import Transport

__all__ = ["Broken", "Writer"]

#: Bytes of a payload from which on it isn't copied behind its header.
LARGE = 1 << 15

#: Seconds after which the timekeeper tries again to write what another thread should have.
DRAIN_INTERVAL = 0.05

#: What a handler is told that would wait for a thread which waits for what it has interrupted.
INTERRUPTED = "a signal handler can't wait for threads that send while it interrupts TLS"

#: What the kernel says of a socket whose peer went away.
PEER_IS_GONE = {errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN}

T = TypeVar("T")


class Broken(Exception):
    """Nothing can be written: the connection isn't open, or just broke, as the cause says."""


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
        # long as the peer likes. Never taken by a thread that holds the state lock; only tried,
        # never waited for, by the reader and the timekeeper. It knows its owner, so that it can
        # be released when a signal handler raised right after it was taken.
        self.lock: Lock = make_lock()
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
        *,
        fin: bool = True,
        message: _FragmentedMessage | None = None,
    ) -> None:
        """Write a data frame: a whole message, or what ``message`` has it as a fragment of.

        Raises:
            ConcurrencyError: the calling thread is sending already.
            SendTimeout: nothing was written in time.
            Broken: the connection isn't open, or broke and is cut.
        """
        deadline = None if timeout is None else Deadline(timeout)
        self._write(self._write_frame, deadline, message, opcode, data, fin, compress)

    def send_batch(self, messages: list[DataLike], timeout: float | None) -> None:
        """Write messages, a frame each, in one piece.

        Raises what :meth:`send` does.
        """
        deadline = None if timeout is None else Deadline(timeout)
        self._write(self._write_batch, deadline, messages)

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
                self.send(kind, data, timeout, compress, fin=number == count, message=message)
            if number and count is None:
                self.send(Opcode.CONT, b"", timeout, compress, message=message)
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
        try:
            self._exclusively(self._write_rest, None if timeout is None else Deadline(timeout))
        except Broken:
            raise
        except BaseException as exc:  # raised by a signal handler: half a frame is out
            self._abort(exc)
            raise
        finally:
            self.drain()

    def _end_fragmented(self, message: _FragmentedMessage) -> None:
        if self._fragmented is message:
            self._fragmented = None
        message.done.set()

    def _write(self, write: Callable[..., None], deadline: Deadline | None, *args: Any) -> None:
        """Call ``write(deadline, *args)``, which begins with the write lock."""
        if self.lock._is_owned():
            raise ConcurrencyError("a signal handler can't send while it interrupts a send")
        try:
            self._exclusively(write, deadline, *args)
        except BaseException:
            self.drain()  # as below, and what the timekeeper found the lock taken for
            raise
        # What came while we held the lock found it taken: we have to write it.
        if self.is_behind:
            self.drain()

    def _exclusively(self, write: Callable[..., T], *args: Any) -> T:
        """Call ``write(*args)``, which takes the write lock; release it, whatever happens.

        Should it fail with the lock held the connection is cut, before others can write: half a
        frame may be out.

        Raises:
            ConcurrencyError: as ``write`` does; nothing was written.
            SendTimeout: the same.
            Broken: the connection isn't open, or broke and is cut.
        """
        lock = self.lock
        try:
            return write(*args)
        except (ConcurrencyError, SendTimeout):
            raise
        except InvalidState as exc:
            raise Broken from exc
        except OSError as exc:
            self._abort(exc)
            # A signal handler may raise others, whose frames the program wants.
            if exc.errno in PEER_IS_GONE or not is_main_thread():
                drop_frames(exc)
            raise Broken from exc
        except BaseException as exc:  # raised by a signal handler
            if lock._is_owned():
                self._abort(exc)
            raise
        finally:
            # One call, so that a signal handler can't raise between looking and releasing.
            try:  # noqa: SIM105  # entering suppress() would be such a point
                lock.release()
            except RuntimeError:  # it was not acquired
                pass

    def _begin(self, deadline: Deadline | None, message: _FragmentedMessage | None) -> None:
        """Wait for the write lock, and for room: once it has it, the caller writes a frame.

        The peer must have room before the frame is made: once compressed or encrypted, it can't
        be taken back.
        """
        self._acquire(deadline, message)
        if message is not None:
            self._fragmented = message
        if deadline is None or self._protocol.state is not State.OPEN:
            return
        if not self._transport.wait_writable(deadline):
            raise SendTimeout(f"the peer did not read for {deadline.timeout} s")

    def _acquire(self, deadline: Deadline | None, message: _FragmentedMessage | None) -> None:
        """Wait for the write lock, and for the end of another thread's fragmented message."""
        while True:
            if not self._wait_for_lock(deadline):
                assert deadline is not None
                raise SendTimeout(f"other threads kept sending for {deadline.timeout} s")
            other = self._fragmented
            if other is None or other is message:
                return
            if other.thread == threading.get_ident():
                raise ConcurrencyError("the fragments of a message can't send messages")
            self.lock.release()
            self.drain()  # whoever came in between found the lock taken
            if self._transport.is_interrupted():
                raise ConcurrencyError(INTERRUPTED)
            if not other.done.wait(None if deadline is None else deadline.remaining()):
                assert deadline is not None
                raise SendTimeout(f"a fragmented message went on for {deadline.timeout} s")
            if self._protocol.close_expected():
                raise Broken

    def _wait_for_lock(self, deadline: Deadline | None) -> bool:
        """Wait for the write lock; return whether it was free in time.

        Raises:
            ConcurrencyError: it is another thread's, which may wait for what we have interrupted.
        """
        if self._transport.is_interrupted():
            if self.lock.acquire(blocking=False):
                return True
            raise ConcurrencyError(INTERRUPTED)
        return wait_for_lock(self.lock, -1 if deadline is None else deadline.lock_timeout())

    def _write_frame(
        self,
        deadline: Deadline | None,
        message: _FragmentedMessage | None,
        opcode: Opcode,
        data: BytesLike,
        fin: bool,
        compress: bool | None,
    ) -> None:
        self._begin(deadline, message)
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

    def _write_batch(self, deadline: Deadline | None, messages: list[DataLike]) -> None:
        self._begin(deadline, None)
        with self._state_lock:
            ahead = self._take_ahead()
            frames = self._protocol.serialize_messages(messages)
        self._transport.send_all(ahead + frames, deadline)
        self.frames_sent += len(messages)
        self.messages_sent += len(messages)

    def _write_rest(self, deadline: Deadline | None) -> None:
        # Whoever has the lock meanwhile writes our rest first, and so does everybody after.
        if wait_for_lock(self.lock, -1 if deadline is None else deadline.lock_timeout()):
            self._transport.send_all(b"", deadline)

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
            if self._protocol.state is State.OPEN:
                waiting = self.waiting
                if waiting and waiting + len(frame) > limit:
                    raise SlowPeer(waiting, limit)
                self._protocol.post(frame)
                self.messages_posted += 1
        self.drain()  # perhaps the close frame, which found the lock taken by whoever posts

    @property
    def waiting(self) -> int:
        """Bytes that wait to be written."""
        return self._transport.backlog_size + self._protocol.output_size + self._moving

    # --- what the protocol has to say, on any thread ---

    def drain(self) -> None:
        """Write the protocol's output, as much of it as nobody has to wait for.

        A thread that finds the write lock taken leaves: its holder looks at the output once more
        after releasing it. What the kernel doesn't take is written once it takes more.
        """
        if self.lock._is_owned():
            return  # in a signal handler: the call that it interrupted goes on
        while self.is_behind:
            try:
                if not self._exclusively(self._try_output):
                    return
            except Broken:
                return

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
        if self.lock._is_owned():
            raise ConcurrencyError("a signal handler can't flush while it interrupts a send")
        while self.is_behind:
            try:
                if not self._exclusively(self._await_output, deadline):
                    raise TimeoutError(f"the peer did not read for {deadline.timeout} s")
            finally:
                self.drain()  # what found the lock taken

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
        # They refer to the connection, which has us: it is to go with its last user.
        self._abort, self._fail = _do_nothing, _do_nothing

    def after_fork(self) -> None:
        """Let go of whoever waits here, in a forked child: nothing is ever written."""
        self._closed = True
        forget_owner(self.lock)
        message = self._fragmented
        if message is not None:
            message.done.set()

    def _try_output(self) -> bool:
        """Write what is queued if the lock is free; return whether all of it went."""
        if not self.lock.acquire(blocking=False):
            return False
        written = self._write_output()
        if not written:
            self._come_back()
        return written

    def _await_output(self, deadline: Deadline) -> bool:
        """Write what is queued once that is possible; return whether it was, in time."""
        in_time = self._wait_for_lock(deadline) and self._transport.wait_writable(deadline)
        if in_time:
            self._write_output()
        return in_time

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
        """Have the rest written once the kernel takes more."""
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


def _do_nothing(*_: object) -> None:
    pass
