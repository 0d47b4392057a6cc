"""redis-py's clients, as hubs need them: with limits in time, and errors that are ours."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ..exceptions import HubError, HubUnavailable
from .cluster_map import Address, ClusterMap, Share

try:
    import redis
    import redis.connection
except ImportError as exc:
    raise ImportError('rooms in Redis need redis-py: pip install "syncws[redis]"') from exc

# As redis-py's types are, or aren't, where this is checked.
Connection: Any = redis.connection.Connection
TLSConnection: Any = redis.connection.SSLConnection
ConnectionLost: Any = redis.exceptions.ConnectionError
BlockingPool: Any = redis.BlockingConnectionPool
parse_url: Any = redis.connection.parse_url

__all__ = [
    "Clients",
    "Cluster",
    "Packed",
    "errors",
    "find_cluster",
    "is_broken",
    "is_moving",
    "make_clients",
    "pack",
]

#: Seconds that a command may take.
COMMAND_TIMEOUT = 5.0

#: Seconds that a node of a cluster has to say which node has what.
ASK_TIMEOUT = 1.0

#: Connections for commands, and seconds that a thread waits for one.
MOST_CONNECTIONS, POOL_TIMEOUT = 16, 30.0

#: The same connections, for a part of a cluster.
MOST_OF_PART = 4

#: What begins a cluster's URL, and how redis-py has that of one of its nodes.
SCHEMES = {"redis+cluster": "redis", "rediss+cluster": "rediss"}

#: Settings of a program's client that connections to other nodes have as well.
SHARED = (
    *("username", "password", "credential_provider", "client_name", "protocol"),
    *("socket_timeout", "socket_connect_timeout", "socket_keepalive", "socket_keepalive_options"),
)


class Clients(NamedTuple):
    """What a backend talks to a server with.

    Attributes:
        commands: a client for commands.
        reading: a client for the thread that waits.
        are_own: whether they are the backend's, to close at the end; their connections send what is
            packed already.
    """

    commands: Any
    reading: Any
    are_own: bool


def make_clients(url: Any, node: str) -> Clients:
    """Return clients for a server, for a hub of this name.

    Raises:
        TypeError: it is neither a URL nor a client, or one that decodes responses.
        ValueError: the URL can't be one.
    """
    if isinstance(url, str):
        options = _make_options(node)
        if not url.startswith("unix:"):
            options["socket_keepalive"] = True
        # Threads wait for one another's connections: thousands of clients may come back at once.
        pool = BlockingPool.from_url(
            url,
            max_connections=MOST_CONNECTIONS,
            timeout=POOL_TIMEOUT,
            socket_timeout=COMMAND_TIMEOUT,
            **options,
        )
        reading = redis.Redis.from_url(url, socket_timeout=2 * COMMAND_TIMEOUT, **options)
        own_pool = reading.connection_pool
        own_pool.connection_class = _sending_packed(own_pool.connection_class)
        return Clients(redis.Redis(connection_pool=pool), reading, True)
    if not hasattr(url, "xread"):
        raise TypeError(f"a hub's URL is a str, a redis.Redis or a Backend, not {url!r}")
    _refuse_decoding(url)
    return Clients(url, url, False)


def _make_options(node: str) -> dict[str, Any]:
    # Once: a connection that was idle may be dead. All commands of ours may be done twice.
    broken = (ConnectionLost,)
    retry = redis.retry.Retry(redis.backoff.NoBackoff(), 1, supported_errors=broken)
    return {
        "client_name": f"syncws-{node}",
        "socket_connect_timeout": COMMAND_TIMEOUT,
        "retry": retry,
    }


def _refuse_decoding(client: Any) -> None:
    if client.get_encoder().decode_responses:
        raise TypeError(f"the {type(client).__name__} of a hub must not have decode_responses=True")


# --- what is packed already ---


class Packed(bytes):
    """A command as it is sent: the only argument, after its name, that is not packed again."""


def pack(word: bytes) -> bytes:
    """Return a part of a command as it is sent."""
    return b"$%d\r\n%b\r\n" % (len(word), word)


class _SendsPacked:
    """A connection that sends what is packed already."""

    def send_command(self, *args: Any, **kwargs: Any) -> None:
        command = args[-1]
        if isinstance(command, Packed):
            check_health = kwargs.get("check_health", True)
            self.send_packed_command([command], check_health=check_health)
        else:
            super().send_command(*args, **kwargs)  # type: ignore[misc]

    send_packed_command: Any


@functools.cache
def _sending_packed(connection_class: type) -> type:
    return type(f"_Packed{connection_class.__name__}", (_SendsPacked, connection_class), {})


# --- clusters ---


class Cluster:
    """How to reach a cluster's nodes, whichever has what.

    Args:
        connection_class: redis-py's class of connections to them.
        settings: its arguments, but for the address.
        addresses: where some of the nodes are.
        remap: returns where a node is, of where the cluster says it is.
    """

    def __init__(
        self,
        connection_class: Any,
        settings: dict[str, Any],
        addresses: list[Address],
        remap: Any = None,
    ) -> None:
        is_tls = issubclass(connection_class, TLSConnection)
        self._connection_class = _TLSSlotConnection if is_tls else _SlotConnection
        self._asking_class = TLSConnection if is_tls else Connection
        self._settings = settings
        self._remap = remap
        self.map = ClusterMap(addresses, self._ask)
        self._names = ", ".join(f"{host}:{port}" for host, port in addresses)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._names}>"

    def make_clients(self, slot: int, node: str) -> Clients:
        """Return clients for whichever node has a slot, for a hub of this name."""
        options = {"socket_keepalive": True, **_make_options(node), **self._settings}
        options.update(connection_class=self._connection_class, slot=slot, cluster=self)
        timeout = options.pop("socket_timeout", None)
        pool = BlockingPool(
            max_connections=MOST_OF_PART,
            timeout=POOL_TIMEOUT,
            socket_timeout=timeout or COMMAND_TIMEOUT,
            **options,
        )
        # Whoever reads tries again anyway. Once the connection is closed, it must not.
        options["retry"] = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
        reading = redis.ConnectionPool(socket_timeout=timeout or 2 * COMMAND_TIMEOUT, **options)
        return Clients(
            redis.Redis(connection_pool=pool), redis.Redis(connection_pool=reading), True
        )

    def find(self, slot: int) -> Address:
        """Return where the node is that has a slot.

        Raises:
            HubError: the cluster refuses to say.
            HubUnavailable: no node can be reached, or none has it.
        """
        host, port = self.map.find(slot)
        return self._remap((host, port)) if self._remap else (host, port)

    def _ask(self, address: Address) -> list[Share]:
        """Return which node has what, as the one at an address has it.

        Raises:
            HubError: it refuses.
            HubUnavailable: it can't be reached.
        """
        host, port = self._remap(address) if self._remap else address
        limits = {"socket_timeout": ASK_TIMEOUT, "socket_connect_timeout": ASK_TIMEOUT}
        with errors():
            settings = {**self._settings, **limits}
            connection = self._asking_class(host=host, port=port, **settings)
            try:
                connection.connect()
                connection.send_command("CLUSTER", "SLOTS")
                answer = connection.read_response()
            finally:
                connection.disconnect()
        shares = []
        for first, last, *nodes in answer:
            addresses = [(_to_str(name) or address[0], int(at)) for name, at, *_ in nodes]
            shares.append(Share(first, last, addresses))
        return shares


def _to_str(name: Any) -> str:
    """Return a node's name; "" where it says that it has the one that it was asked by."""
    name = name.decode() if isinstance(name, bytes) else name
    return "" if name in (None, "?") else str(name)


