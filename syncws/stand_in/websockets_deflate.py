"""Factories of permessage-deflate with the arguments that websockets has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..options import Deflate
from ..sansio.extensions import permessage_deflate as ours
from ..sansio.extensions.interface import ClientExtensionFactory, ServerExtensionFactory

__all__ = [
    "ClientPerMessageDeflateFactory",
    "ServerPerMessageDeflateFactory",
    "enable_client_permessage_deflate",
    "enable_server_permessage_deflate",
]

Bits = Any  # int, True or None; Literal[True] is an int to type checkers


def _settings(
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Bits,
    client_max_window_bits: Bits,
    compress_settings: Mapping[str, Any] | None,
) -> Deflate:
    """Return these arguments as our settings.

    Of ``compress_settings``, ``level`` and ``memLevel`` count.

    Raises:
        ValueError: one is out of its range.
    """
    how = compress_settings or {}
    return Deflate(
        server_no_context_takeover=server_no_context_takeover,
        client_no_context_takeover=client_no_context_takeover,
        server_max_window_bits=None if server_max_window_bits is True else server_max_window_bits,
        client_max_window_bits=None if client_max_window_bits is True else client_max_window_bits,
        compress_window_bits=15,  # as much as was agreed on
        level=how.get("level", -1),
        memory_level=how.get("memLevel", 8),
    )


class ClientPerMessageDeflateFactory(ours.ClientPerMessageDeflateFactory):
    """Offers permessage-deflate; ``client_max_window_bits=None`` is the same as ``True``."""

    def __init__(
        self,
        server_no_context_takeover: bool = False,
        client_no_context_takeover: bool = False,
        server_max_window_bits: Bits = None,
        client_max_window_bits: Bits = True,
        compress_settings: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            _settings(
                server_no_context_takeover,
                client_no_context_takeover,
                server_max_window_bits,
                client_max_window_bits,
                compress_settings,
            )
        )


class ServerPerMessageDeflateFactory(ours.ServerPerMessageDeflateFactory):
    """Accepts offers of permessage-deflate."""

    def __init__(
        self,
        server_no_context_takeover: bool = False,
        client_no_context_takeover: bool = False,
        server_max_window_bits: Bits = None,
        client_max_window_bits: Bits = None,
        compress_settings: Mapping[str, Any] | None = None,
        require_client_max_window_bits: bool = False,
    ) -> None:
        super().__init__(
            _settings(
                server_no_context_takeover,
                client_no_context_takeover,
                server_max_window_bits,
                client_max_window_bits,
                compress_settings,
            ),
            required=require_client_max_window_bits,
        )


def enable_client_permessage_deflate(
    extensions: Sequence[ClientExtensionFactory] | None,
) -> Sequence[ClientExtensionFactory]:
    """Return the factories, and one of compression if none of them is."""
    return _enable(extensions, ClientPerMessageDeflateFactory(compress_settings={"memLevel": 5}))


def enable_server_permessage_deflate(
    extensions: Sequence[ServerExtensionFactory] | None,
) -> Sequence[ServerExtensionFactory]:
    """Return the factories, and one of compression if none of them is."""
    return _enable(
        extensions,
        ServerPerMessageDeflateFactory(
            server_max_window_bits=12,
            client_max_window_bits=12,
            compress_settings={"memLevel": 5},
        ),
    )


def _enable(extensions: Sequence[Any] | None, factory: Any) -> Sequence[Any]:
    there = extensions or []
    if any(other.name == factory.name for other in there):
        return there
    return [*there, factory]
