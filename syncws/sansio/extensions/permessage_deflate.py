"""The permessage-deflate extension (RFC 7692).

zlib objects cost tens of KiB each, so they are made when the first message
needs them. Inflating stops at the limit that the caller gives, whatever the
compressed data promises.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable, Sequence
from typing import Any, Callable

from ...accel import CompressorBudget, Deflater, Inflater
from ...exceptions import (
    DuplicateParameter,
    InvalidParameterName,
    InvalidParameterValue,
    NegotiationError,
    ProtocolError,
)
from ...options import Deflate
from ..failures import as_exception
from ..frames import Frame, Opcode
from ..state import Role
from .interface import (
    ClientExtensionFactory,
    Extension,
    ExtensionParameters,
    ServerExtensionFactory,
)
from .zlib_backend import compressor_size, zlib

__all__ = [
    "ClientPerMessageDeflateFactory",
    "PerMessageDeflate",
    "ServerPerMessageDeflateFactory",
]

NAME = "permessage-deflate"

#: zlib has no window of 8 bits for raw deflate. One of 9 is the same on the wire: zlib never
#: looks back more than 262 bytes less than its window, 250, which fits the 256 of 8 bits.
MIN_ZLIB_WINDOW_BITS = 9


class PerMessageDeflate(Extension):
    """The agreed extension of one connection.

    Sending and receiving share no state: one thread may encode while another decodes.

    Args:
        role: the endpoint that this is.
        agreement: what was agreed on; unset window limits are 15.
        settings: what we compress with, within the agreement.
    """

    name = NAME
    rsv = 0x40
    sees_plain_frames = False

    def __init__(self, role: Role, agreement: Deflate, settings: Deflate | None = None) -> None:
        settings = settings or agreement
        self.agreement = agreement
        server = (agreement.server_no_context_takeover, agreement.server_max_window_bits or 15)
        client = (agreement.client_no_context_takeover, agreement.client_max_window_bits or 15)
        local, remote = (server, client) if role is Role.SERVER else (client, server)
        forget_sent, bits = local
        forget_received, inflate_bits = remote
        self._compress_bits = max(min(bits, settings.compress_window_bits), MIN_ZLIB_WINDOW_BITS)
        self._settings = settings
        make_inflater = functools.partial(
            zlib.decompressobj, -max(inflate_bits, MIN_ZLIB_WINDOW_BITS)
        )
        self.inflater: Inflater = Inflater(make_inflater, zlib.error, forget_received)
        self.budget: CompressorBudget = _budget(settings.memory_limit)
        self.deflater: Deflater = Deflater(
            self._make_compressor(),
            zlib.Z_SYNC_FLUSH,
            self.budget,
            compressor_size(self._compress_bits, settings.memory_level),
            forget_sent,
        )
        self._receiving = False  # a compressed message is under way
        self._sending = False

    @property
    def compression(self) -> tuple[Any, ...] | None:  # type: ignore[override]
        """What the accelerator needs to do the same by itself."""
        if type(self) is not PerMessageDeflate:
            return None
        return self.inflater, self.deflater, self._settings.min_size

    def __repr__(self) -> str:
        params = ", ".join(
            f"{field}={getattr(self.agreement, field)}"
            for field in (
                "server_no_context_takeover",
                "client_no_context_takeover",
                "server_max_window_bits",
                "client_max_window_bits",
            )
        )
        return f"PerMessageDeflate({params})"

    # --- receiving ---

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """Return the frame inflated, at once if it is over the limit.

        Raises:
            PayloadTooBig: it inflates to more than ``max_size`` bytes.
            ProtocolError: it isn't deflated data, or a continuation has RSV1 (§6.1).
        """
        if frame.opcode is Opcode.CONT:
            if frame.rsv1:
                raise ProtocolError("RSV1 is set on a continuation frame")
        else:
            self._receiving = frame.rsv1
        if not self._receiving:
            return frame
        data = self.inflater.inflate(frame.data, frame.fin, max_size)
        if isinstance(data, tuple):
            error = as_exception(data)
            assert error is not None
            raise error
        self._receiving = not frame.fin
        return Frame(frame.opcode, data, frame.fin, False, frame.rsv2, frame.rsv3)

    # --- sending ---

    def encode(self, frame: Frame, *, compress: bool | None = None) -> Frame:
        """Return the frame compressed, unless it is too small or the caller says no."""
        if frame.opcode is not Opcode.CONT:
            self._sending = self._worthwhile(frame) if compress is None else compress
        if not self._sending:
            return frame
        if compress is None and frame.fin and frame.opcode is not Opcode.CONT:
            message = self.deflater.deflate_message(frame.data)
            if message is None:
                return frame
            data = message
        else:
            data = self.deflater.deflate(frame.data, frame.fin)
        self._sending = not frame.fin
        rsv1 = frame.opcode is not Opcode.CONT
        return Frame(frame.opcode, data, frame.fin, rsv1, frame.rsv2, frame.rsv3)

    @property
    def share_key(self) -> Hashable:  # type: ignore[override]
        """What compressing a message apart from all others depends on."""
        settings = self._settings
        return (self._compress_bits, settings.level, settings.memory_level, settings.min_size)

    def encode_apart(self, frame: Frame) -> Frame:
        """Return the frame of a message, compressed without regard to those before it."""
        if not frame.data or not self._worthwhile(frame):
            return frame
        compressor = self._make_compressor()()
        data = compressor.compress(frame.data) + compressor.flush(zlib.Z_SYNC_FLUSH)
        if len(data) - 4 >= len(frame.data):
            return frame
        return Frame(frame.opcode, data[:-4], True, True, frame.rsv2, frame.rsv3)

    def forget(self) -> None:
        """Don't refer to messages sent so far: the peer has seen others since (§7.1.1)."""
        self.deflater.forget()

    def _make_compressor(self) -> Callable[[], Any]:
        settings = self._settings
        return functools.partial(
            zlib.compressobj,
            settings.level,
            zlib.DEFLATED,
            -self._compress_bits,
            settings.memory_level,
        )

    def _worthwhile(self, frame: Frame) -> bool:
        # Of a fragmented message we only know the beginning: assume that it gets long.
        return not frame.fin or len(frame.data) >= self._settings.min_size


