"""A terminal on which a line is typed while others appear above it.

The main thread reads the line, by :func:`input`, which readline gives editing and history if it
is there. Whoever has something to print meanwhile, on another thread, leaves it here and sends a
signal to the main thread: Python runs its handler inside of readline, between two keys, where
printing above the line and drawing it again are safe. A signal that comes just before the main
thread waits for a key would be lost, so it is sent again until it was seen.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import signal
import sys
import threading
import unicodedata
from collections import deque
from typing import Any

__all__ = ["Screen", "history_file"]

#: Lines of history that are kept.
HISTORY_LENGTH = 1000

#: Seconds after which a signal is sent again, at first and at most. Those that come one after the
#: other are often lost: the first wait is what each of many messages takes.
SIGNAL_SOON, SIGNAL_AGAIN = 0.0005, 0.05

#: What wakes the main thread; there is none on Windows, where readline isn't, either.
WAKE = getattr(signal, "SIGUSR1", None)

#: What terminals do since the VT100: go to the beginning of the line and remove what follows; go
#: down in the same column, scrolling at the bottom; keep the cursor's place, and go back to it.
REMOVE_LINE, INDEX, KEEP, GO_BACK = "\r\x1b[J", "\x1bD", "\x1b7", "\x1b8"

#: Colours, which take no room.
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class _Woken(BaseException):
    """Raised in the main thread to end its waiting for a line."""


def history_file() -> pathlib.Path:
    """Return where lines that were typed are kept (XDG Base Directory Specification)."""
    state = os.environ.get("XDG_STATE_HOME", "")
    base = pathlib.Path(state) if os.path.isabs(state) else pathlib.Path.home() / ".local/state"
    return base / "syncws" / "history"


class Screen:
    """Reads lines, on the main thread, and prints, on any.

    A context manager: while it is entered, history is there, and the signal is its own.

    Args:
        prompt: what a line that is typed begins with.
    """

    def __init__(self, prompt: str = "> ") -> None:
        self._prompt = prompt
        self._readline = _import_readline()
        # Of typing and ending: the main thread is not in a call of input() while it has it.
        self._lock = threading.Lock()
        # Held while the signal is sent; leaving waits for that, as nobody else may handle it.
        self._sending = threading.Lock()
        self._left = False
        self._typing = False
        self._ended = False
        self._handling = False  # a signal; one that comes meanwhile is sent again
        self._waiting: deque[tuple[str, threading.Event]] = deque()
        self._handler: Any = None

    # As a stream: what a Tracer writes to.

    encoding = property(lambda self: sys.stdout.encoding)

    def isatty(self) -> bool:
        """Tell that this is a terminal."""
        return True

    def write(self, text: str) -> None:
        """Print whole lines, above the one that is typed."""
        self.print(text.rstrip("\n"))

    def flush(self) -> None:
        """Do nothing: all is printed at once."""

    def print(self, text: str) -> None:
        """Print a line, or several, above the one that is typed; blocks until it is done."""
        printed = threading.Event()
        with self._lock:
            if not self._typing:
                _put(f"{text}\n")
                return
            self._waiting.append((text, printed))
        self._wake(printed)

    def end(self) -> None:
        """Have :meth:`read_line` return nothing from now on, even if it waits. Idempotent."""
        seen = threading.Event()
        with self._lock:
            self._ended = True
            if not self._typing:
                return
            self._waiting.append(("", seen))
        self._wake(seen)

    def _wake(self, seen: threading.Event) -> None:
        wait = SIGNAL_SOON
        while True:
            if WAKE is None:  # pragma: no cover  # Windows: it is printed after the next line
                return
            with self._lock:
                if not self._typing:  # what the main thread had begun may have been interrupted
                    self._print_waiting()
                    return
            with self._sending:
                if self._left or seen.is_set():
                    return
                signal.pthread_kill(threading.main_thread().ident or 0, WAKE)
            if seen.wait(wait):
                return
            wait = min(2 * wait, SIGNAL_AGAIN)

    def read_line(self) -> str | None:
        """Return a line that was typed; ``None`` at the end of input, or after :meth:`end`.

        On the main thread only.

        Raises:
            KeyboardInterrupt: Ctrl-C.
        """
        try:
            with self._lock:
                if self._ended:
                    return None
                self._typing = True
            try:
                line = input(self._prompt)
            except EOFError:
                _put("\n")
                return None
            finally:
                self._settle()
        except _Woken:  # perhaps on the way out, just before it would have done nothing
            self._settle()
            return None
        self._save_history()  # now: the terminal may be closed, which ends the program at once
        return line

    def _settle(self) -> None:
        """Print what others left, now that no line is typed."""
        self._typing = False  # first: from here on the signal's handler does nothing
        with self._lock:
            self._print_waiting()

    def _woken(self, *_: Any) -> None:
        """Handle the signal: on the main thread, while it waits for a key."""
        # It prints what waits by itself when no line is typed. And writing to a stream from within
        # writing to it is an error.
        if not self._typing or self._handling:
            return
        self._handling = True
        try:
            self._handle()
        finally:
            self._handling = False

    def _handle(self) -> None:
        if self._ended:
            _put(REMOVE_LINE)
            self._typing = False  # the next signal must not raise this again
            raise _Woken
        while self._waiting:
            text, printed = self._waiting.popleft()
            self._put_above(text)
            printed.set()

    def _put_above(self, text: str) -> None:
        """Print above the line that is typed, and draw that again with the cursor where it was."""
        typed = "" if self._readline is None else self._readline.get_line_buffer()
        line = f"{self._prompt}{typed}"
        columns, height = shutil.get_terminal_size()
        rows = count_rows(text, columns)
        drawn = f"{REMOVE_LINE}{text}\n{line}"
        if rows < height and count_rows(line, columns) == 1:
            # Only readline knows the cursor's column, and the terminal: make room below, so that
            # nothing scrolls from here on, keep the place, and find it again that many rows down.
            drawn = f"{INDEX * rows}\x1b[{rows}A{KEEP}{drawn}{GO_BACK}\x1b[{rows}B"
        _put(drawn)

    def _print_waiting(self) -> None:
        while self._waiting:
            text, printed = self._waiting.popleft()
            if text:
                _put(f"{text}\n")
            printed.set()

    def __enter__(self) -> Screen:
        if WAKE is not None:  # pragma: no branch
            self._handler = signal.signal(WAKE, self._woken)
            self._left = False
        if self._readline is not None:
            self._readline.set_history_length(HISTORY_LENGTH)
            with contextlib.suppress(OSError):  # there is none yet
                self._readline.read_history_file(str(history_file()))
            self._known = self._readline.get_current_history_length()
        return self

    def __exit__(self, *_: object) -> None:
        if WAKE is not None:  # pragma: no branch
            with self._sending:
                self._left = True
            signal.signal(WAKE, signal.SIG_IGN)  # which drops one that is on its way
            signal.signal(WAKE, self._handler)
        self._save_history()

    def _save_history(self) -> None:
        """Add to the history's file what isn't there yet, unless that can't be written."""
        if self._readline is not None:
            with contextlib.suppress(OSError):
                self._append_history()

    def _append_history(self) -> None:
        path = history_file()
        new = self._readline.get_current_history_length() - self._known
        if new <= 0:
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # For its owner only: what was typed may be secret.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        if hasattr(self._readline, "append_history_file"):
            # Rather than write all of it: another shell may have added to it meanwhile.
            self._readline.append_history_file(new, str(path))
        else:  # pragma: no cover  # editline
            self._readline.write_history_file(str(path))
        self._known += new


def count_rows(text: str, columns: int) -> int:
    """Return how many rows of a terminal a text takes."""
    rows = 0
    for line in COLOUR.sub("", text).split("\n"):
        rows, column = rows + 1, 0
        for character in line:
            wide = unicodedata.east_asian_width(character) in "WF"
            width = 0 if unicodedata.combining(character) else 1 + wide
            column += width
            if column > columns:
                rows, column = rows + 1, width
    return rows


def _put(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _import_readline() -> Any:
    """Return the module that makes :func:`input` an editor; ``None`` if there is none."""
    try:
        import readline
    except ImportError:
        return None
    return readline
