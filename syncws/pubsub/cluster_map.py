"""Which node of a Redis cluster has what: asked for, and learned from nodes that say otherwise.

A key is in one of 16,384 slots, and each slot is a node's. Slots move to other nodes when a cluster
is resharded, and when a replica takes over from a node that is gone.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections import deque
from collections.abc import Sequence
from typing import Callable, NamedTuple

from ..exceptions import HubUnavailable
from ..locks import make_rlock
from ..threaded.blocking import forget_owner
from ..threaded.deadline import clock

__all__ = ["SLOTS", "Address", "ClusterMap", "Share", "find_slot"]

SLOTS = 16384

#: Seconds after which nodes are asked again, if what they said turns out to be wrong.
PAUSE = 0.1

#: A node's host and port.
Address = tuple[str, int]


class Share(NamedTuple):
    """Slots that a node has.

    Attributes:
        first: the first of them.
        last: the last of them.
        nodes: where it is, and then its replicas.
    """

    first: int
    last: int
    nodes: list[Address]


def find_slot(key: str) -> int:
    """Return the slot of a key: that of what it has in braces, if it has."""
    _, opened, rest = key.partition("{")
    tag, closed, _ = rest.partition("}")
    return crc_hqx((tag if opened and closed and tag else key).encode(), 0) % SLOTS


class ClusterMap:
    """Knows which node has a slot. Any thread may use it.

    Args:
        addresses: where some of the nodes are.
        ask: returns which node has what, as the one at an address has it. It raises
            :exc:`HubUnavailable` if that can't be reached.
    """

    def __init__(
        self, addresses: Sequence[Address], ask: Callable[[Address], Sequence[Share]]
    ) -> None:
        self._ask = ask
        self._start = list(addresses)
        # Guards all below, and is held while nodes are asked. Re-entrant, because a signal handler
        # may publish while the main thread does.
        self._lock = make_rlock()
        self._known = deque(addresses)  # whoever is asked next is first
        self._owners: dict[int, Address] = {}
        self._is_doubted = True
        self._asked_at = 0.0

    def find(self, slot: int) -> Address:
        """Return where the node is that has a slot. Asks nodes, if what they said was wrong.

        Raises:
            HubError: a node refuses.
            HubUnavailable: none can be reached, or none has the slot.
        """
        with self._lock:
            if self._is_doubted and (not self._owners or clock() - self._asked_at >= PAUSE):
                self._ask_nodes()
            owner = self._owners.get(slot)
        if owner is None:
            raise HubUnavailable(f"no node of the cluster has slot {slot}")
        return owner

    def learn(self, slot: int, address: Address) -> None:
        """Note where a slot is, as a node has said that doesn't have it."""
        with self._lock:
            self._owners[slot] = address
            if address not in self._known:
                self._known.append(address)

    def doubt(self) -> None:
        """Note that what is known may be wrong: nodes are asked before it is used again."""
        self._is_doubted = True

    def after_fork(self) -> None:
        """Let go of what a thread may have that only the parent has."""
        forget_owner(self._lock)

    def _ask_nodes(self) -> None:
        """Ask one node after another until one answers; next time, others first."""
        problem: HubUnavailable | None = None
        self._is_doubted = False
        for _ in range(len(self._known)):
            address = self._known[0]
            self._known.rotate(-1)
            try:
                shares = self._ask(address)
            except HubUnavailable as exc:
                problem = exc
                continue
            except BaseException:
                self._is_doubted = True
                raise
            if shares:
                self._take(shares)
                return
        self._is_doubted = True
        self._asked_at = clock()
        if problem is not None and not self._owners:
            raise problem

    def _take(self, shares: Sequence[Share]) -> None:
        self._owners = {
            slot: share.nodes[0] for share in shares for slot in range(share.first, share.last + 1)
        }
        self._asked_at = clock()
        there = dict.fromkeys(node for share in shares for node in share.nodes)
        there.update(dict.fromkeys(self._start))
        stay = [address for address in self._known if address in there]
        # Whoever was asked just now is last.
        self._known = deque([address for address in there if address not in stay] + stay)
