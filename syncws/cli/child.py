"""A process that serves, as the one that supervises it sees it; see :mod:`.worker`."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from ..threaded.deadline import clock
from .worker import Order

__all__ = ["Child"]

#: Seconds that it may take until it serves.
START_TIMEOUT = 60.0


class Child:
    """A process that serves, or is about to, or is ending.

    Args:
        arguments: those of the command line.
        sockets: descriptors of the listening sockets.
        directory: where it starts; ``None``: here.

    Attributes:
        pid: its number.
        pipe: where it says that it serves; ``None`` once it has, or can't any more.
        text: what it says then.
        served_at: when that was.
        kill_at: when it will have had its time.

    Raises:
        OSError: it can't be started.
    """

    def __init__(
        self, arguments: Sequence[str], sockets: Sequence[int], directory: str | None
    ) -> None:
        with contextlib.ExitStack() as stack:
            pipe, ready = os.pipe()
            stack.callback(os.close, ready)
            close_pipe = contextlib.ExitStack()
            stack.push(close_pipe)
            close_pipe.callback(os.close, pipe)
            orders, self._orders = os.pipe()
            stack.callback(os.close, orders)
            close_pipe.callback(os.close, self._orders)
            given = f"--worker={','.join(map(str, sockets))}:{ready}:{orders}"
            command, *others = arguments
            self._process = subprocess.Popen(
                [*_interpreter(), "-m", "syncws", command, given, *others],
                stdin=subprocess.DEVNULL,
                pass_fds=(*sockets, ready, orders),
                cwd=directory,
                start_new_session=True,  # Ctrl-C is for the supervisor, which tells the others
            )
            close_pipe.pop_all()
        self.pid = self._process.pid
        self.pipe: int | None = pipe
        self.text = ""
        self.served_at: float | None = None
        self.kill_at: float | None = clock() + START_TIMEOUT
        self._is_ending = False

    @property
    def status(self) -> int | None:
        """The exit status, less than 0 for a signal; ``None`` while it runs."""
        return self._process.returncode

    def hear(self) -> None:
        """Take in what it says. Blocks if it says nothing."""
        assert self.pipe is not None
        data = os.read(self.pipe, 4096)
        self.text += data.decode()
        if data:
            return
        os.close(self.pipe)
        self.pipe = None
        if self.text:
            self.served_at = clock()
            if not self._is_ending:
                self.kill_at = None

    def end(self, order: Order, timeout: float) -> None:
        """Have it end as ordered, or killed some seconds later."""
        with contextlib.suppress(OSError):  # it has ended
            os.write(self._orders, order.to_line())
        self.kill_at = clock() + timeout
        self._is_ending = True

    def kill(self) -> None:
        """Kill it."""
        # Not by subprocess, which would ask for the exit status, and then reap() could not.
        os.kill(self.pid, signal.SIGKILL)
        self.kill_at = None

    def reaped(self, wait_status: int) -> None:
        """Note that it has ended."""
        self._process.returncode = os.waitstatus_to_exitcode(wait_status)
        os.close(self._orders)
        if self.pipe is not None:
            os.close(self.pipe)

    def fate(self) -> str:
        """Say how it ended."""
        assert self.status is not None
        if self.status < 0:
            return f"process {self.pid} was ended by {signal.Signals(-self.status).name}"
        return f"process {self.pid} ended with status {self.status}"


def _interpreter() -> list[str]:
    """Return how to start this interpreter with its options, such as ``-W error``."""
    options: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return [sys.executable, *options]
