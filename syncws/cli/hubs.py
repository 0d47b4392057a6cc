"""The hub that several commands have: where it is, and what is said if it can't be used."""

from __future__ import annotations

import os
from typing import Any

from ..exceptions import HubError, HubUnavailable
from ..foreign import hide_credentials
from ..pubsub.hub import Hub
from .exit_codes import REFUSED, UNREACHABLE, USAGE
from .showing import complain, note

__all__ = ["NOT_SHARED", "add_hub", "complain_of_hub", "find_hub", "open_hub", "open_own_hub"]

#: Where the hub is, if no argument says so.
VARIABLE = "SYNCWS_HUB"

#: What to say of several processes that have none.
NOT_SHARED = "syncws: rooms aren't shared by the processes: each has its own, without a hub"

#: Seconds that a hub counts as living which was only asked whether it can be used.
ASK_LIFETIME = 1.0


def add_hub(parser: Any, what: str) -> None:
    """Add where the hub is."""
    parser.add_argument(
        "--hub",
        metavar="URL",
        help=f"{what}, such as redis://localhost:6379/0 (default: ${VARIABLE})",
    )


def find_hub(url: str | None) -> str | None:
    """Return where the hub is, by the argument or the environment; ``None`` if there is none."""
    return url or os.environ.get(VARIABLE) or None


def open_hub(url: str | None, **options: Any) -> Hub | int:
    """Return the hub, or the exit status after saying what is wrong.

    Args:
        url: where it is; ``None``: as the environment says.
        options: as for :class:`~syncws.pubsub.Hub`.
    """
    url = find_hub(url)
    if url is None:
        return complain(f"which hub? Give --hub URL, or set {VARIABLE}", USAGE)
    try:
        return Hub(url, **options)
    except ValueError:
        shown = hide_credentials(url)
        return complain(f"{shown!r} isn't a hub's URL, such as redis://localhost:6379/0", USAGE)
    except ImportError as exc:
        return complain(str(exc), UNREACHABLE)


def open_own_hub(url: str | None, *, ask: bool, **options: Any) -> Hub | int | None:
    """Return the hub of a server, ``None`` if it has none.

    If it refuses, or the URL isn't one, return the exit status after saying so. If it can't be
    reached that is said as well, but it may be there later.

    Args:
        url: where it is; ``None``: as the environment says.
        ask: whether to find out if it can be used.
        options: as for :class:`~syncws.pubsub.Hub`.
    """
    if find_hub(url) is None:
        return None
    hub = open_hub(url, **options)
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
