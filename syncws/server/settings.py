"""What the connections of a server have in common, checked once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Callable

from ..aliases import LoggerLike
from ..options import Deflate, MaxSize, Options, deflate_settings
from ..sansio.extensions.interface import ServerExtensionFactory
from ..sansio.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from ..sansio.forwarded import TrustedProxies
from ..sansio.header_limits import MAX_HEADER_SIZE
from ..sansio.headers import Headers
from ..sansio.hosts import validate_hosts
from ..sansio.origins import SAME_ORIGIN, Origins
from ..sansio.server_protocol import ServerProtocol
from .adapting import adapt_handler, adapt_select_subprotocol, in_turn
from .callables import refuse_coroutine
from .rooms import HasRooms
from .routing import Router
from .server_connection import (
    SERVER_HEADER,
    ExtraHeaders,
    Handler,
    ProcessRequest,
    ProcessResponse,
    ServerConnection,
    Upgrade,
)
from .url_maps import MapRouter, UrlMap, is_url_map

__all__ = ["SETTINGS", "Settings", "find_router", "make_settings", "select_settings"]


@dataclass(frozen=True)
class Settings:
    """What the connections of a server have in common.

    Attributes:
        options: limits and times of open connections.
        upgrade: how to answer opening handshakes.
        make_protocol: makes the codec of a connection.
    """

    options: Options
    upgrade: Upgrade
    make_protocol: Callable[[], ServerProtocol]


def make_settings(
    *,
    router: Router | MapRouter | None = None,
    process_request: ProcessRequest | Sequence[ProcessRequest] | None = None,
    process_response: ProcessResponse | None = None,
    origins: Origins = SAME_ORIGIN,
    hosts: Sequence[str] | None = None,
    trusted_proxies: Iterable[Any] | None = None,
    extensions: Sequence[ServerExtensionFactory] | None = None,
    subprotocols: Sequence[str] | None = None,
    select_subprotocol: Callable[..., str | None] | None = None,
    compression: str | Deflate | None = "deflate",
    extra_headers: ExtraHeaders = None,
    server_header: str | None = SERVER_HEADER,
    idle_timeout: float | None = None,
    hub: HasRooms | None = None,
    max_size: MaxSize = 2**20,
    max_header_size: int | None = MAX_HEADER_SIZE,
    max_body_size: int | None = 2**16,
    logger: LoggerLike | None = None,
    **times_and_limits: Any,
) -> Settings:
    """Return what these arguments mean: see :func:`~syncws.serve`, which has them and says more.

    Args:
        router: what looks up paths.
        process_request: see there, as all that isn't said here.
        process_response: see there.
        origins: see there.
        hosts: see there.
        trusted_proxies: see there.
        extensions: see there.
        subprotocols: see there.
        select_subprotocol: see there.
        compression: see there.
        extra_headers: see there.
        server_header: see there.
        idle_timeout: see there.
        hub: see there.
        max_size: see there.
        max_header_size: see there.
        max_body_size: see there.
        logger: see there.
        times_and_limits: what :class:`~syncws.options.Options` has.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: an argument has a wrong value.
    """
    if process_response is not None:
        refuse_coroutine(process_response, "process_response")
    if idle_timeout is not None and idle_timeout <= 0:
        raise ValueError(f"idle_timeout must be positive, got {idle_timeout!r}")
    options = Options(**times_and_limits)
    factories = _extensions(extensions, compression)
    rules = validate_hosts(hosts)

    def make_protocol() -> ServerProtocol:
        return ServerProtocol(
            origins=origins,
            hosts=rules,
            extensions=factories,
            subprotocols=subprotocols,
            max_size=max_size,
            max_header_size=max_header_size,
            max_body_size=max_body_size,
            logger=logger,
        )

    make_protocol()  # so that a wrong argument is an error here, not in a connection
    upgrade = Upgrade(
        in_turn(process_request),
        process_response,
        extra_headers if callable(extra_headers) else Headers(extra_headers or ()),
        server_header,
        adapt_select_subprotocol(select_subprotocol, subprotocols),
        router,
        None if trusted_proxies is None else TrustedProxies(trusted_proxies),
        _check_hub(hub),
    )
    return Settings(options, upgrade, make_protocol)


def _check_hub(hub: HasRooms | None) -> HasRooms | None:
    if hub is not None and not hasattr(hub, "room"):
        raise TypeError(f"hub= is a syncws.pubsub.Hub, not {hub!r}")
    return hub


#: Names of the arguments above, and of those that they stand for.
SETTINGS = {*(make_settings.__kwdefaults__ or {}), *(field.name for field in fields(Options))}


def select_settings(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a function's arguments that are for :func:`make_settings`."""
    return {name: value for name, value in arguments.items() if name in SETTINGS}


def call_route(connection: ServerConnection) -> None:
    """Call the handler that the router found for a connection."""
    match = connection._opening_handshake.match
    if match is None:  # process_response replaced the 404 by a 101
        raise LookupError("no route leads here")
    match.function(connection, **match.values)


def find_router(
    handler: Handler | Router | UrlMap,
) -> tuple[Router | MapRouter | None, Handler]:
    """Return the router, if there is one, and the handler."""
    if isinstance(handler, Router):
        return handler, call_route
    if is_url_map(handler):
        return MapRouter(handler), call_route
    return None, adapt_handler(handler)  # type: ignore[arg-type]  # it refuses other things


def _extensions(
    extensions: Sequence[ServerExtensionFactory] | None,
    compression: str | Deflate | None,
) -> list[ServerExtensionFactory]:
    """Return what to accept."""
    factories = list(extensions or ())
    for factory in factories:
        if not hasattr(factory, "process_request_params"):
            raise TypeError(f"extensions are ServerExtensionFactory objects, not {factory!r}")
    default = Deflate(client_max_window_bits=12)
    settings = deflate_settings(compression, default)
    if settings is not None and all(f.name != "permessage-deflate" for f in factories):
        factories.append(ServerPerMessageDeflateFactory(settings))
    return factories
