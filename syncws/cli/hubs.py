"""The hub that several commands have: where it is, and what is said if it can't be used."""

from __future__ import annotations

import os
from typing import Any

from ..exceptions import HubError, HubUnavailable
from ..foreign import hide_credentials
from ..pubsub.hub import Hub
from .exit_codes import REFUSED, UNREACHABLE, USAGE
from .showing import complain

__all__ = ["add_hub", "complain_of_hub", "open_hub"]

#: Where the hub is, if no argument says so.
VARIABLE = "SYNCWS_HUB"


def add_hub(parser: Any, what: str) -> None:
    """Add where the hub is."""
    parser.add_argument(
        "--hub",
        metavar="URL",
        default=os.environ.get(VARIABLE) or None,
        help=f"{what}, such as redis://localhost:6379/0 (default: ${VARIABLE})",
    )


def open_hub(url: str | None, **options: Any) -> Hub | int:
    """Return the hub, or the exit status after saying what is wrong.

    Args:
        url: where it is.
        options: as for :class:`~syncws.pubsub.Hub`.
    """
    if url is None:
        return complain(f"which hub? Give --hub URL, or set {VARIABLE}", USAGE)
    try:
        return Hub(url, **options)
    except ValueError:
        shown = hide_credentials(url)
        return complain(f"{shown!r} isn't a hub's URL, such as redis://localhost:6379/0", USAGE)
    except ImportError as exc:
        return complain(str(exc), UNREACHABLE)


def complain_of_hub(exc: HubError) -> int:
    """Say why a hub can't be used; return the exit status."""
    return complain(str(exc), UNREACHABLE if isinstance(exc, HubUnavailable) else REFUSED)
