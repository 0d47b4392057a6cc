"""The command line: ``python -m syncws``, or ``syncws``.

Each command is a module that adds itself to the parser and has a function that runs it and
returns the exit status. Messages go to standard output, all else that is said to standard error;
whatever others sent is printed with control characters escaped.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from ..version import __version__
from .connect_command import add_connect
from .demo_command import add_demo
from .exit_codes import CLOSED, INTERRUPTED, OK, USAGE
from .proxy_command import add_proxy
from .publish_command import add_publish
from .run_command import add_run
from .serve_command import add_serve
from .showing import complain, describe, note, settle, show
from .subscribe_command import add_subscribe

__all__ = ["main", "show"]

EPILOG = """\
'%(prog)s COMMAND --help' tells more about a command.

examples:
  %(prog)s demo
  %(prog)s serve echo
  %(prog)s connect ws://localhost:8765/
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, and return the exit status.

    Args:
        argv: the arguments; those of the process by default.
    """
    arguments = sys.argv[1:] if argv is None else argv
    if list(arguments[:1]) == ["run"]:
        # The program finds the process as Python has started it, and ends it as it likes.
        return _run(arguments)
    _prepare_streams()
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as exc:
        if not isinstance(exc, BrokenPipeError):  # of that, who read our output knows
            complain(f"can't go on: {describe(exc)}")
        return CLOSED
    finally:
        settle(sys.stdout)
        settle(sys.stderr)


def _run(arguments: Sequence[str]) -> int:
    parser = make_parser()
    args = parser.parse_args(arguments)
    args.arguments = list(arguments)
    if args.run is None:
        parser.print_help()
        return OK
    status: int = args.run(args)
    return status


def _prepare_streams() -> None:
    """Let nothing fail that is read or printed."""
    _replace_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # rather than fail at an emoji
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # half a character may be typed


def _replace_closed_streams() -> None:
    """Put the null device where whoever started this has closed a standard stream.

    Else a socket would get its number, and what is printed for standard error, which isn't there,
    would be among the messages on standard output.
    """
    if sys.stdin is None:  # which is the end of input, without a stream
        try:
            os.fstat(0)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # the lowest number that is free: its own
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


class Parser(argparse.ArgumentParser):
    """A parser whose errors have the right status although nothing can be said."""

    def error(self, message: str) -> NoReturn:
        """Say how the command is used, and what is wrong; then exit."""
        for line in self.format_usage().splitlines():
            note(line)
        note(f"{self.prog}: error: {message}")
        raise SystemExit(USAGE)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    is_script = os.path.basename(sys.argv[0]).partition(".")[0] == "syncws"
    parser = Parser(
        prog="syncws" if is_script else "python -m syncws",
        description="Try WebSockets, from a terminal or a browser.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"syncws {__version__}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for add in (
        add_demo,
        add_connect,
        add_serve,
        add_proxy,
        add_publish,
        add_subscribe,
        add_run,
    ):
        add(commands)
    return parser
