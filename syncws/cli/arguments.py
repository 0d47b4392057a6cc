"""Arguments that several commands have, and what may be in them."""

from __future__ import annotations

import argparse
import re
from typing import Any

from ..sansio.headers import TOKEN

__all__ = [
    "add_address",
    "add_command",
    "add_trace",
    "header",
    "port_number",
    "positive",
    "seconds",
]


def add_command(commands: Any, name: str, summary: str, description: str, epilog: str) -> Any:
    """Add the parser of a command, and return it.

    Args:
        commands: what ``add_subparsers()`` returned.
        name: what is typed.
        summary: one line for the list of commands.
        description: what it does.
        epilog: examples, shown as they are.
    """
    return commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # so that new options never change what a script means
    )


def add_address(parser: Any, port: int | None, otherwise: str = "") -> None:
    """Add where a server listens."""
    parser.add_argument(
        "--host",
        default="localhost",
        help="name or address to listen on; 0.0.0.0 lets other machines in (default: localhost)",
    )
    parser.add_argument(
        "--port",
        type=port_number,
        default=port,
        help=f"port to listen on; 0 finds a free one (default: {otherwise or port})",
    )


def add_trace(parser: Any) -> None:
    """Add whether to show the frames."""
    parser.add_argument(
        "--trace",
        action="store_true",
        help="show each frame that is sent or received: its fields, its bytes, what they mean",
    )


def port_number(text: str) -> int:
    """Return the port that an argument names.

    Raises:
        ArgumentTypeError: it isn't one.
    """
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} isn't a number from 0 to 65535")
    return int(text)


def seconds(text: str) -> float:
    """Return a time in seconds.

    Raises:
        ArgumentTypeError: it isn't one.
    """
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        raise argparse.ArgumentTypeError(f"{text!r} isn't a number of seconds")
    return float(text)


def positive(text: str) -> int:
    """Return a number of messages.

    Raises:
        ArgumentTypeError: it isn't one.
    """
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 10 and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} isn't a number of messages")
    return int(text)


def header(text: str) -> tuple[str, str]:
    """Return name and value of a header.

    Raises:
        ArgumentTypeError: it isn't one.
    """
    name, colon, value = text.partition(":")
    if not colon or not TOKEN.fullmatch(name):
        raise argparse.ArgumentTypeError(f"{text!r} isn't of the form 'Name: value'")
    return name, value.strip(" \t")
