"""Connections and the process: what happens to them at its exit and after a fork.

At the interpreter's exit open connections are closed: each peer is told so
(1001), and what does not answer shortly is cut off. Daemon threads of the
program that use one stay where they are, as daemon threads do: nobody could do
anything about what they would raise. A subinterpreter waits for all its threads:
ours are no daemons there, and are told to end. After a fork the child's copies are of no
use, because two processes can't share one stream: they are closed without a
word, so that the parent's go on.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Callable
from typing import Protocol as Interface

from ..locks import make_rlock
from .blocking import is_main_thread
from .deadline import Deadline
from .interpreters import IS_MAIN, call_at_shutdown

if TYPE_CHECKING:
    from .transport import Transport

__all__ = [
    "Mortal",
    "alive",
    "at_end",
    "count_alive",
    "handles_end",
    "is_exiting",
    "opening",
    "register",
    "start_thread",
    "stay_at_exit",
    "unregister",
]

#: Seconds for all connections together.
EXIT_TIMEOUT = 0.5


#: Seconds that a daemon thread stays at the interpreter's exit. That doesn't take so long, unless
#: somebody waits for the thread's end, or for a lock of the program's that it has.
STAY_TIMEOUT = 1.0


#: Seconds that the interpreter's exit waits for a thread that is being started.
START_TIMEOUT = 1.0


class Mortal(Interface):
    """What ends with the process."""

    def begin_exit(self) -> None:
        """Start to close. Must not block."""

    def end_exit(self, deadline: Deadline) -> None:
        """Finish closing before the deadline."""

    def after_fork(self) -> None:
        """Become unusable, in the child, without touching what the parent shares."""


_exiting = False

# Whether no thread may start any more; true from the end of our part in the exit.
_no_threads = False

# One for each thread that another one than the main thread is just starting, so that the exit can
# wait for that: before Python 3.12, a thread that begins while the interpreter ends may use what is
# gone. Not a lock: starting a thread waits for it to run, and finalizers that run meanwhile, in
# either thread, may start another. The set's methods are atomic.
_starting: set[object] = set()

# Held while threads have stacks of another size than the program wants, which is
# ``_program_stack_size`` then. Not waited for without limit, for the same reason.
_sizing = make_rlock()
_program_stack_size: int | None = None

# The set's methods are atomic.
_alive: set[Mortal] = set()

_at_end: list[Callable[[], None]] = []


def register(mortal: Mortal) -> None:
    """Look after this until :func:`unregister`. Idempotent."""
    _alive.add(mortal)


def unregister(mortal: Mortal) -> None:
    """Stop looking after this. Idempotent."""
    _alive.discard(mortal)


def alive() -> list[Mortal]:
    """Return what is looked after, as of now: open connections, and servers that were started."""
    return list(_alive)


def count_alive() -> int:
    """Return how many there are of these."""
    return len(_alive)


def at_end(function: Callable[[], None]) -> None:
    """Call a function at the end of a subinterpreter, after connections were closed.

    It ends a thread that serves all connections, and that the interpreter would wait for.
    """
    _at_end.append(function)


def is_exiting() -> bool:
    """Tell whether the interpreter ends, and all connections with it."""
    return _exiting


def start_thread(thread: threading.Thread, stack_size: int | None = None) -> None:
    """Start a thread. Once the interpreter ends, only the main thread can. Any thread may call it.

    Args:
        thread: the thread; it becomes a daemon, but in a subinterpreter.
        stack_size: bytes of its stack. ``threading.stack_size()`` is for the whole process: a
            thread that the program starts at the same moment may get such a stack, too.

    Raises:
        RuntimeError: no thread is available, or no memory for one (``__cause__`` is a
            ``MemoryError`` then), or the interpreter ends.
    """
    thread.daemon = IS_MAIN
    if is_main_thread():
        _start(thread, stack_size)
        return
    token = object()
    _starting.add(token)
    try:
        if _no_threads:  # looked at after adding: the exit looks at these after setting it
            raise RuntimeError("can't start new thread: the interpreter ends")
        _start(thread, stack_size)
    finally:
        _starting.discard(token)


def _start(thread: threading.Thread, stack_size: int | None) -> None:
    try:
        _start_with_stack(thread, stack_size)
    except MemoryError as exc:
        raise RuntimeError("can't start new thread: no memory is available") from exc


def _start_with_stack(thread: threading.Thread, stack_size: int | None) -> None:
    global _program_stack_size
    if stack_size is None or not _sizing.acquire(timeout=START_TIMEOUT):
        thread.start()
        return
    try:
        before = threading.stack_size(stack_size)
        if _program_stack_size is None:
            _program_stack_size = before
        try:
            thread.start()
        finally:
            threading.stack_size(before)
            if before == _program_stack_size:
                _program_stack_size = None
    finally:
        _sizing.release()


class _Opening:
    """A transport over which an opening handshake goes on."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def begin_exit(self) -> None:
        """Do nothing: there is nobody to be told."""

    def end_exit(self, deadline: Deadline) -> None:
        """Do nothing."""

    def after_fork(self) -> None:
        self._transport.after_fork()


@contextlib.contextmanager
def opening(transport: Transport) -> Iterator[None]:
    """Close a transport in a child, if a signal handler forks during an opening handshake.

    Otherwise both processes would read the answer, and one cut the other's connection.
    """
    mortal = _Opening(transport)
    register(mortal)
    try:
        yield
    finally:
        unregister(mortal)


# Threads that run code of the program for us, where we see to what that raises. The set's methods
# are atomic, and each thread adds and removes only itself.
_handlers: set[int] = set()


class handles_end:  # used like a function
    """Let this thread raise at the interpreter's exit, as its caller deals with that.

    A context manager; not a generator, since each handler's thread has one as long as it runs.
    """

    __slots__ = ("_is_outermost",)

    def __enter__(self) -> None:
        thread = threading.get_ident()
        self._is_outermost = thread not in _handlers
        _handlers.add(thread)

    def __exit__(self, *_: object) -> None:
        if self._is_outermost:
            _handlers.discard(threading.get_ident())


def stay_at_exit() -> None:
    """Stay here if the interpreter ends, and this is a daemon thread of the program.

    Blocks :data:`STAY_TIMEOUT` seconds at most, then returns.
    """
    if not _exiting or is_main_thread() or threading.get_ident() in _handlers:
        return
    if threading.current_thread().daemon:
        lock = threading.Lock()
        lock.acquire()
        lock.acquire(timeout=STAY_TIMEOUT)


def _exit() -> None:
    global _exiting, _no_threads
    _exiting = True
    try:
        _at_exit()
    finally:
        _no_threads = True
        pause, limit = threading.Event(), Deadline(START_TIMEOUT)
        while _starting and not limit.expired:
            pause.wait(0.001)
        if not IS_MAIN:
            for function in _at_end:
                function()


def _at_exit() -> None:
    deadline = Deadline(EXIT_TIMEOUT)
    left = list(_alive)
    for mortal in left:
        mortal.begin_exit()
    for mortal in left:
        mortal.end_exit(deadline)


def _in_child() -> None:
    # Threads that aren't here may have had these, and have just started others.
    global _sizing, _program_stack_size
    _starting.clear()
    _sizing = make_rlock()
    if _program_stack_size is not None:
        threading.stack_size(_program_stack_size)
        _program_stack_size = None
    _handlers.intersection_update({threading.get_ident()})
    left = list(_alive)
    _alive.clear()
    for mortal in left:
        mortal.after_fork()


if IS_MAIN:
    atexit.register(_exit)
else:
    call_at_shutdown(_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
