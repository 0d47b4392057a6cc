"""Several processes that serve the same sockets, and the one that supervises them.

The supervisor makes the listening sockets, once, and hands them to its children, which are fresh
interpreters with the same arguments (see :mod:`.worker`). It keeps them open: clients that wait to
be accepted by a child that ends are accepted by the one that takes its place.

- A child that ends is replaced, after a time that grows if that happens again and again. The first
  ones show whether it can work at all: if one of them ends before it serves, all is over.
- SIGHUP replaces all children, one after the other: the old one goes on until the new one serves,
  and then closes its connections over some time, with 1012 ("service restart").
- SIGTERM and SIGINT end all, over the same time, with 1001; a second one ends them at once.

The supervisor has one thread, which waits for signals and pipes. It handles all the signals that it
needs and reaps all processes that end, so that it can be process 1 of a container.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import select
import signal
from collections.abc import Iterator, Sequence
from typing import Any

from ..sansio.close import CloseCode
from ..server.threading_server import ThreadingServer
from ..threaded.deadline import clock
from .arguments import seconds
from .child import Child
from .exit_codes import CLOSED, OK
from .showing import describe, note
from .terminating import stopping
from .worker import Order, worker

__all__ = ["Supervisor", "add_processes", "run_server", "supervise"]

#: Whether this platform has what a supervisor needs; Windows has not.
CAN_SUPERVISE = hasattr(signal, "SIGHUP")

#: Seconds over which a process closes its connections.
DRAIN_SECONDS = 3.0

#: Seconds until a child that ended is replaced, at first and at most; twice as many each time.
#: Clients that are waiting to be accepted by it wait meanwhile.
BACK_OFF = (0.1, 5.0)

#: Seconds that a child must have served for that to begin anew.
STEADY_TIME = 10.0

#: Seconds that a child may take to end after it has closed its connections.
END_TIMEOUT = 10.0

#: The same when it is to end at once.
AT_ONCE = Order(timeout=1.0)
AT_ONCE_TIMEOUT = 3.0


def add_processes(parser: Any) -> None:
    """Add how many processes serve."""
    group = parser.add_argument_group("processes")
    group.add_argument(
        "--processes",
        metavar="N",
        type=process_count,
        help="serve by N processes, replace those that end, and all of them, one after the other,"
        " at SIGHUP",
    )
    group.add_argument(
        "--drain-seconds",
        metavar="SECONDS",
        type=seconds,
        help="at the end of a process close its connections one by one over this time, so that"
        f" clients don't come back all at once (default: {DRAIN_SECONDS:.0f} with --processes,"
        " otherwise 0)",
    )
    group.add_argument("--worker", type=worker, help=argparse.SUPPRESS)


def process_count(text: str) -> int:
    """Return a number of processes.

    Raises:
        ArgumentTypeError: it isn't one.
    """
    if not CAN_SUPERVISE:
        raise argparse.ArgumentTypeError("Windows can't hand listening sockets to processes")
    if not re.fullmatch("[1-9][0-9]{0,3}", text):
        raise argparse.ArgumentTypeError(f"{text!r} isn't a number of processes")
    return int(text)


def drain_seconds(args: Any) -> float:
    """Return the time over which a process closes its connections, by the arguments."""
    given: float | None = args.drain_seconds
    if given is not None:
        return given
    return 0.0 if args.processes is None else DRAIN_SECONDS


def run_server(args: Any, server: ThreadingServer, text: str) -> None:
    """Serve in this process until it is told to end; it is started already.

    Args:
        args: the arguments.
        server: the server.
        text: what to tell people once it serves.
    """
    drain = drain_seconds(args)
    with stopping(server, drain):
        if args.worker is None:
            print(text, flush=True)
        else:
            args.worker.obey(server, drain)
            args.worker.announce(text)
        server.serve_forever()


def supervise(args: Any, sockets: Sequence[Sequence[Any]]) -> int:
    """Have processes serve, until a signal ends it; return the exit status.

    Args:
        args: the arguments.
        sockets: the listening sockets of each process.

    Raises:
        OSError: no process can be started.
    """
    return Supervisor(args.arguments, sockets, drain_seconds(args)).run()


class Place:
    """One of the processes that there are to be, whichever it is.

    Args:
        sockets: the sockets that it listens on.

    Attributes:
        sockets: the same.
        child: the one that serves, or is about to.
        successor: the one that is to take its place, at a reload, and doesn't serve yet.
        leaving: the one whose place was taken.
        failures: how often in a row a child has ended soon.
        start_at: when to start another one.
    """

    def __init__(self, sockets: Sequence[Any]) -> None:
        self.sockets = sockets
        self.child: Child | None = None
        self.successor: Child | None = None
        self.leaving: Child | None = None
        self.failures = 0
        self.start_at = 0.0


class Supervisor:
    """Keeps processes running that serve. For the main thread.

    Args:
        arguments: those of the command line, for the children.
        sockets: the listening sockets of each process; they are closed at the end.
        drain_seconds: the time over which each closes its connections.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        sockets: Sequence[Sequence[Any]],
        drain_seconds: float,
    ) -> None:
        self._arguments = arguments
        self._drain_seconds = drain_seconds
        self._directory = _find_directory()
        self._places = [Place(each) for each in sockets]
        self._children: dict[int, Child] = {}  # by their numbers
        self._announced = False
        self._stopping = False
        self._status = OK
        self._reloading: Place | None = None
        self._to_reload: list[Place] = []
        self._terminal = next((number for number in range(3) if _is_terminal(number)), None)

    def run(self) -> int:
        """Supervise until a signal ends it; return the exit status.

        Raises:
            OSError: no process can be started.
        """
        with _signals() as pipe:
            try:
                self._supervise(pipe)
            finally:
                self._close_sockets()
                for child in self._children.values():  # there are some if something was raised
                    child.kill()
        return self._status

    def _supervise(self, pipe: int) -> None:
        while self._children or not self._stopping:
            self._wait(pipe, self._start_children())
            for number in _read_signals(pipe):
                self._handle(number)
            self._reap()
            self._kill_overdue()
            self._reload()

    # --- starting ---

    def _start_children(self) -> list[float]:
        """Start the children that are due; return when others will be."""
        times: list[float] = []
        for place in [] if self._stopping else self._places:
            if place.child is None and place.successor is None:
                if place.start_at <= clock():
                    self._start_in(place)
                if place.child is None:
                    times.append(place.start_at)
            if place is self._places[0] and not self._announced and not _has_served(place):
                break  # it shows whether it can work at all
        return times

    def _start_in(self, place: Place) -> None:
        try:
            place.child = self._start(place)
        except OSError as exc:
            if not self._announced:
                raise
            self._retry(place, f"no process can be started: {describe(exc)}")

    def _start(self, place: Place) -> Child:
        numbers = [sock.fileno() for sock in place.sockets]
        child = Child(self._arguments, numbers, self._directory)
        self._children[child.pid] = child
        return child

    def _serves(self, child: Child) -> None:
        """Note that a child serves."""
        for place in self._places:
            if child is place.successor:
                place.leaving, place.child, place.successor = place.child, child, None
                if place.leaving is not None and not self._stopping:
                    self._end(place.leaving, CloseCode.SERVICE_RESTART)
        if not self._announced and all(map(_has_served, self._places)):
            self._announced = True
            print(child.text, flush=True)

    # --- waiting ---

    def _wait(self, signals: int, times: list[float]) -> None:
        """Wait for a signal, or one of these times; hear what children say."""
        pipes = {child.pipe: child for child in self._children.values() if child.pipe is not None}
        times += [each.kill_at for each in self._children.values() if each.kill_at is not None]
        timeout = max(0.0, min(times) - clock()) if times else None
        for pipe in select.select([signals, *pipes], [], [], timeout)[0]:
            child = pipes.get(pipe)
            if child is not None:
                child.hear()
                if child.served_at is not None:
                    self._serves(child)

    def _handle(self, number: int) -> None:
        """Do what a signal asks for."""
        if number == signal.SIGHUP and not self._is_hung_up():
            self._to_reload = [] if self._stopping else list(self._places)
        elif number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            self._stop()

    def _is_hung_up(self) -> bool:
        """Tell whether SIGHUP says that the terminal is gone, rather than to reload."""
        return self._terminal is not None and not _is_terminal(self._terminal)

    # --- ending ---

    def _stop(self, status: int = OK) -> None:
        """Begin to end all; or end them at once, if that has begun."""
        again, self._stopping = self._stopping, True
        self._status = self._status or status
        self._to_reload.clear()
        self._close_sockets()
        leaving = [place.leaving for place in self._places]
        for child in self._children.values():
            if again:
                child.end(AT_ONCE, AT_ONCE_TIMEOUT)
            elif child not in leaving:
                self._end(child, CloseCode.GOING_AWAY)

    def _end(self, child: Child, code: int) -> None:
        child.end(Order(code, self._drain_seconds), self._drain_seconds + END_TIMEOUT)

    def _close_sockets(self) -> None:
        for place in self._places:
            for sock in place.sockets:
                sock.close()

    def _reap(self) -> None:
        """Note which processes have ended. Process 1 has others than its own as well."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                self._reaped(pid, status)

    def _reaped(self, pid: int, status: int) -> None:
        child = self._children.pop(pid, None)
        if child is not None:
            child.reaped(status)
            self._ended(child)

    def _ended(self, child: Child) -> None:
        for place in self._places:
            if child is place.leaving:
                place.leaving = None
            elif child is place.successor:
                place.successor = None
                self._to_reload.clear()
                if not self._stopping:
                    note(f"syncws: {child.fate()}; reloading is given up, the others go on")
            elif child is place.child:
                place.child = None
                if self._stopping:
                    continue
                if not self._announced and child.served_at is None:
                    self._fail(child)
                    continue
                if child.served_at is not None and clock() - child.served_at > STEADY_TIME:
                    place.failures = 0
                self._retry(place, child.fate())

    def _fail(self, child: Child) -> None:
        """End all, because the first children can't serve."""
        status = child.status or 0
        if status <= 0:  # others have said what is wrong
            note(f"syncws: {child.fate()} before it served")
        self._stop(max(status, CLOSED))

    def _retry(self, place: Place, why: str) -> None:
        """Have another process started, later if that has failed before."""
        delay = min(BACK_OFF[0] * 2**place.failures, BACK_OFF[1])
        place.failures += 1
        place.start_at = clock() + delay
        note(f"syncws: {why}; another one starts in {delay:.1f} s")

    def _kill_overdue(self) -> None:
        now = clock()
        for child in self._children.values():
            if child.kill_at is not None and child.kill_at <= now:
                child.kill()

    # --- reloading ---

    def _reload(self) -> None:
        """Go on to the next place once one is done with."""
        place = self._reloading
        if place is not None and place.successor is None and place.leaving is None:
            self._reloading = None
        if self._reloading is None and self._to_reload and self._announced:
            place = self._reloading = self._to_reload.pop(0)
            try:
                place.successor = self._start(place)
            except OSError as exc:
                self._to_reload.clear()
                note(f"syncws: reloading is given up: {describe(exc)}")


def _has_served(place: Place) -> bool:
    return place.child is not None and place.child.served_at is not None


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """Have signals written to a pipe; return the end to read them from."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
    before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, lambda *args: None) for number in numbers}
    try:
        yield read
    finally:
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(before)
        os.close(read)
        os.close(write)


def _read_signals(pipe: int) -> bytes:
    try:
        return os.read(pipe, 512)
    except BlockingIOError:
        return b""


def _find_directory() -> str | None:
    """Return the current directory by the name that the shell has for it, if it has one.

    That may be a link, which leads to a newer version at a reload.
    """
    name = os.environ.get("PWD", "")
    try:
        return name if os.path.samefile(name, os.getcwd()) else None
    except OSError:
        return None


def _is_terminal(number: int) -> bool:
    try:
        return os.isatty(number)
    except OSError:
        return False
