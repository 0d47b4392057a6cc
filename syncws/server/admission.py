"""How many connections there may be, in total and of one address."""

from __future__ import annotations

import socket
from typing import Any

from ..exceptions import InvalidHandshake, ServerBusy
from ..sansio.forwarded import TrustedProxies

__all__ = ["RETRY_AFTER", "Admission", "Refusal", "Seat", "address_key", "shutting_down"]

#: Seconds after which another try makes sense when a server is full or stops.
RETRY_AFTER = 5

#: How IPv4 addresses are written as IPv6 ones (RFC 4291 §2.5.5.2).
MAPPED = b"\0" * 10 + b"\xff\xff"

#: What translators put before IPv4 addresses (NAT64): the well-known prefix (RFC 6052 §2.1), and
#: that of prefixes for local use (RFC 8215), of which it is not known where the address begins.
TRANSLATED = b"\x00\x64\xff\x9b" + b"\0" * 8
TRANSLATED_LOCALLY = b"\x00\x64\xff\x9b\x00\x01"


class Seat:
    """What a connection counts for.

    Attributes:
        counted: whether it has one of ``max_connections``.
        key: the address that it counts for; ``None`` for none.
    """

    __slots__ = ("counted", "key")

    def __init__(self) -> None:
        self.counted = False
        self.key: bytes | None = None


class Refusal:
    """Why a connection isn't let in.

    Attributes:
        reason: a key of :data:`.refusal_log.REASONS`.
        exc: what to say.
        detail: further text for the log only, not for the client; made by ``str()`` when it is
            logged.
    """

    __slots__ = ("detail", "exc", "reason")

    def __init__(self, reason: str, exc: InvalidHandshake, detail: object = "") -> None:
        self.reason = reason
        self.exc = exc
        self.detail = detail


def shutting_down() -> Refusal:
    """Return the refusal of a connection while the server, or the interpreter, ends."""
    return Refusal("shutdown", InvalidHandshake("the server is shutting down"))


class Admission:
    """Counts connections. The roster's lock guards it.

    Args:
        limit: connections at the same time; ``None`` is unlimited.
        address_limit: the same, of one address.
        proxies: whose connections count for the addresses that they tell.
    """

    def __init__(
        self, limit: int | None, address_limit: int | None, proxies: TrustedProxies | None
    ) -> None:
        self._limit = limit
        self._address_limit = address_limit
        self._proxies = proxies
        self._count = 0
        self._by_address: dict[bytes, int] = {}

    def find_key(self, sock: socket.socket) -> bytes | None:
        """Return the address that a socket counts for as long as no proxy says another."""
        if self._address_limit is None or sock.family == getattr(socket, "AF_UNIX", None):
            return None
        try:
            peer = sock.getpeername()
        except OSError:  # gone already
            return None
        return self.find_key_of(peer)

    def find_key_of(self, peer: Any) -> bytes | None:
        """Return what an address counts for, as long as no proxy says another."""
        if self._proxies is not None and self._proxies._is_peer_trusted(peer):
            return None
        return address_key(peer)

    def admit(self, seat: Seat, key: bytes | None) -> Refusal | None:
        """Count a connection, unless that would be one too many; return why not."""
        if self._limit is not None and self._count >= self._limit:
            return Refusal("full", ServerBusy(self._limit, RETRY_AFTER))
        refusal = self._count_address(seat, key)
        if refusal is None:
            seat.counted = True
            self._count += 1
        return refusal

    def admit_forwarded(self, seat: Seat, address: Any) -> Refusal | None:
        """Count a connection for the address that a proxy told; return why it can't be."""
        if self._proxies is None or self._address_limit is None or seat.key is not None:
            return None
        return self._count_address(seat, address_key(address))

    def release(self, seat: Seat) -> None:
        """Forget a connection."""
        if seat.counted:
            seat.counted = False
            self._count -= 1
        key, seat.key = seat.key, None
        if key is not None:
            self._by_address[key] -= 1
            if not self._by_address[key]:
                del self._by_address[key]

    def _count_address(self, seat: Seat, key: bytes | None) -> Refusal | None:
        limit = self._address_limit
        if limit is None or key is None:
            return None
        count = self._by_address.get(key, 0)
        if count >= limit:
            return Refusal("address", ServerBusy(limit, RETRY_AFTER, per_address=True))
        self._by_address[key] = count + 1
        seat.key = key
        return None


def address_key(address: Any) -> bytes | None:
    """Return what connections of one client have in common: IPv4 address, or /64 of IPv6.

    A network gives each of its machines 2**64 IPv6 addresses to choose from. Where an IPv6 address
    stands for an IPv4 address (mapped, or translated) that one counts. ``None`` if it isn't an
    IP address: a Unix socket, or what a proxy says that doesn't know or tell.
    """
    host = address[0] if isinstance(address, tuple) and address else None
    if not isinstance(host, str):
        return None
    try:
        if ":" not in host:
            return socket.inet_pton(socket.AF_INET, host)
        packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    except OSError:
        return None
    if packed.startswith((MAPPED, TRANSLATED)):
        return packed[12:]
    if packed.startswith(TRANSLATED_LOCALLY):
        return packed  # as different as the IPv4 addresses in there
    return packed[:8]
