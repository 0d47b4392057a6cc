"""The names of simple-websocket: what stands in ``simple_websocket`` and its submodules."""

from __future__ import annotations

from .library import Library, ours, unavailable

__all__ = ["SIMPLE_WEBSOCKET"]

_ERRORS = ours("stand_in.simple_errors", "ConnectionClosed ConnectionError")

_WS = {
    **ours("stand_in.simple_client", "Client"),
    **ours("stand_in.simple_connection", "Base=SimpleConnection"),
    **ours("stand_in.simple_server", "Server"),
}

_AIO = {
    **unavailable("AioClient", "simple_websocket.Client"),
    **unavailable("AioServer", "simple_websocket.Server"),
}

SIMPLE_WEBSOCKET = Library(
    "simple_websocket",
    "simple-websocket",
    {
        "simple_websocket": {
            **{name: _WS[name] for name in ("Client", "Server")},
            **_AIO,
            **_ERRORS,
        },
        "simple_websocket.aiows": {**_AIO, **_ERRORS},
        "simple_websocket.asgi": {
            **unavailable("WebSocketASGI", "simple_websocket.Server"),
            **_ERRORS,
        },
        "simple_websocket.errors": {
            **_ERRORS,
            **ours("stand_in.simple_errors", "CloseReason SimpleWebsocketError"),
        },
        "simple_websocket.ws": {**_WS, **_ERRORS, **ours("sansio.close", "CloseReason=CloseCode")},
    },
)
