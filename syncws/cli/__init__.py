"""The command line: ``python -m syncws``."""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from ..client.client_connection import ClientConnection
from ..client.connect import connect
from ..demo import DEFAULT_PORT, make_server
from ..exceptions import ConnectionClosed, ConnectionClosedError, WebSocketException
from ..sansio.uri import parse_uri
from ..threaded.deadline import Deadline
from ..version import __version__
from .showing import complain, describe, note, show

__all__ = ["main", "show"]

#: Exit status of a program that Ctrl-C ended: 128 + SIGINT.
INTERRUPTED = 130

#: After the end of input: seconds of silence after which nothing more is expected, when fewer
#: messages came than lines were sent, and when enough did; and seconds for all of it.
ANSWER_TIMEOUT = 1.0
QUIET_TIMEOUT = 0.1
ANSWERS_TIMEOUT = 10.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, and return the exit status.

    Args:
        argv: the arguments; those of the process by default.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # rather than fail at an emoji
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.run is None:
        parser.print_help()
        return 0
    try:
        status: int = args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Who read our output is gone. Nothing is left to be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m syncws",
        description="Try WebSockets, from a browser or a terminal.",
        epilog="'%(prog)s COMMAND --help' tells more about a command.",
    )
    parser.add_argument("--version", action="version", version=f"syncws {__version__}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    demo = commands.add_parser(
        "demo",
        help="open a page in your browser that talks to a server here",
        description="Start a server that sends back what it gets, with a page to try it: type "
        "something, and see how long it takes to come back. Ctrl-C stops it.",
    )
    demo.add_argument(
        "--host",
        default="localhost",
        help="name or address to listen on; 0.0.0.0 lets other machines in (default: localhost)",
    )
    demo.add_argument(
        "--port",
        type=port_number,
        help=f"port to listen on; 0 finds a free one (default: {DEFAULT_PORT}, or a free one "
        "if that is taken)",
    )
    demo.set_defaults(run=run_demo)

    client = commands.add_parser(
        "connect",
        help="talk to a WebSocket server, line by line",
        description="Connect to a WebSocket server. Each line that you type is sent as a text "
        "message, and each message that comes is printed on a line: text with control "
        "characters escaped, binary in hexadecimal. At the end of input (Ctrl-D, on Windows "
        "Ctrl-Z and Enter) the connection is closed once the answers have come. Ctrl-C ends "
        "it at once. The exit status is 0 if the connection was closed normally, and 1 if not.",
        epilog="example: echo hello | %(prog)s ws://localhost:8765/",
    )
    client.add_argument(
        "uri", metavar="URI", help="where to connect to, such as ws://localhost:8765/"
    )
    client.set_defaults(run=run_connect)
    return parser


def port_number(text: str) -> int:
    """Return the port that an argument names.

    Raises:
        ArgumentTypeError: it isn't one.
    """
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} isn't a number from 0 to 65535")
    return int(text)


# --- demo ------------------------------------------------------------------------


def run_demo(args: Any) -> int:
    """Serve the demo until Ctrl-C."""
    try:
        with make_server(args.host, args.port) as server:
            url = "http" + server.uri[len("ws") :]
            print(f"Open {url} in a browser; Ctrl-C stops it.", flush=True)
            server.serve_forever()
    except KeyboardInterrupt:
        pass  # just before serving, or again while it ended
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as exc:
        return complain(f"the demo can't start on {args.host}: {describe(exc)}")
    return 0


# --- connect ---------------------------------------------------------------------


def run_connect(args: Any) -> int:
    """Send lines and print messages until the connection is closed."""
    try:
        ws = connect(args.uri)
    except OSError as exc:
        target = parse_uri(args.uri)
        where = exc.filename or f"{target.host} port {target.port}"  # a proxy, perhaps
        return complain(f"can't connect to {where}: {describe(exc)}")
    except (WebSocketException, ValueError, ImportError) as exc:
        return complain(str(exc))
    if sys.stdin is not None and sys.stdin.isatty():
        note("Connected. Each line that you type is sent; Ctrl-C ends it.")
    news = threading.Event()
    with ws:
        # Nothing can wake a thread that waits for input; it doesn't keep the process alive.
        threading.Thread(
            target=send_lines, args=(ws, news), name="syncws-stdin", daemon=True
        ).start()
        return print_messages(ws, news)


def print_messages(ws: ClientConnection, news: threading.Event) -> int:
    """Print messages until the connection is closed, and why; return the exit status.

    Args:
        ws: the connection.
        news: set after each message, and at the end.
    """
    try:
        for message in ws:
            print(show(message), flush=True)
            news.set()
    except ConnectionClosedError as exc:
        if exc.rcvd is not None:
            return complain(f"connection closed: {exc.rcvd}")
        cause = "" if exc.__cause__ is None else f" ({exc.__cause__})"
        return complain(f"connection lost: {exc}{cause}")
    finally:
        news.set()
    note(f"Connection closed: {ws.close_exc.rcvd}")
    return 0


def send_lines(ws: ClientConnection, news: threading.Event) -> None:
    """Send each line of input; at its end, close once the answers have come."""
    sent = 0
    try:
        for line in read_lines():
            ws.send(line)
            sent += 1
    except ConnectionClosed:
        return  # who prints messages says why
    # Servers may answer the close frame before they have answered the last lines. How many
    # messages answer a line is theirs to say; most send one.
    limit = Deadline(ANSWERS_TIMEOUT)
    while not limit.expired:
        news.clear()
        if ws.closed:
            return
        answered = ws.stats.messages_received >= sent
        if not news.wait(QUIET_TIMEOUT if answered else ANSWER_TIMEOUT):
            break
    ws.close()


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
            return  # the terminal is gone: the end of input, too
