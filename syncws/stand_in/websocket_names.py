"""The names of websocket-client: what stands in ``websocket`` and its submodules."""

from __future__ import annotations

from .library import Library, ours

__all__ = ["WEBSOCKET"]

_FRAMES = ours(
    "styles",
    "ABNF continuous_frame frame_buffer STATUS_NORMAL STATUS_GOING_AWAY STATUS_PROTOCOL_ERROR "
    "STATUS_UNSUPPORTED_DATA_TYPE STATUS_STATUS_NOT_AVAILABLE STATUS_ABNORMAL_CLOSED "
    "STATUS_INVALID_PAYLOAD STATUS_POLICY_VIOLATION STATUS_MESSAGE_TOO_BIG "
    "STATUS_INVALID_EXTENSION STATUS_UNEXPECTED_CONDITION STATUS_SERVICE_RESTART "
    "STATUS_TRY_AGAIN_LATER STATUS_BAD_GATEWAY STATUS_TLS_HANDSHAKE_ERROR",
)

_APP = ours("styles", "WebSocketApp set_reconnect setReconnect=set_reconnect")

_CORE = ours("styles", "WebSocket create_connection")

_EXCEPTIONS = ours(
    "styles",
    "WebSocketException WebSocketProtocolException WebSocketPayloadException "
    "WebSocketConnectionClosedException WebSocketTimeoutException WebSocketProxyException "
    "WebSocketBadStatusException WebSocketAddressException",
)

_LOGGING = ours(
    "styles",
    "enableTrace isEnabledForTrace isEnabledForError isEnabledForDebug dump error warning debug "
    "info trace",
)

_SOCKET = ours(
    "styles",
    "setdefaulttimeout getdefaulttimeout sock_opt DEFAULT_SOCKET_OPTION recv recv_line send",
)

_ALL = {**_FRAMES, **_APP, **_CORE, **_EXCEPTIONS, **_LOGGING, **_SOCKET}

WEBSOCKET = Library(
    "websocket",
    "websocket-client",
    {
        "websocket": {**_ALL, **ours("stand_in.versions", "__version__=WEBSOCKET_CLIENT")},
        "websocket._abnf": {**_FRAMES, **ours("styles", "VALID_CLOSE_STATUS")},
        "websocket._app": {**_APP, **_CORE, **_EXCEPTIONS, **_FRAMES},
        "websocket._cookiejar": ours("styles", "SimpleCookieJar"),
        "websocket._core": {**_CORE, **_EXCEPTIONS, **_FRAMES, **_SOCKET},
        "websocket._exceptions": _EXCEPTIONS,
        "websocket._handshake": ours(
            "styles", "handshake_response SUPPORTED_REDIRECT_STATUSES SUCCESS_STATUSES"
        ),
        "websocket._http": {**ours("styles", "proxy_info"), **_EXCEPTIONS},
        "websocket._logging": {**_LOGGING, **ours("styles", "_logger=logger")},
        "websocket._socket": {**_SOCKET, **_EXCEPTIONS},
        "websocket._ssl_compat": {
            **ours("stand_in.websocket_values", "HAVE_SSL"),
            "ssl": "/ssl:",
            "SSLError": "/ssl:SSLError",
            "SSLEOFError": "/ssl:SSLEOFError",
            "SSLWantReadError": "/ssl:SSLWantReadError",
            "SSLWantWriteError": "/ssl:SSLWantWriteError",
        },
        "websocket._url": ours("styles", "parse_url get_proxy_info"),
        "websocket._utils": ours(
            "styles", "NoLock validate_utf8 extract_err_message extract_error_code"
        ),
    },
)