def find_cluster(url: Any) -> Cluster | None:
    """Return the cluster that a URL or a ``redis.RedisCluster`` object is of; ``None`` if none is.

    Raises:
        TypeError: the object decodes responses.
        ValueError: the URL can't be one.
    """
    if isinstance(url, str):
        scheme, _, rest = url.partition("://")
        return _parse(SCHEMES[scheme], rest) if scheme in SCHEMES else None
    if not isinstance(url, redis.RedisCluster):
        return None
    client: Any = url
    _refuse_decoding(client)
    nodes = list(client.get_nodes())
    pool = client.get_redis_connection(nodes[0]).connection_pool
    found = pool.connection_kwargs
    settings = {name: found[name] for name in found if name in SHARED or name.startswith("ssl_")}
    if settings.get("client_name") is None:
        settings.pop("client_name", None)
    addresses = [(node.host, int(node.port)) for node in nodes]
    remap = getattr(client.nodes_manager, "address_remap", None)
    return Cluster(pool.connection_class, settings, addresses, remap)


def _parse(scheme: str, rest: str) -> Cluster:
    """Return the cluster of a URL, which may name several nodes.

    Raises:
        ValueError: it can't be one.
    """
    authority = rest[: min((rest.find(end) for end in "/?#" if end in rest), default=len(rest))]
    credentials, at, names = authority.rpartition("@")
    settings: dict[str, Any] = {}
    addresses = []
    for name in names.split(","):
        node_url = f"{scheme}://{credentials}{at}{name}{rest[len(authority) :]}"
        if not urlsplit(node_url).hostname and names:
            raise ValueError(f"{name!r} isn't the address of a node")
        settings = dict(parse_url(node_url))
        addresses.append((settings.pop("host", "localhost"), settings.pop("port", 6379)))
    connection_class = settings.pop("connection_class", Connection)
    return Cluster(connection_class, settings, addresses)


