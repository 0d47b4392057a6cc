"""Callbacks and calls in the style of websocket-client."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import abnf
from .abnf import *  # noqa: F403
from .app import WebSocketApp, set_reconnect
from .errors import (
    WebSocketAddressException,
    WebSocketBadStatusException,
    WebSocketConnectionClosedException,
    WebSocketException,
    WebSocketPayloadException,
    WebSocketProtocolException,
    WebSocketProxyException,
    WebSocketTimeoutException,
)
from .tracing import enableTrace, isEnabledForTrace
from .websocket import WebSocket, create_connection, getdefaulttimeout, setdefaulttimeout

__all__ = [
    *abnf.__all__,
    "WebSocketApp",
    "set_reconnect",
    "WebSocketAddressException",
    "WebSocketBadStatusException",
    "WebSocketConnectionClosedException",
    "WebSocketException",
    "WebSocketPayloadException",
    "WebSocketProtocolException",
    "WebSocketProxyException",
    "WebSocketTimeoutException",
    "enableTrace",
    "isEnabledForTrace",
    "WebSocket",
    "create_connection",
    "getdefaulttimeout",
    "setdefaulttimeout",
]

# What programs import from submodules of websocket-client, or from all of it with a star. It isn't
# meant for use by itself, so it is looked up only when asked for.
_ELSEWHERE = {
    "abnf": "VALID_CLOSE_STATUS",
    "frame_reading": "continuous_frame frame_buffer",
    "socket_functions": "DEFAULT_SOCKET_OPTION recv recv_line send",
    "tracing": "debug dump error info isEnabledForDebug isEnabledForError logger trace warning",
    "urls": "get_proxy_info parse_url proxy_info",
    "utilities": (
        "NoLock SUCCESS_STATUSES SUPPORTED_REDIRECT_STATUSES SimpleCookieJar extract_err_message "
        "extract_error_code handshake_response sock_opt validate_utf8"
    ),
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        for module, names in _ELSEWHERE.items():
            if name in names.split():
                return getattr(importlib.import_module(f".{module}", __name__), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
