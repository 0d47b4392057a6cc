"""How many connections a server lets in where the program doesn't say."""

import contextlib
import resource
import sys

import pytest
from support.scripted import build_request, raw_client, read_all, read_head
from support.serving import messages, serving

from syncws import serve
from syncws.server import capacity
from syncws.server.capacity import find_capacity


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
