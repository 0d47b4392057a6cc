"""Handlers in the style of Tornado: applications, handlers of requests and of WebSockets."""

from __future__ import annotations

from .application import Application, run_forever
from .errors import Finish, HTTPError, MissingArgumentError
from .handler import WebSocketClosedError, WebSocketHandler
from .request_handler import RequestHandler
from .url_spec import URLSpec, url

__all__ = [
    "Application",
    "run_forever",
    "Finish",
    "HTTPError",
    "MissingArgumentError",
    "WebSocketClosedError",
    "WebSocketHandler",
    "RequestHandler",
    "URLSpec",
    "url",
]
