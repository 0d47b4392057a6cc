"""How many connections a process can hold: where the system says stop."""

from __future__ import annotations

import os
from collections.abc import Iterator

__all__ = ["find_capacity", "find_shortage"]

#: What a connection takes at most: its handler's thread, and one that reads.
THREADS = 2

#: Memory mappings of a thread: its stack, and the guard below that.
MAPPINGS = 2

#: Where Linux has limits of the whole system.
THREADS_MAX = "/proc/sys/kernel/threads-max"
MAX_MAP_COUNT = "/proc/sys/vm/max_map_count"

#: What limits are.
DESCRIPTORS = "it may have {} descriptors (ulimit -n)"
USER = "its user may have {} threads (ulimit -u)"
GROUP = "its control group may have {} threads (pids.max)"
SYSTEM = "the system may have {} threads (threads-max)"
MAPPED = "it may have {} memory mappings (max_map_count)"
ADDRESSES = "it may have {} bytes of memory (ulimit -v)"

#: The part of a limit from which on it may be what something has failed for: others use it, too.
NEARLY = 0.9


def find_capacity() -> tuple[int | None, str]:
    """Return how many connections this process can hold, and what says so.

    That is what its limits of descriptors and of threads allow, less a tenth (at least 16) for
    what else the program does; ``None`` where no limit is known. A few files are read.
    """
    found = [(_spare(limit) // each, text) for limit, each, text in _limits()]
    if not found:
        return None, "no limit is known"
    return min(found)


def find_shortage(what: str) -> str:
    """Return which limits may be why a descriptor, a thread or memory isn't available; or ``""``.

    Without a descriptor no file can be read, so that only what the process itself knows is told.

    Args:
        what: ``"descriptor"``, ``"thread"`` or ``"memory"``.
    """
    if what == "descriptor":
        descriptors = _find_limit("RLIMIT_NOFILE")
        return "" if descriptors is None else DESCRIPTORS.format(descriptors)
    reached = [text for used, limit, text in _used() if used >= NEARLY * limit]
    threads = _find_user_limit()
    if not reached and what == "thread" and threads is not None:
        return USER.format(threads)
    return " or ".join(reached)


def _used() -> Iterator[tuple[int, int, str]]:
    """Yield what is used of limits that are known, these, and what they are."""
    group = _find_group()
    running = _read("/proc/loadavg").split()[3:4] or [""]
    for used, limit, text in (
        (_read_number(group.replace("pids.max", "pids.current")), _read_number(group), GROUP),
        (_number(running[0].partition("/")[2]), _read_number(THREADS_MAX), SYSTEM),
        (_read("/proc/self/maps").count("\n"), _read_number(MAX_MAP_COUNT), MAPPED),
        (_find_address_space(), _find_limit("RLIMIT_AS"), ADDRESSES),
    ):
        if used is not None and limit is not None:
            yield used, limit, text.format(limit)


def _find_address_space() -> int | None:
    """Return how many bytes of addresses the process uses."""
    pages = _number(_read("/proc/self/statm").partition(" ")[0])
    return None if pages is None else pages * os.sysconf("SC_PAGE_SIZE")


def _find_limit(name: str) -> int | None:
    """Return a limit of this process, or ``None`` if there is none, or no limit of that name."""
    try:
        import resource
    except ImportError:  # pragma: no cover  # Windows has no limits of this kind
        return None
    number = getattr(resource, name, None)
    if number is None:  # pragma: no cover  # not all systems have all of them
        return None
    limit, _ = resource.getrlimit(number)
    return None if limit == resource.RLIM_INFINITY else limit


def _find_user_limit() -> int | None:
    """Return how many threads this process's user may have; root is free of that limit."""
    limit = _find_limit("RLIMIT_NPROC")
    return None if limit is None or os.geteuid() == 0 else limit


def _spare(limit: int) -> int:
    return max(limit - max(limit // 10, 16), THREADS)


def _limits() -> Iterator[tuple[int, int, str]]:
    """Yield limits that are known, what a connection takes of them, and what they are."""
    descriptors, threads = _find_limit("RLIMIT_NOFILE"), _find_user_limit()
    if descriptors is not None:
        yield descriptors, 1, DESCRIPTORS.format(descriptors)
    if threads is not None:
        yield threads, THREADS, USER.format(threads)
    for path, each, text in (
        (_find_group(), THREADS, GROUP),
        (THREADS_MAX, THREADS, SYSTEM),
        (MAX_MAP_COUNT, THREADS * MAPPINGS, MAPPED),
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
    return _number(_read(path))


def _read(path: str) -> str:
    """Return what is in a file; ``""`` if it isn't there."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:  # "max", which is none
        return None
