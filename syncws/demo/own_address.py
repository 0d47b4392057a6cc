"""Which address of this machine others reach."""

from __future__ import annotations

import ipaddress
import socket

__all__ = ["find_own_address"]

#: An address that no machine has (RFC 5737): the way to it is the way to everywhere.
ELSEWHERE = ("192.0.2.1", 9)


def find_own_address() -> str | None:
    """Return the IPv4 address that this machine has in its network; ``None`` if it is in none.

    Sends nothing: connecting a UDP socket only looks the way up.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(ELSEWHERE)
            address: str = sock.getsockname()[0]
    except OSError:
        return None
    ip = ipaddress.ip_address(address)
    return None if ip.is_loopback or ip.is_unspecified else address
