"""The names of websockets: what stands in its modules, the synchronous ones and what both share.

``websockets.connect``, ``websockets.serve`` and all else of its ``asyncio``, ``trio`` and
``legacy`` packages is asynchronous.
"""

from __future__ import annotations

from .library import Library, Names, ours, unavailable

__all__ = ["WEBSOCKETS"]

_EXCEPTIONS = ours(
    "exceptions",
    "ConcurrencyError ConnectionClosed ConnectionClosedError ConnectionClosedOK "
    "DuplicateParameter HeaderLineTooLong InvalidHandshake InvalidHeader InvalidHeaderFormat "
    "InvalidHeaderValue InvalidMessage InvalidMethod InvalidOrigin InvalidParameterName "
    "InvalidParameterValue InvalidProtocol InvalidProxy InvalidProxyMessage InvalidProxyStatus "
    "InvalidState InvalidStatus InvalidURI InvalidUpgrade NegotiationError PayloadTooBig "
    "ProtocolError ProxyError RequestLineTooLong SecurityError StatusLineTooLong "
    "TooManyFragments TooManyHeaders WebSocketException",
)

_OLDER_EXCEPTIONS = ours(
    "exceptions", "AbortHandshake InvalidStatusCode RedirectHandshake WebSocketProtocolError"
)

_HEADERS = {
    **ours("sansio.headers", "Headers HeadersLike"),
    **ours("exceptions", "MultipleValuesError"),
}

_OPCODES = ours(
    "stand_in.websockets_values",
    "CONT TEXT BINARY CLOSE PING PONG OP_CONT=CONT OP_TEXT=TEXT OP_BINARY=BINARY OP_CLOSE=CLOSE "
    "OP_PING=PING OP_PONG=PONG",  # the last six until version 17
)

_FRAMES = {
    **_OPCODES,
    **ours("sansio.close", "Close CloseCode OK_CLOSE_CODES=OK_CODES"),
    **ours("sansio.frames", "DATA_OPCODES CTRL_OPCODES=CONTROL_OPCODES Frame Opcode"),
    **ours("stand_in.websockets_values", "CLOSE_CODE_EXPLANATIONS EXTERNAL_CLOSE_CODES"),
}

_PROTOCOL = {
    **ours("sansio.protocol", "Event Protocol SEND_EOF"),
    **ours("sansio.state", "Side=Role State"),
    **ours("stand_in.websockets_values", "CLIENT SERVER CONNECTING OPEN CLOSING CLOSED"),
}

_HTTP11 = {
    **ours("client.client_connection", "USER_AGENT"),
    **ours("sansio.http11", "Request Response"),
    **ours("server.server_connection", "SERVER=SERVER_HEADER"),
}

_EXTENSIONS = ours(
    "sansio.extensions.interface", "ClientExtensionFactory Extension ServerExtensionFactory"
)

_TYPING = {
    **ours(
        "aliases",
        "BytesLike ConnectionOption Data DataLike ExtensionHeader ExtensionName "
        "ExtensionParameter LoggerLike Origin PathLike StatusLike Subprotocol UpgradeProtocol",
    ),
}

_URI = ours("sansio.uri", "WebSocketURI parse_uri")

_CLIENT_PROTOCOL = ours("sansio.client_protocol", "ClientProtocol")
_SERVER_PROTOCOL = ours("sansio.server_protocol", "ServerProtocol")

# --- the synchronous half --------------------------------------------------------

# What programs import from these modules, although others define it.
_SEEN_IN_ALL = {
    **ours("exceptions", "ConnectionClosed ConnectionClosedError ConnectionClosedOK"),
    **ours("sansio.close", "CloseCode"),
    **ours("sansio.headers", "Headers HeadersLike"),
    **ours("sansio.protocol", "Event Protocol"),
    **ours("sansio.state", "State"),
    **ours("aliases", "BytesLike Data DataLike LoggerLike Origin Subprotocol"),
    **ours("stand_in.websockets_values", "CONNECTING OPEN CLOSING CLOSED"),
    **ours("stand_in.websockets_connection", "Connection"),
    **ours("sansio.http11", "Request Response"),
}

