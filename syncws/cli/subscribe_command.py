"""``subscribe``: print the messages of a room."""

from __future__ import annotations

import argparse
from typing import Any

from ..exceptions import HubError
from ..pubsub.backend import Position
from ..pubsub.listener import Listener
from .arguments import add_command, positive
from .exit_codes import CLOSED, OK, USAGE
from .hubs import add_hub, complain_of_hub, open_hub
from .showing import complain, show

__all__ = ["add_subscribe"]

DESCRIPTION = """\
Print each message of a room on a line: text with control characters escaped, the
first bytes of binary in hexadecimal. It goes on until Ctrl-C, also while the hub
can't be reached: what is published meanwhile comes once it is back.
"""

EPILOG = """\
exit status:
  0    --count messages have come
  1    messages after --since aren't there any more
  2    the arguments can't be understood
  3    the hub can't be reached when it starts
  4    the hub refused: a password, say
  130  Ctrl-C

examples:
  %(prog)s --hub redis://localhost/ news
  %(prog)s --hub redis://localhost/ --positions --count 1 news
"""


def add_subscribe(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands, "subscribe", "print the messages of a room of a hub", DESCRIPTION, EPILOG
    )
    parser.add_argument("room", metavar="ROOM", help="the room's name")
    add_hub(parser, "where the room is")
    parser.add_argument("--count", metavar="N", type=positive, help="end after N messages")
    parser.add_argument(
        "--since",
        metavar="POSITION",
        type=position,
        help="begin with what came after this position, which --positions printed",
    )
    parser.add_argument(
        "--positions",
        action="store_true",
        help="print the position after each message before it, and a tab",
    )
    parser.set_defaults(run=run_subscribe)


def position(text: str) -> Position:
    """Return a place in a room's stream.

    Raises:
        ArgumentTypeError: it isn't one.
    """
    try:
        return Position.parse(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None


def run_subscribe(args: Any) -> int:
    """Print messages as they come; return the exit status."""
    hub = open_hub(args)
    if isinstance(hub, int):
        return hub
    with hub:
        try:
            listener = hub.room(args.room).listen(since=args.since)
        except HubError as exc:
            return complain_of_hub(exc)
        except LookupError as exc:
            return complain(str(exc))
        except UnicodeError:
            return complain("the room's name isn't text that can be sent", USAGE)
        return _print_messages(listener, args)


def _print_messages(listener: Listener, args: Any) -> int:
    for number, entry in enumerate(listener, 1):
        place = f"{entry.position}\t" if args.positions else ""
        print(f"{place}{show(entry.message)}", flush=True)
        if number == args.count:
            return OK
    return CLOSED  # the hub was closed
