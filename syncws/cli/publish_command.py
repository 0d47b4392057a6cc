"""``publish``: send messages to a room, from anywhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from ..aliases import Data
from ..exceptions import HubError, PayloadTooBig
from .arguments import add_command, seconds
from .exit_codes import OK, USAGE
from .hubs import add_hub, complain_of_hub, open_hub
from .piping import read_lines
from .showing import complain, note

__all__ = ["add_publish"]

DESCRIPTION = """\
Send messages to all members of a room, in all processes whose servers have the
same hub. Without a MESSAGE each line of standard input is one.
"""

EPILOG = """\
exit status:
  0    all messages are published
  2    the arguments, or the input, can't be understood
  3    the hub can't be reached; the last message may be published or not
  4    the hub refused: a password, or its memory is full

examples:
  %(prog)s --hub redis://localhost/ news "hello, all"
  tail -f log | %(prog)s --hub redis://localhost/ log
"""


def add_publish(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands, "publish", "send messages to a room of a hub", DESCRIPTION, EPILOG
    )
    parser.add_argument("room", metavar="ROOM", help="the room's name")
    parser.add_argument(
        "messages", metavar="MESSAGE", nargs="*", help="what to send; '--' before one with a dash"
    )
    add_hub(parser, "where the room is")
    parser.add_argument(
        "--binary",
        action="store_true",
        help="messages are bytes in hexadecimal, such as 00 ff, and sent as binary",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=seconds,
        default=10.0,
        help="time to go on trying while the hub can't be reached (default: 10)",
    )
    parser.set_defaults(run=run_publish)


def run_publish(args: Any) -> int:
    """Publish each message, in order; return the exit status."""
    hub = open_hub(args)
    if isinstance(hub, int):
        return hub
    with hub:
        published = 0
        try:
            for message in _find_messages(args):
                hub.publish(args.room, message, args.timeout)
                published += 1
        except HubError as exc:
            return complain_of_hub(exc)
        except PayloadTooBig as exc:
            return complain(f"message {published + 1} can't be sent: {exc}", USAGE)
        except UnicodeError:
            return complain("the room or a message isn't text that can be sent", USAGE)
        except ValueError as exc:
            return complain(f"message {published + 1} isn't hexadecimal: {exc}", USAGE)
    return OK


def _find_messages(args: Any) -> Iterator[Data]:
    """Read the messages.

    Raises:
        ValueError: one isn't hexadecimal.
    """
    if not args.messages and sys.stdin is not None and sys.stdin.isatty():
        note("Each line that you type is published; Ctrl-D ends it.")
    for text in args.messages or read_lines():
        yield bytes.fromhex(text) if args.binary else text
