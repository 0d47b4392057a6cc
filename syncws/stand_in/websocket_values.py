"""Constants by the names that websocket-client has for them."""

from __future__ import annotations

import importlib.util

__all__ = ["HAVE_SSL"]

#: Whether this Python has TLS.
HAVE_SSL = importlib.util.find_spec("_ssl") is not None
