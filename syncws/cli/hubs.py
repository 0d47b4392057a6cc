"""The hub that several commands have: where it is, and what is said if it can't be used."""

from __future__ import annotations

import argparse
import os
from typing import Any

from ..exceptions import HubError, HubUnavailable
from ..foreign import hide_credentials
from ..pubsub.hub import PREFIX, Hub
from .exit_codes import REFUSED, UNREACHABLE, USAGE
from .showing import complain, note

__all__ = [
    "NOT_SHARED",
    "add_hub",
    "complain_of_hub",
    "complain_of_prefix",
    "find_hub",
    "find_prefix",
    "open_hub",
    "open_own_hub",
]

#: Where the hub is, if no argument says so.
VARIABLE = "SYNCWS_HUB"

#: What to say of several processes that have none.
NOT_SHARED = "syncws: rooms aren't shared by the processes: each has its own, without a hub"

#: Seconds that a hub counts as living which was only asked whether it can be used.
ASK_LIFETIME = 1.0


def add_hub(parser: Any, what: str) -> None:
    """Add where the hub is, and the prefix of its keys."""
    parser.add_argument(
        "--hub",
        metavar="URL",
        help=f"{what}, such as redis://localhost:6379/0 (default: ${VARIABLE})",
    )
    parser.add_argument(
        "--prefix",
        type=prefix,
        help=f"what the hub's keys begin with, for all who use its rooms (default: {PREFIX})",
    )


def prefix(text: str) -> str:
    """Return what the hub's keys begin with.

    Raises:
        ArgumentTypeError: they can't begin so.
    """
    if "{}" in text:
        raise argparse.ArgumentTypeError(f"{{}} can't be in a prefix: {text!r}")
    try:
        text.encode()
    except UnicodeError:
        raise argparse.ArgumentTypeError("the prefix isn't text that can be sent") from None
    return text


def find_hub(url: str | None) -> str | None:
    """Return where the hub is, by the argument or the environment; ``None`` if there is none."""
    return url or os.environ.get(VARIABLE) or None


def find_prefix(args: Any) -> str:
    """Return what the hub's keys begin with."""
    return PREFIX if args.prefix is None else args.prefix


def complain_of_prefix() -> int:
    """Say that there is no hub that has it; return the exit status."""
    return complain(f"--prefix is a hub's: give --hub URL, too, or set {VARIABLE}", USAGE)


def open_hub(args: Any) -> Hub | int:
    """Return the hub that arguments or the environment name.

    If there can't be one, return the exit status after saying so.
    """
    url = find_hub(args.hub)
    if url is None:
        return complain(f"which hub? Give --hub URL, or set {VARIABLE}", USAGE)
    try:
        return Hub(url, prefix=find_prefix(args))
    except ValueError:
        shown = hide_credentials(url)
        return complain(f"{shown!r} isn't a hub's URL, such as redis://localhost:6379/0", USAGE)
    except ImportError as exc:
        return complain(str(exc), UNREACHABLE)


def open_own_hub(args: Any, *, ask: bool) -> Hub | int | None:
    """Return the hub of a server, ``None`` if it has none.

    If it refuses, or the URL isn't one, return the exit status after saying so. If it can't be
    reached that is said as well, but it may be there later.

    Args:
        args: the arguments.
        ask: whether to find out if it can be used.
    """
    if find_hub(args.hub) is None:
        return None if args.prefix is None else complain_of_prefix()
    hub = open_hub(args)
    if isinstance(hub, int) or not ask:
        return hub
    try:
        hub.backend.beat(hub.node, ASK_LIFETIME, ())
    except HubUnavailable as exc:
        note(f"syncws: {exc}; rooms work once it is there")
    except HubError as exc:
        hub.close()
        return complain_of_hub(exc)
    return hub


def complain_of_hub(exc: HubError) -> int:
    """Say why a hub can't be used; return the exit status."""
    return complain(str(exc), UNREACHABLE if isinstance(exc, HubUnavailable) else REFUSED)