_SYNC_CLIENT = {
    **_SEEN_IN_ALL,
    **_CLIENT_PROTOCOL,
    **_URI,
    **ours("client.client_connection", "ClientConnection USER_AGENT"),
    **ours("exceptions", "InvalidStatus ProxyError SecurityError"),
    **ours("stand_in.websockets_calls", "backoff process_exception"),
    **ours("stand_in.websockets_calls", "connect reconnect unix_connect unix_reconnect"),
}

_SYNC_CONNECTION = {
    **_SEEN_IN_ALL,
    **_FRAMES,
    **ours("server.broadcasting", "broadcast"),
}

_SYNC_SERVER = {
    **_SEEN_IN_ALL,
    **_SERVER_PROTOCOL,
    **ours("exceptions", "InvalidHeader InvalidHandshake"),
    **ours("server.auth", "basic_auth"),
    **ours("server.broadcasting", "broadcast"),
    **ours("server.threading_server", "Server=ThreadingServer WebSocketServer=ThreadingServer"),
    **ours("server.server_connection", "ServerConnection"),
    **ours("stand_in.websockets_calls", "serve unix_serve"),
}

_SYNC_ROUTER = {
    **ours("server.url_route", "Router=URLMapRouter"),
    **ours("stand_in.websockets_calls", "route unix_route"),
}

# --- the asynchronous half -------------------------------------------------------

_CLIENT = {
    **unavailable("connect", "websockets.sync.client.connect()"),
    **unavailable("unix_connect", "websockets.sync.client.unix_connect()"),
    **unavailable("ClientConnection", "websockets.sync.client.ClientConnection"),
}

_SERVER = {
    **unavailable("serve", "websockets.sync.server.serve()"),
    **unavailable("unix_serve", "websockets.sync.server.unix_serve()"),
    **unavailable("basic_auth", "websockets.sync.server.basic_auth()"),
    **unavailable("broadcast", "websockets.sync.server.broadcast()"),
    **unavailable("Server", "websockets.sync.server.Server"),
    **unavailable("ServerConnection", "websockets.sync.server.ServerConnection"),
}

_ROUTER = {
    **unavailable("route", "websockets.sync.router.route()"),
    **unavailable("unix_route", "websockets.sync.router.unix_route()"),
    **unavailable("Router", "websockets.sync.router.Router"),
}

_BROADCAST = unavailable("broadcast", "websockets.sync.server.broadcast()")

_CONNECTION = unavailable("Connection", "websockets.sync.connection.Connection")

_LEGACY_AUTH = unavailable(
    "BasicAuthWebSocketServerProtocol basic_auth_protocol_factory",
    "websockets.sync.server.basic_auth()",
)
_LEGACY_CLIENT = {
    **unavailable("WebSocketClientProtocol", "websockets.sync.client.ClientConnection"),
    **unavailable("Connect", "websockets.sync.client.connect()"),
}
_LEGACY_PROTOCOL = unavailable("WebSocketCommonProtocol", "websockets.sync.connection.Connection")
_LEGACY_SERVER = {
    **unavailable("WebSocketServer", "websockets.sync.server.Server"),
    **unavailable("WebSocketServerProtocol", "websockets.sync.server.ServerConnection"),
    **unavailable("Serve", "websockets.sync.server.serve()"),
}
_LEGACY = {**_LEGACY_AUTH, **_LEGACY_CLIENT, **_LEGACY_PROTOCOL, **_LEGACY_SERVER}

