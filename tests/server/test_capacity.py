"""How many connections a server lets in where the program doesn't say."""

import contextlib
import resource
import sys

import pytest
from support.scripted import build_request, raw_client, read_all, read_head
from support.serving import messages, serving

from syncws import serve
from syncws.server import capacity
from syncws.server.capacity import find_capacity, find_shortage


@contextlib.contextmanager
def descriptors(limit):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def limits(monkeypatch, tmp_path):
    """Make files say what the limits are; by default there are none."""
    contents = {}

    def read(path):
        return contents.get(path.rsplit("/", 1)[-1])

    monkeypatch.setattr(capacity, "_read_number", read)
    monkeypatch.setattr(capacity.os, "geteuid", lambda: 0)
    return contents


def test_a_tenth_of_the_descriptors_is_for_other_things(limits):
    with descriptors(500):
        assert find_capacity() == (450, "it may have 500 descriptors (ulimit -n)")
        with serve(print, "127.0.0.1") as server:
            assert server.max_connections == 450
    with descriptors(100):
        assert find_capacity()[0] == 84


@pytest.mark.parametrize(
    ("name", "limit", "connections"),
    [("pids.max", 200, 90), ("threads-max", 400, 180), ("max_map_count", 1000, 225)],
)
def test_the_least_limit_of_threads_counts(limits, monkeypatch, name, limit, connections):
    monkeypatch.setattr(capacity, "_find_group", lambda: "/sys/fs/cgroup/pids.max")
    limits[name] = limit
    with descriptors(500):
        count, why = find_capacity()
    assert count == connections
    assert str(limit) in why


@pytest.mark.parametrize("limit", [None, 7])
def test_the_program_may_say_otherwise(limit):
    server = serve(print, "127.0.0.1", max_connections=limit)
    assert server.max_connections == limit
    server.close()


def test_other_words_are_refused():
    with pytest.raises(ValueError, match="a number, None or 'process', not 'auto'"):
        serve(print, "127.0.0.1", max_connections="auto")


def test_the_log_says_once_what_the_limit_is(monkeypatch, caplog):
    module = sys.modules[serve.__module__]
    monkeypatch.setattr(module, "find_capacity", lambda: (1, "it may have 17 files"))
    with serving() as server, raw_client(server) as first:
        first.sendall(build_request())
        assert read_head(first).startswith(b"HTTP/1.1 101 ")
        for _ in range(2):
            with raw_client(server) as other:
                other.sendall(build_request())
                assert read_all(other).startswith(b"HTTP/1.1 503 ")
    text = "the server is full: it may have 17 files; max_connections= says otherwise"
    assert messages(caplog, "WARNING").count(text) == 1


# --- what is lacking ---


@pytest.fixture
def system(limits, monkeypatch):
    """What files say of the whole system and of this process, besides limits."""
    files = {}
    monkeypatch.setattr(capacity, "_find_group", lambda: "/sys/fs/cgroup/pids.max")
    monkeypatch.setattr(capacity, "_read", lambda path: files.get(path.rsplit("/", 1)[-1], ""))
    return files


@pytest.fixture
def set_limit(monkeypatch):
    """Have the system say another limit of the process."""
    ask = resource.getrlimit

    def set_limit(kind, limit):
        patched = lambda asked: (limit, limit) if asked == kind else ask(asked)  # noqa: E731
        monkeypatch.setattr(resource, "getrlimit", patched)

    return set_limit


def test_what_lacks_a_descriptor_has_a_limit_of_them(system):
    with descriptors(500):
        assert find_shortage("descriptor") == "it may have 500 descriptors (ulimit -n)"


def test_without_a_limit_of_descriptors_nothing_is_said(set_limit):
    set_limit(resource.RLIMIT_NOFILE, resource.RLIM_INFINITY)
    assert find_shortage("descriptor") == ""


@pytest.mark.parametrize(("used", "reached"), [(89, False), (90, True), (100, True)])
@pytest.mark.parametrize("what", ["thread", "memory"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pids", "its control group may have 100 threads (pids.max)"),
        ("threads", "the system may have 100 threads (threads-max)"),
        ("maps", "it may have 100 memory mappings (max_map_count)"),
    ],
)
def test_limits_that_are_nearly_reached_are_named(limits, system, what, name, text, used, reached):
    if name == "pids":
        limits.update({"pids.max": 100, "pids.current": used})
    elif name == "threads":
        limits["threads-max"] = 100
        system["loadavg"] = f"0.17 0.20 0.15 1/{used} 4711\n"
    else:
        limits["max_map_count"] = 100
        system["maps"] = "7f0000000000-7f0000001000 r--p 0 0 0\n" * used
    assert find_shortage(what) == (text if reached else "")


@pytest.mark.parametrize(("pages", "reached"), [(8, False), (9, True)])
def test_a_limit_of_memory_that_is_nearly_reached_is_named(system, set_limit, pages, reached):
    page = resource.getpagesize()
    set_limit(resource.RLIMIT_AS, 10 * page)
    system["statm"] = f"{pages} 1 1 1 0 1 0\n"
    text = f"it may have {10 * page} bytes of memory (ulimit -v)"
    assert find_shortage("memory") == (text if reached else "")


def test_several_limits_may_be_why(limits, system):
    limits.update({"pids.max": 100, "pids.current": 100, "max_map_count": 1})
    system["maps"] = "one\n"
    assert find_shortage("thread").count(" or ") == 1


@pytest.mark.parametrize(("what", "named"), [("thread", True), ("memory", False)])
def test_otherwise_the_user_s_threads_may_be_why(system, set_limit, monkeypatch, what, named):
    set_limit(resource.RLIMIT_NPROC, 77)
    monkeypatch.setattr(capacity.os, "geteuid", lambda: 1000)
    text = "its user may have 77 threads (ulimit -u)"
    assert find_shortage(what) == (text if named else "")


def test_where_nothing_is_known_nothing_is_said(monkeypatch):
    monkeypatch.setattr(capacity, "_read", lambda path: "")
    monkeypatch.setattr(capacity.os, "geteuid", lambda: 0)
    assert find_shortage("thread") == find_shortage("memory") == ""


def test_this_system_can_be_asked():
    assert isinstance(find_shortage("thread"), str)
    assert capacity._read("/nowhere/at/all") == ""