@functools.cache
def _budget(megabytes: float) -> CompressorBudget:
    """What all connections share whose settings have the same limit."""
    return CompressorBudget(int(megabytes * 2**20))


# --- negotiation -------------------------------------------------------------------


def _parse(params: ExtensionParameters, *, offer: bool) -> tuple[dict[str, Any], bool]:
    """Return the parameters (§7.1), and whether a bare ``client_max_window_bits`` is there."""
    found: dict[str, Any] = {}
    bare = False
    for name, value in params:
        if name in found or (bare and name == "client_max_window_bits"):
            raise DuplicateParameter(name)
        if name in ("server_no_context_takeover", "client_no_context_takeover"):
            if value is not None:
                raise InvalidParameterValue(name, value)
            found[name] = True
        elif name in ("server_max_window_bits", "client_max_window_bits"):
            if value is None and offer and name == "client_max_window_bits":
                bare = True
            elif value in ("8", "9", "10", "11", "12", "13", "14", "15"):
                found[name] = int(value)
            else:
                raise InvalidParameterValue(name, value)
        else:
            raise InvalidParameterName(name)
    return found, bare


def _build(agreement: Deflate, *, bare: bool = False) -> list[tuple[str, str | None]]:
    params: list[tuple[str, str | None]] = []
    if agreement.server_no_context_takeover:
        params.append(("server_no_context_takeover", None))
    if agreement.client_no_context_takeover:
        params.append(("client_no_context_takeover", None))
    if agreement.server_max_window_bits is not None:
        params.append(("server_max_window_bits", str(agreement.server_max_window_bits)))
    if agreement.client_max_window_bits is not None:
        params.append(("client_max_window_bits", str(agreement.client_max_window_bits)))
    elif bare:
        params.append(("client_max_window_bits", None))
    return params


def _refuse_second(accepted_extensions: Sequence[Extension]) -> None:
    if NAME in [other.name for other in accepted_extensions]:
        raise NegotiationError(f"{NAME} is there already")