class SlotMoves(ConnectionLost):  # type: ignore[misc]
    """Another node has the slot now, or will have it in a moment."""


#: A node's answers that say so.
MOVES = (
    redis.exceptions.AskError,  # of which MovedError is one
    redis.exceptions.TryAgainError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.ReadOnlyError,
)

#: What they begin with, for a redis-py before 5.0 outside of its own client for clusters.
CODES = ("MOVED ", "ASK ", "TRYAGAIN ", "CLUSTERDOWN ", "MASTERDOWN ")


def _is_move(exc: Exception) -> bool:
    return isinstance(exc, MOVES) or str(exc).startswith(CODES)


def _is_moved(exc: Exception) -> bool:
    """Tell whether an answer says which node has the slot; its last word does."""
    answer = str(exc).rpartition("caused error: ")[2]  # of a pipeline
    return isinstance(exc, redis.exceptions.MovedError) or answer.startswith(CODES[0])


class _FollowsSlot:
    """A connection that leads to whichever node has a slot.

    One that leads elsewhere by now is told so by the node. It counts as broken then, and is made
    anew, so that what was sent is sent again as after any other loss.
    """

    host: str
    port: int

    def __init__(self, *, slot: int, cluster: Cluster, **kwargs: Any) -> None:
        self._slot = slot
        self._cluster = cluster
        super().__init__(**kwargs)

    def _connect(self) -> Any:
        self.host, self.port = self._cluster.find(self._slot)
        try:
            return super()._connect()  # type: ignore[misc]
        except OSError:
            self._cluster.map.doubt()  # a replica may have taken over
            raise

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().read_response(*args, **kwargs)  # type: ignore[misc]
        except redis.exceptions.ResponseError as exc:
            if not _is_move(exc):
                raise
            if _is_moved(exc):
                host, _, port = str(exc).split()[-1].rpartition(":")
                self._cluster.map.learn(self._slot, (host or self.host, int(port)))
            else:
                self._cluster.map.doubt()
            self.disconnect()
            raise SlotMoves(f"slot {self._slot} moves to another node: {exc}") from exc
        except (ConnectionLost, redis.exceptions.TimeoutError):
            self._cluster.map.doubt()
            raise

    disconnect: Any


class _SlotConnection(_FollowsSlot, _SendsPacked, Connection):  # type: ignore[misc]
    pass


class _TLSSlotConnection(_FollowsSlot, _SendsPacked, TLSConnection):  # type: ignore[misc]
    pass


# --- errors ---


@contextlib.contextmanager
def errors() -> Iterator[None]:
    """Turn redis-py's exceptions into ours."""
    try:
        yield
    except (ConnectionLost, redis.exceptions.TimeoutError) as exc:
        if isinstance(exc, redis.exceptions.AuthenticationError):
            raise HubError(f"Redis refuses: {exc}") from exc
        raise HubUnavailable(f"Redis can't be reached: {exc}") from exc
    except redis.exceptions.RedisError as exc:
        is_cluster = _is_moved(exc)
        why = "it is a cluster, whose URL is redis+cluster://..." if is_cluster else exc
        raise HubError(f"Redis refuses: {why}") from exc


def is_moving(exc: HubUnavailable) -> bool:
    """Tell whether this is so because a slot moves, which takes a moment."""
    return isinstance(exc.__cause__, SlotMoves)


def is_broken(exc: HubUnavailable) -> bool:
    """Tell whether a connection has broken, which may work again at once."""
    return isinstance(exc.__cause__, ConnectionLost)
