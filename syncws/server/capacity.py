"""How many connections a process can hold: where the system says stop."""

from __future__ import annotations

import os
from collections.abc import Iterator

__all__ = ["find_capacity"]

#: What a connection takes at most: its handler's thread, and one that reads.
THREADS = 2

#: Memory mappings of a thread: its stack, and the guard below that.
MAPPINGS = 2


def find_capacity() -> tuple[int | None, str]:
    """Return how many connections this process can hold, and what says so.

    That is what its limits of descriptors and of threads allow, less a tenth (at least 16) for
    what else the program does; ``None`` where no limit is known. A few files are read.
    """
    found = [(_spare(limit) // each, text) for limit, each, text in _limits()]
    if not found:
        return None, "no limit is known"
    return min(found)


def _spare(limit: int) -> int:
    return max(limit - max(limit // 10, 16), THREADS)


def _limits() -> Iterator[tuple[int, int, str]]:
    """Yield limits that are known, what a connection takes of them, and what they are."""
    try:
        import resource
    except ImportError:  # pragma: no cover  # Windows has no limits of this kind
        return
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors != resource.RLIM_INFINITY:
        yield descriptors, 1, f"it may have {descriptors} descriptors (ulimit -n)"
    if os.geteuid() != 0:  # root is free of it
        threads, _ = resource.getrlimit(resource.RLIMIT_NPROC)
        if threads != resource.RLIM_INFINITY:
            yield threads, THREADS, f"its user may have {threads} threads (ulimit -u)"
    for path, each, text in (
        (_find_group(), THREADS, "its control group may have {} threads (pids.max)"),
        ("/proc/sys/kernel/threads-max", THREADS, "the system may have {} threads (threads-max)"),
        ("/proc/sys/vm/max_map_count", THREADS * MAPPINGS, "it may have {} memory mappings"),
    ):
        limit = _read_number(path)
        if limit is not None:
            yield limit, each, text.format(limit)


def _find_group() -> str:
    """Return where Linux has the limit of this process's control group; may not be there."""
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return ""
    for _, controllers, path in lines:
        if "pids" in controllers.split(","):
            return f"/sys/fs/cgroup/pids{path.rstrip('/')}/pids.max"
    for _, controllers, path in lines:
        if not controllers:
            return f"/sys/fs/cgroup{path.rstrip('/')}/pids.max"
    return ""


def _read_number(path: str) -> int | None:
    try:
        with open(path, encoding="utf-8") as file:
            return int(file.read())
    except (OSError, ValueError):  # not there; or "max", which is none
        return None
