"""From a name to addresses, in the order in which to try them."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from typing import Any

from ..threaded.deadline import Deadline
from ..threaded.latch import Latch
from ..threaded.lifecycle import start_thread

__all__ = ["Address", "AddressError", "resolve"]

#: What :func:`socket.getaddrinfo` gives: family, type, protocol, canonical name, address.
Address = tuple[Any, Any, int, str, Any]

#: What is raised for a host that isn't known.
AddressError = socket.gaierror


def resolve(host: str, port: int, deadline: Deadline) -> list[Address]:
    """Return the addresses of a host, alternating between families (RFC 8305 §4).

    Blocks until the resolver has answered.

    Raises:
        TimeoutError: it did not answer before the deadline.
        OSError: the host isn't known.
    """
    return _alternate(_look_up(host, port, deadline))


def _look_up(host: str, port: int, deadline: Deadline) -> list[Address]:
    with contextlib.suppress(socket.gaierror):  # it isn't an address, but a name
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    if host == "localhost":
        # This machine, by definition (RFC 6761 §6.3): no server is asked, so it can't take long.
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    done = Latch()
    outcome: list[Any] = []

    def look_up() -> None:
        try:
            outcome.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as exc:
            outcome.append(exc)
        done.set()

    # The resolver can't be interrupted: it goes on in its thread after we stop waiting.
    start_thread(threading.Thread(target=look_up, name="syncws-resolver"))
    if not done.wait(deadline.remaining()):
        raise TimeoutError(f"timed out while looking up {host}")
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return list(outcome[0])


def _alternate(addresses: list[Address]) -> list[Address]:
    # The resolver has sorted them by preference (RFC 6724); a family that leads nowhere must not
    # come before the other with all of its addresses.
    families: dict[Any, list[Address]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    rounds = itertools.zip_longest(*families.values())
    return [address for turn in rounds for address in turn if address is not None]
