"""The styles of other libraries: Tornado's handlers, and websocket-client's callbacks and calls."""

from __future__ import annotations

from typing import NoReturn

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


def __getattr__(name: str) -> NoReturn:
    raise explain(__name__, name)
