"""websocket-client's options of connections, as arguments of :func:`~syncws.connect`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from ...aliases import BytesLike
from ...client.proxy import is_excluded
from ...client.tls_options import make_context
from ...exceptions import InvalidURI
from ...options import check_limit
from ...sansio.fields import build_host
from ...sansio.headers import Headers
from ...sansio.uri import WebSocketURI, parse_uri
from .abnf import as_bytes
from .errors import InvalidURL, WebSocketProtocolException, WebSocketProxyException
from .urls import environment

__all__ = ["connect_arguments", "parse_ping_payload", "refuse"]

#: What has no meaning here, and what to do instead.
REFUSED = {
    "dispatcher": (
        "there is no event loop: have run_forever() of each application run in a thread of its own"
    ),
    "get_mask_key": "masking keys must be unpredictable (RFC 6455 §10.3); leave it out",
    "suppress_host": "HTTP/1.1 has to have a Host header; leave it out",
}

#: Options that need nothing to be done: they hold anyway, or ignoring them does no harm.
IGNORED = ("enable_multithread", "skip_utf8_validation", "fire_cont_frame", "sockopt")

#: TLS that :class:`ssl.SSLContext` doesn't know of; the connection reads and shakes hands itself.
IGNORED_TLS = ("do_handshake_on_connect", "suppress_ragged_eofs")

REDIRECT_LIMIT = 3

#: Seconds that the server has to answer a close frame.
CLOSE_TIMEOUT = 3

#: Headers that are sent anyway, and the value that one of the program's must contain. For two of
#: them any value will do: a key is drawn for each connection, and extensions have options of their
#: own.
HANDSHAKE_HEADERS = {
    "connection": "upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": None,
    "sec-websocket-extensions": None,
}


def refuse(**options: Any) -> None:
    """Refuse an option that has no meaning here, if one is given, saying what to do instead.

    Raises:
        TypeError: one is.
    """
    for name, value in options.items():
        if value and name in REFUSED:
            raise TypeError(f"{name}= isn't supported: {REFUSED[name]}")


def parse_ping_payload(payload: str | BytesLike) -> bytes:
    """Return the payload of pings as bytes.

    Raises:
        ProtocolError: it has more than 125.
        TypeError: it is something else.
    """
    data = as_bytes(payload, is_text=True)
    if len(data) > 125:
        raise WebSocketProtocolException(f"a ping has at most 125 bytes, got {len(data)}")
    return data


def connect_arguments(
    url: str, sslopt: Mapping[str, Any] | None, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the keyword arguments of :func:`~syncws.connect`.

    What isn't an option of websocket-client's is passed on: it may be one of ``connect()``.

    Args:
        url: where to connect to.
        sslopt: options of TLS.
        options: the others; ``None`` counts as not given.

    Raises:
        InvalidURI: the URL isn't one of a WebSocket server.
        ProxyError: the proxy's port is missing.
        TypeError: an option isn't supported; the text says what to use.
        ValueError: an option has a wrong value, or contradicts another.
    """
    try:
        uri = parse_uri(url)
    except InvalidURI as exc:
        raise InvalidURL(exc.uri, exc.msg) from exc
    refuse(**options)
    rest = {name: value for name, value in options.items() if value is not None}
    for name in (*REFUSED, *IGNORED):
        rest.pop(name, None)
    connection = rest.pop("connection", None)
    if connection:
        _check_own("Connection", connection.rpartition(":")[2])
    headers, subprotocols = _headers(
        rest.pop("header", None), rest.pop("cookie", None), rest.pop("host", None)
    )
    subprotocols = [*rest.pop("subprotocols", ()), *subprotocols]
    arguments: dict[str, Any] = {
        # As in websocket-client: no limit, no offer, no pings.
        "close_timeout": CLOSE_TIMEOUT,
        "max_size": None,
        "compression": None,
        "ping_interval": None,
        "max_redirects": rest.pop("redirect_limit", REDIRECT_LIMIT),
        "additional_headers": headers,
        "subprotocols": list(dict.fromkeys(subprotocols)) or None,
        "origin": _origin(uri, rest),
    }
    proxy_timeout = rest.pop("http_proxy_timeout", None)
    check_limit(proxy_timeout, "http_proxy_timeout")
    if proxy_timeout is not None:
        arguments["open_timeout"] = proxy_timeout
    timeout = rest.pop("timeout", None)
    if timeout is not None:
        arguments["open_timeout"] = timeout
    sock = rest.pop("socket", None)
    proxy = _proxy(uri, rest)
    if sock is not None:
        arguments["sock"] = sock
    else:
        arguments["proxy"] = proxy
    if uri.secure:
        arguments.update(_tls(sslopt or {}))
    arguments.update(rest)
    return arguments


