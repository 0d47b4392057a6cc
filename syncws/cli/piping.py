"""A conversation by pipe: lines of standard input out, messages to standard output."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

from ..client.client_connection import ClientConnection
from ..exceptions import ConnectionClosed
from ..threaded.deadline import Deadline
from .exit_codes import USAGE
from .incoming import Incoming
from .showing import complain

__all__ = ["Piping"]

#: After the end of input: seconds of silence after which nothing more is expected, when fewer
#: messages came than lines were sent, and when enough did; and seconds for all of it.
ANSWER_TIMEOUT = 1.0
QUIET_TIMEOUT = 0.1
ANSWERS_TIMEOUT = 10.0


class Piping:
    """Sends each line of input, and prints the messages that come.

    Args:
        ws: the connection.
        incoming: prints its messages.
        as_hex: whether the lines are bytes in hexadecimal, to be sent as binary messages.
        waits: whether to close only when the server or ``incoming`` does, whatever the input.
    """

    def __init__(
        self, ws: ClientConnection, incoming: Incoming, *, as_hex: bool, waits: bool
    ) -> None:
        self._ws = ws
        self._incoming = incoming
        self._as_hex = as_hex
        self._waits = waits
        self._input_is_wrong = False

    def run(self) -> int:
        """Go on until the connection is closed; return the exit status."""
        # Nothing can wake a thread that waits for input; it doesn't keep the process alive.
        threading.Thread(target=self._send_lines, name="syncws-stdin", daemon=True).start()
        status = self._incoming.run()
        return USAGE if self._input_is_wrong else status

    def _send_lines(self) -> None:
        """Send each line of input; at its end, close once the answers have come."""
        sent = 0
        try:
            for line in read_lines():
                self._ws.send(bytes.fromhex(line) if self._as_hex else line)
                sent += 1
        except ConnectionClosed:
            return  # who prints messages says why
        except ValueError as exc:
            complain(f"line {sent + 1} of the input isn't hexadecimal: {exc}")
            self._input_is_wrong = True
        if self._waits and not self._input_is_wrong:
            return
        self._await_answers(sent)
        self._ws.close()

    def _await_answers(self, sent: int) -> None:
        # Servers may answer the close frame before they have answered the last lines. How many
        # messages answer a line is theirs to say; most send one.
        news = self._incoming.news
        limit = Deadline(ANSWERS_TIMEOUT)
        while not limit.expired:
            news.clear()
            if self._ws.closed:
                return
            answered = self._ws.stats.messages_received >= sent
            if not news.wait(QUIET_TIMEOUT if answered else ANSWER_TIMEOUT):
                return


def read_lines() -> Iterator[str]:
    """Read lines of input, without their ends."""
    if sys.stdin is None:
        return
    # Not sys.stdin itself: the interpreter can't end while a thread waits inside of it.
    with open(
        sys.stdin.fileno(), encoding=sys.stdin.encoding, errors="replace", closefd=False
    ) as lines:
        try:
            for line in lines:
                yield line.rstrip("\n")
        except OSError:
            return  # the terminal is gone, which ends the input