class ClientPerMessageDeflateFactory(ClientExtensionFactory):
    """Offers permessage-deflate (§7.1).

    Args:
        settings: what is asked for; a client always says that its window can be limited.
    """

    name = NAME

    def __init__(self, settings: Deflate | None = None) -> None:
        self.settings: Deflate = settings or Deflate()

    def get_request_params(self) -> list[tuple[str, str | None]]:
        """Return the parameters of the offer."""
        return _build(self.settings, bare=True)

    def process_response_params(
        self, params: ExtensionParameters, accepted_extensions: Sequence[Extension]
    ) -> PerMessageDeflate:
        """Return the extension, where the answer gives at least what was asked for.

        Raises:
            NegotiationError: it doesn't, or there is one already.
        """
        _refuse_second(accepted_extensions)
        agreement = _check_answer(self.settings, tuple(params))
        return PerMessageDeflate(Role.CLIENT, agreement, self.settings)


@functools.lru_cache(maxsize=16)  # servers of one kind answer alike
def _check_answer(asked: Deflate, params: tuple[tuple[str, str | None], ...]) -> Deflate:
    """Return the agreement that a server's answer makes of what was asked for."""
    found, _ = _parse(params, offer=False)
    if asked.server_no_context_takeover and "server_no_context_takeover" not in found:
        raise NegotiationError("the server doesn't agree to server_no_context_takeover")
    limit = asked.server_max_window_bits
    if limit is not None and found.get("server_max_window_bits", 16) > limit:
        raise NegotiationError(f"the server doesn't agree to server_max_window_bits={limit}")
    limit = asked.client_max_window_bits
    if limit is not None and found.get("client_max_window_bits", 0) > limit:
        raise NegotiationError(f"the server asks for more than client_max_window_bits={limit}")
    if limit is not None:
        found.setdefault("client_max_window_bits", limit)
    if asked.client_no_context_takeover:
        found["client_no_context_takeover"] = True  # a hint that we keep to (§7.1.1.2)
    return Deflate(**found)


class ServerPerMessageDeflateFactory(ServerExtensionFactory):
    """Accepts offers of permessage-deflate (§7.1).

    Args:
        settings: what is asked for; by default that the client's window has 12 bits, if it can
            limit it: a server keeps that window for each client that sends.
        required: decline where the client can't limit its window as asked.
    """

    name = NAME

    def __init__(self, settings: Deflate | None = None, *, required: bool = False) -> None:
        self.settings: Deflate = settings or Deflate(client_max_window_bits=12)
        self.required = required

    def process_request_params(
        self, params: ExtensionParameters, accepted_extensions: Sequence[Extension]
    ) -> tuple[list[tuple[str, str | None]], PerMessageDeflate]:
        """Return the answer and the extension.

        Raises:
            NegotiationError: the offer can't be accepted.
        """
        _refuse_second(accepted_extensions)
        settings = self.settings
        agreement = _answer_offer(settings, self.required, tuple(params))
        return _build(agreement), PerMessageDeflate(Role.SERVER, agreement, settings)


@functools.lru_cache(maxsize=16)  # clients of one kind offer the same
def _answer_offer(
    settings: Deflate, required: bool, params: tuple[tuple[str, str | None], ...]
) -> Deflate:
    """Return the agreement that a server makes of a client's offer."""
    found, bare = _parse(params, offer=True)
    if settings.server_no_context_takeover:
        found["server_no_context_takeover"] = True
    if settings.client_no_context_takeover:
        found["client_no_context_takeover"] = True
    limit = settings.server_max_window_bits
    if limit is not None:
        found["server_max_window_bits"] = min(limit, found.get("server_max_window_bits", 15))
    limit = settings.client_max_window_bits
    if bare or "client_max_window_bits" in found:
        if limit is not None:
            bits = found.get("client_max_window_bits", 15)
            found["client_max_window_bits"] = min(limit, bits)
    elif limit is not None and required:
        # Without the client's word that it can, its window must not be limited (§7.1.2.2).
        raise NegotiationError("the client can't limit its window")
    return Deflate(**found)