_ASYNCHRONOUS: dict[str, Names] = {
    "websockets.asyncio": {},
    "websockets.asyncio.client": {
        **_CLIENT,
        **ours("stand_in.websockets_calls", "backoff process_exception"),
    },
    "websockets.asyncio.connection": {**_CONNECTION, **_BROADCAST},
    "websockets.asyncio.router": _ROUTER,
    "websockets.asyncio.server": _SERVER,
    "websockets.legacy": {},
    "websockets.legacy.auth": _LEGACY_AUTH,
    "websockets.legacy.client": {**_CLIENT, **_LEGACY_CLIENT},
    "websockets.legacy.exceptions": {**_OLDER_EXCEPTIONS, **_EXCEPTIONS},
    "websockets.legacy.protocol": {**_LEGACY_PROTOCOL, **_BROADCAST},
    "websockets.legacy.server": {**_SERVER, **_LEGACY_SERVER},
    "websockets.trio": {},
    "websockets.trio.client": _CLIENT,
    "websockets.trio.connection": _CONNECTION,
    "websockets.trio.router": _ROUTER,
    "websockets.trio.server": _SERVER,
}

WEBSOCKETS = Library(
    "websockets",
    "websockets",
    {
        "websockets": {
            **_EXCEPTIONS,
            **_OLDER_EXCEPTIONS,
            **_HEADERS,
            **ours("sansio.close", "Close CloseCode"),
            **ours("sansio.frames", "Frame Opcode"),
            **ours("sansio.http11", "Request Response"),
            **ours("sansio.protocol", "Protocol"),
            **ours("sansio.state", "Side=Role State"),
            **ours(
                "aliases",
                "Data ExtensionName ExtensionParameter LoggerLike Origin StatusLike Subprotocol",
            ),
            **ours("stand_in.versions", "__version__=WEBSOCKETS"),
            **_CLIENT_PROTOCOL,
            **_SERVER_PROTOCOL,
            **_URI,
            **_CLIENT,
            **_SERVER,
            **_ROUTER,
            **_LEGACY,
        },
        "websockets.auth": _LEGACY_AUTH,
        "websockets.client": {
            **_CLIENT_PROTOCOL,
            **_CLIENT,
            **_LEGACY_CLIENT,
            **ours("stand_in.websockets_calls", "backoff process_exception"),
        },
        "websockets.connection": {**_PROTOCOL, **ours("sansio.protocol", "Connection=Protocol")},
        "websockets.datastructures": _HEADERS,
        "websockets.exceptions": {**_EXCEPTIONS, **_OLDER_EXCEPTIONS},
        "websockets.extensions": _EXTENSIONS,
        "websockets.extensions.base": _EXTENSIONS,
        "websockets.extensions.permessage_deflate": {
            **ours("sansio.extensions.permessage_deflate", "PerMessageDeflate"),
            **ours(
                "stand_in.websockets_deflate",
                "ClientPerMessageDeflateFactory ServerPerMessageDeflateFactory "
                "enable_client_permessage_deflate enable_server_permessage_deflate",
            ),
        },
        "websockets.frames": _FRAMES,
        "websockets.headers": ours(
            "sansio.fields",
            "build_authorization_basic build_extension build_host build_subprotocol "
            "build_www_authenticate_basic parse_authorization_basic parse_connection "
            "parse_extension parse_subprotocol parse_upgrade validate_subprotocols",
        ),
        "websockets.http": {**_HEADERS, **ours("client.client_connection", "USER_AGENT")},
        "websockets.http11": _HTTP11,
        "websockets.protocol": _PROTOCOL,
        "websockets.proxy": {
            **ours("client.proxy", "Proxy parse_proxy"),
            **ours("stand_in.websockets_calls", "get_proxy"),
        },
        "websockets.server": {**_SERVER_PROTOCOL, **_SERVER, **_LEGACY_SERVER},
        "websockets.sync": {},
        "websockets.sync.client": _SYNC_CLIENT,
        "websockets.sync.connection": _SYNC_CONNECTION,
        "websockets.sync.router": _SYNC_ROUTER,
        "websockets.sync.server": _SYNC_SERVER,
        "websockets.typing": _TYPING,
        "websockets.uri": _URI,
        "websockets.utils": {
            **ours("sansio.handshake", "accept_key=accept_value generate_key"),
            **ours("accel", "apply_mask"),
        },
        "websockets.version": ours(
            "stand_in.versions",
            "released=RELEASED tag=WEBSOCKETS version=WEBSOCKETS commit=WEBSOCKETS",
        ),
        **_ASYNCHRONOUS,
    },
)
