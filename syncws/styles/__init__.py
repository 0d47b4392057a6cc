"""The styles of other libraries: Tornado's handlers, and websocket-client's callbacks and calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import websocket_client as _websocket_client
from .tornado import *  # noqa: F403
from .tornado import absences as _absences
from .websocket_client import *  # noqa: F403

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        try:
            return getattr(_websocket_client, name)
        except AttributeError:
            raise _absences.explain(__name__, name) from None
