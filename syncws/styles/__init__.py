"""The styles of other libraries: Tornado's handlers, and websocket-client's callbacks and calls."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .abnf import *  # noqa: F403
from .absences import explain
from .app import WebSocketApp as WebSocketApp
from .app import set_reconnect as set_reconnect
from .application import Application as Application
from .application import run_forever as run_forever
from .client_errors import WebSocketAddressException as WebSocketAddressException
from .client_errors import WebSocketBadStatusException as WebSocketBadStatusException
from .client_errors import WebSocketConnectionClosedException as WebSocketConnectionClosedException
from .client_errors import WebSocketException as WebSocketException
from .client_errors import WebSocketPayloadException as WebSocketPayloadException
from .client_errors import WebSocketProtocolException as WebSocketProtocolException
from .client_errors import WebSocketProxyException as WebSocketProxyException
from .client_errors import WebSocketTimeoutException as WebSocketTimeoutException
from .handler import WebSocketClosedError as WebSocketClosedError
from .handler import WebSocketHandler as WebSocketHandler
from .request_handler import RequestHandler as RequestHandler
from .tracing import enableTrace as enableTrace
from .tracing import isEnabledForTrace as isEnabledForTrace
from .url_spec import URLSpec as URLSpec
from .url_spec import url as url
from .web_errors import Finish as Finish
from .web_errors import HTTPError as HTTPError
from .web_errors import MissingArgumentError as MissingArgumentError
from .websocket import WebSocket as WebSocket
from .websocket import create_connection as create_connection
from .websocket import getdefaulttimeout as getdefaulttimeout
from .websocket import setdefaulttimeout as setdefaulttimeout

# What programs import from submodules of websocket-client, or from all of it with a star. It is
# no part of what one would use by itself, so it is looked up when it is asked for.
_ELSEWHERE = {
    "frame_reading": "continuous_frame frame_buffer",
    "abnf": "VALID_CLOSE_STATUS",
    "socket_functions": "DEFAULT_SOCKET_OPTION recv recv_line send",
    "tracing": ("debug dump error info isEnabledForDebug isEnabledForError logger trace warning"),
    "websocket_urls": "get_proxy_info parse_url proxy_info",
    "websocket_utilities": (
        "NoLock SUCCESS_STATUSES SUPPORTED_REDIRECT_STATUSES SimpleCookieJar extract_err_message "
        "extract_error_code handshake_response sock_opt validate_utf8"
    ),
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        for module, names in _ELSEWHERE.items():
            if name in names.split():
                return getattr(importlib.import_module(f".{module}", __name__), name)
        raise explain(__name__, name)
