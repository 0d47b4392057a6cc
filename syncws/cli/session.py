"""A conversation in a terminal: lines are typed, messages appear above, commands begin with /."""

from __future__ import annotations

import threading

from ..client.client_connection import ClientConnection
from ..exceptions import ConcurrencyError, ConnectionClosed, ProtocolError
from .incoming import Incoming
from .screen import Screen
from .showing import escape

__all__ = ["HELP", "Session"]

#: Seconds to wait for a pong.
PONG_TIMEOUT = 10.0

HELP = """\
Each line that you type is sent as a text message. Lines that begin with / are commands:
  /ping [TEXT]            send a ping, and see how long its pong takes
  /binary 00 ff           send these bytes, in hexadecimal, as a binary message
  /close [CODE [REASON]]  close the connection; the code is 1000 unless you say so
  /help                   show this
  //TEXT                  send a line that begins with /
Ctrl-D closes the connection, Ctrl-C ends it at once."""


class Session:
    """Sends what is typed, and prints what comes. The main thread runs it.

    Args:
        ws: the connection.
        incoming: prints its messages, on ``screen``.
        screen: the terminal.
        as_hex: whether lines are bytes in hexadecimal, to be sent as binary messages.
    """

    def __init__(
        self, ws: ClientConnection, incoming: Incoming, screen: Screen, *, as_hex: bool
    ) -> None:
        self._ws = ws
        self._incoming = incoming
        self._screen = screen
        self._as_hex = as_hex
        self._status = 0
        self._commands = {
            "ping": self._do_ping,
            "binary": self._do_binary,
            "close": self._do_close,
            "help": self._do_help,
        }

    def run(self) -> int:
        """Go on until the connection is closed; return the exit status.

        Raises:
            KeyboardInterrupt: Ctrl-C.
        """
        receiving = threading.Thread(target=self._receive, name="syncws-messages", daemon=True)
        receiving.start()
        try:
            with self._ws:
                self._talk()
        finally:
            receiving.join()  # the connection is closed
        return self._status

    def _talk(self) -> None:
        try:
            for line in iter(self._screen.read_line, None):
                self._do(line)
        except ConnectionClosed:
            pass  # who prints messages says why
        except KeyboardInterrupt:
            self._incoming.mute()  # who pressed it knows
            raise

    def _receive(self) -> None:
        try:
            self._status = self._incoming.run()
        finally:
            self._screen.end()

    def _do(self, line: str) -> None:
        """Send a line, or carry a command out.

        Raises:
            ConnectionClosed: the connection is closed.
        """
        if line.startswith("//"):
            self._send(line[1:])
        elif line.startswith("/"):
            name, _, rest = line[1:].partition(" ")
            command = self._commands.get(name)
            if command is None:
                self._say(f"There is no command /{name}. /help shows them; // sends a line with /.")
            else:
                command(rest.strip())
        else:
            self._send(line)

    def _send(self, line: str) -> None:
        if self._as_hex:
            self._do_binary(line)
        else:
            self._ws.send(line)

    def _do_ping(self, text: str) -> None:
        try:
            ping = self._ws.ping(text or None)
        except (ConcurrencyError, ProtocolError) as exc:
            self._say(f"No ping was sent: {exc}.")
            return
        if ping.wait(PONG_TIMEOUT) and ping.latency is not None:
            self._say(f"The pong came after {ping.latency * 1000:.1f} ms.")
        else:
            self._say(f"No pong came within {PONG_TIMEOUT:.0f} s.")

    def _do_binary(self, text: str) -> None:
        try:
            data = bytes.fromhex(text)
        except ValueError as exc:
            self._say(f"Nothing was sent: it isn't hexadecimal, such as 00 ff: {exc}.")
        else:
            self._ws.send(data)

    def _do_close(self, text: str) -> None:
        code, _, reason = text.partition(" ")
        if code and not (code.isdecimal() and len(code) == 4):
            self._say("The code is a number of four digits: /close 1000 bye")
            return
        try:
            self._ws.close(int(code or 1000), reason.strip())
        except ProtocolError as exc:
            self._say(f"The connection is still open: {exc}.")

    def _do_help(self, _: str) -> None:
        self._screen.print(HELP)

    def _say(self, text: str) -> None:
        self._screen.print(escape(text))
