"""What the connections of a server have in common, checked once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from ..aliases import LoggerLike
from ..options import Deflate, MaxQueue, MaxSize, Options, deflate_settings
from ..sansio.extensions.interface import ServerExtensionFactory
from ..sansio.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from ..sansio.forwarded import TrustedProxies
from ..sansio.handshake import Origins
from ..sansio.headers import Headers
from ..sansio.hosts import validate_hosts
from ..sansio.server_protocol import ServerProtocol
from .callables import (
    Handler,
    ProcessRequest,
    adapt_handler,
    adapt_select_subprotocol,
    in_turn,
    refuse_coroutine,
)
from .routing import Router
from .upgrade import ExtraHeaders, ProcessResponse, Upgrade, call_route
from .url_maps import MapRouter, UrlMap, is_url_map

__all__ = ["Settings", "find_router", "make_settings"]


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


def make_settings(  # they are described where programs give them
    *,
    router: Router | MapRouter | None = None,
    process_request: ProcessRequest | Sequence[ProcessRequest] | None = None,
    process_response: ProcessResponse | None = None,
    origins: Origins,
    hosts: Sequence[str] | None,
    trusted_proxies: Iterable[Any] | None,
    extensions: Sequence[ServerExtensionFactory] | None,
    subprotocols: Sequence[str] | None,
    select_subprotocol: Callable[..., str | None] | None,
    compression: str | Deflate | None,
    extra_headers: ExtraHeaders,
    server_header: str | None,
    idle_timeout: float | None,
    max_size: MaxSize,
    max_header_size: int | None,
    max_queue: MaxQueue,
    max_body_size: int | None = 0,
    logger: LoggerLike | None,
    **times_and_limits: Any,
) -> Settings:
    """Return what these arguments mean: see :func:`~syncws.serve`, which has them too.

    ``router`` is what looks up paths; ``times_and_limits`` are what :class:`~.options.Options`
    has besides.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: an argument has a wrong value.
    """
    if process_response is not None:
        refuse_coroutine(process_response, "process_response")
    if idle_timeout is not None and idle_timeout <= 0:
        raise ValueError(f"idle_timeout must be positive, got {idle_timeout!r}")
    options = Options(max_queue=max_queue, **times_and_limits)
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
    )
    return Settings(options, upgrade, make_protocol)


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
    default = Deflate(server_max_window_bits=12, client_max_window_bits=12)
    settings = deflate_settings(compression, default)
    if settings is not None and all(f.name != "permessage-deflate" for f in factories):
        factories.append(ServerPerMessageDeflateFactory(settings))
    return factories
