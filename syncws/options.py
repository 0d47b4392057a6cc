"""What a connection may use and how long it may take, as immutable values.

Client and server take these as flat keyword arguments; from there on they
travel as one :class:`Options`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, TypeVar, Union

__all__ = [
    "Deflate",
    "MaxQueue",
    "MaxSize",
    "Options",
    "deflate_settings",
    "one_of",
    "split_max_queue",
    "split_max_size",
]

#: Bytes per message, or (bytes per message, bytes per fragment); ``None`` is unlimited.
MaxSize = Union[int, None, tuple[Optional[int], Optional[int]]]

#: Messages above which reading pauses, or (pause above, resume at or below); ``None`` is unlimited.
MaxQueue = Union[int, None, tuple[Optional[int], Optional[int]]]


@dataclass(frozen=True)
class Deflate:
    """Settings of permessage-deflate (RFC 7692), for ``compression=``.

    Attributes:
        server_no_context_takeover: the server forgets its window after each message (§7.1.1.1).
        client_no_context_takeover: the client forgets its window after each message (§7.1.1.2).
        server_max_window_bits: limit of the server's window, 8 to 15 (§7.1.2.1); ``None``
            leaves it to the other side.
        client_max_window_bits: limit of the client's window, 8 to 15 (§7.1.2.2); ``None``
            leaves it to the other side.
        compress_window_bits: window to compress with where the agreement allows a larger one, 9 to
            15: memory against ratio.
        level: effort, -1 to 9, as in :func:`zlib.compressobj`.
        memory_level: memory, 1 to 9, as in :func:`zlib.compressobj`.
        min_size: messages of fewer bytes are sent uncompressed.
        memory_limit: MiB that compressors may take in the process, for connections whose settings
            have the same limit. Those that sent last keep theirs; the others begin anew with their
            next message, which may take more bytes then.
    """

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int | None = None
    client_max_window_bits: int | None = None
    compress_window_bits: int = 15
    level: int = 1
    memory_level: int = 8
    min_size: int = 64
    memory_limit: float = 64

    def __post_init__(self) -> None:
        """Refuse what can't be, naming it.

        Raises:
            ValueError: a setting is out of its range.
        """
        for name, low, high in (
            ("server_max_window_bits", 8, 15),
            ("client_max_window_bits", 8, 15),
            ("compress_window_bits", 9, 15),
            ("level", -1, 9),
            ("memory_level", 1, 9),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f"{name} must be from {low} to {high}, got {value!r}")
        if self.min_size < 0:
            raise ValueError(f"min_size can't be negative, got {self.min_size!r}")
        if not self.memory_limit >= 0:
            raise ValueError(f"memory_limit can't be negative, got {self.memory_limit!r}")


@dataclass(frozen=True)
class Options:
    """The limits of one open connection. Times in seconds, sizes in bytes.

    Attributes:
        ping_interval: time between keepalive pings; ``None`` sends none.
        ping_timeout: time in which a pong must come, or another sign that the peer is alive;
            ``None`` waits forever.
        close_timeout: wall time that closing may take; ``None`` waits forever.
        send_timeout: time that one ``send()`` may take; ``None`` waits forever.
        max_queue: messages above which reading pauses, and where it resumes.
        read_limit: bytes of memory that undelivered messages may take before reading pauses.
        write_limit: bytes that may wait for a peer that does not read, in calls that don't block.
    """

    ping_interval: float | None = 20
    ping_timeout: float | None = 20
    close_timeout: float | None = 10
    send_timeout: float | None = None
    max_queue: MaxQueue = 16
    read_limit: int = 2**16
    write_limit: int = 2**16

    def __post_init__(self) -> None:
        """Refuse what can't be, naming it.

        Raises:
            TypeError: a time or limit isn't a number.
            ValueError: a time or limit is out of its range.
        """
        for name in ("ping_interval", "ping_timeout", "close_timeout", "send_timeout"):
            check_limit(getattr(self, name), name)
        if self.ping_interval == 0:
            raise ValueError("ping_interval can't be 0; None turns keepalive off")
        for name in ("read_limit", "write_limit"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} can't be negative, got {getattr(self, name)!r}")
        split_max_queue(self.max_queue)


def check_limit(value: float | None, name: str) -> None:
    """Return if this can be a limit, in seconds or bytes; ``None`` is no limit.

    Raises:
        TypeError: it isn't a number.
        ValueError: it is negative.
    """
    if value is not None and not value >= 0:
        raise ValueError(f"{name} can't be negative, got {value!r}")


def split_max_size(max_size: MaxSize) -> tuple[int | None, int | None]:
    """Return the limits of a message and of a fragment.

    Raises:
        ValueError: a limit is negative.
    """
    message, fragment = max_size if isinstance(max_size, tuple) else (max_size, None)
    for limit in (message, fragment):
        if limit is not None and limit < 0:
            raise ValueError(f"max_size can't be negative, got {max_size!r}")
    return message, fragment


def split_max_queue(max_queue: MaxQueue) -> tuple[int | None, int]:
    """Return the high mark (``None``: none) and the low mark; a quarter of it by default.

    Raises:
        ValueError: a mark is out of its range.
    """
    high, low = max_queue if isinstance(max_queue, tuple) else (max_queue, None)
    if high is None:
        return None, 0
    if low is None:
        low = high // 4
    if not 0 <= low <= high or high < 1:
        raise ValueError(f"max_queue must be at least 1, its low mark at most that: {max_queue!r}")
    return high, low


def deflate_settings(compression: str | Deflate | None, default: Deflate) -> Deflate | None:
    """Return what ``compression=`` stands for; ``None`` is no compression.

    Raises:
        ValueError: it isn't one of the choices.
    """
    if compression is None or isinstance(compression, Deflate):
        return compression
    if compression != "deflate":
        raise ValueError(f"compression is 'deflate', Deflate(...) or None, not {compression!r}")
    return default


T = TypeVar("T")


def one_of(value: T | None, older: T | None, name: str, older_name: str) -> T | None:
    """Return an argument that goes by two names.

    Raises:
        TypeError: both are given.
    """
    if value is not None and older is not None:
        raise TypeError(f"{older_name}= is an older name of {name}=: give one of them")
    return older if value is None else value