def _headers(
    header: Mapping[str, Any] | Iterable[str] | None, cookie: str | None, host: str | None
) -> tuple[Headers, list[str]]:
    """Return what to add to the request, and the subprotocols that are among the headers."""
    headers = Headers()
    subprotocols: list[str] = []
    for name, value in _pairs(header or ()):
        if name.lower() == "sec-websocket-protocol":
            subprotocols += (item.strip() for item in value.split(",") if item.strip())
        elif name.lower() in HANDSHAKE_HEADERS:
            _check_own(name, value)
        else:
            headers[name] = value
    if cookie:
        cookies = [*headers.get_all("Cookie"), cookie]
        if len(cookies) > 1:
            del headers["Cookie"]
        headers["Cookie"] = "; ".join(cookies)  # RFC 6265 §5.4: there is only one
    if host:
        headers["Host"] = host
    return headers, subprotocols


def _check_own(name: str, value: str) -> None:
    """Refuse a header of the opening handshake with another value than it needs.

    Raises:
        ValueError: the header has another value.
    """
    needed = HANDSHAKE_HEADERS[name.lower()]
    if needed is not None and needed not in (item.strip().lower() for item in value.split(",")):
        raise ValueError(
            f"header {name} belongs to the opening handshake: it has {needed!r}, not {value!r}"
        )


def _pairs(header: Mapping[str, Any] | Iterable[str]) -> Iterable[tuple[str, str]]:
    if isinstance(header, str):
        raise TypeError("header= is a dict, or a list of 'Name: value'")
    pairs = []
    if isinstance(header, Mapping):
        for name, value in header.items():
            if isinstance(value, (bytes, bytearray)):
                raise TypeError(f"header {name} is a str, not {type(value).__name__}")
            if value is not None:
                pairs.append((name, str(value)))
        return pairs
    for line in header:
        if not isinstance(line, str):
            raise TypeError(f"an item of header= is 'Name: value', not {type(line).__name__}")
        name, colon, value = line.partition(":")
        if not colon:
            # Not the line itself: it may be a token.
            raise ValueError("a header is 'Name: value'; an item of header= has no colon")
        pairs.append((name.strip(), value.strip()))
    return pairs


def _origin(uri: WebSocketURI, rest: dict[str, Any]) -> str | None:
    suppressed = rest.pop("suppress_origin", False)
    origin: str | None = rest.pop("origin", None)
    if suppressed:
        return None
    scheme = "https" if uri.secure else "http"
    return origin or f"{scheme}://{build_host(uri.host, uri.port, uri.secure)}"


def _proxy(uri: WebSocketURI, rest: dict[str, Any]) -> str | None:
    """Return the proxy's URL: the one that is given, or that of the environment."""
    host = rest.pop("http_proxy_host", None)
    port = rest.pop("http_proxy_port", None)
    auth = rest.pop("http_proxy_auth", None)
    scheme = rest.pop("proxy_type", None) or "http"
    excluded = rest.pop("http_no_proxy", None)
    if isinstance(excluded, str):
        excluded = [excluded]
    if not excluded and scheme == "http":
        excluded = [environment("no_proxy")]
    if excluded and is_excluded(uri.host, uri.port, ",".join(excluded)):
        return None
    if not host:
        url = environment("https_proxy" if uri.secure else "http_proxy")
        # A value without a scheme was never taken for a proxy.
        return url if "://" in url and urlsplit(url).hostname else None
    if not port:
        raise WebSocketProxyException("http_proxy_host= needs http_proxy_port=")
    credentials = ""
    if isinstance(auth, str):
        raise TypeError("http_proxy_auth= is (user, password)")
    if auth and auth[0]:
        user, password = (quote(part or "", safe="") for part in auth)
        credentials = f"{user}:{password}@"
    name = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"{scheme}://{credentials}{name}:{port}"


def _tls(sslopt: Mapping[str, Any]) -> dict[str, Any]:
    given = {
        name: value
        for name, value in sslopt.items()
        if value is not None and name not in IGNORED_TLS
    }
    context = given.pop("context", None)
    name = given.pop("server_hostname", None)
    if context is None:
        bundle = os.environ.get("WEBSOCKET_CLIENT_CA_BUNDLE", "")
        if os.path.isfile(bundle):
            given.setdefault("ca_certs", bundle)
        elif os.path.isdir(bundle):
            given.setdefault("ca_cert_path", bundle)
        context = make_context(given) if given else None
    elif given:
        raise ValueError(f"sslopt has a context, which has its own {min(given)}; leave one out")
    return {"ssl": context, "server_hostname": name}
