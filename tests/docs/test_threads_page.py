"""docs/threads.md: its programs run, and its tables have every method and thread."""

import os
import pathlib
import re

import pytest
from support.serving import serving
from support.snippets import DOCS, block, free_port, run

from syncws import ClientConnection, Connection, ServerConnection, ThreadingServer
from syncws.accel import IMPLEMENTATION
from syncws.pubsub import Hub, Room

PAGE = "threads"
TEXT = (DOCS / "threads.md").read_text(encoding="utf-8")
SOURCES = pathlib.Path(__file__).resolve().parents[2] / "syncws"


def echoes(name, **options):
    """What a program of the page prints that talks to an echo server."""
    with serving() as server:
        return run(block(PAGE, name), server.port, **options)


def printed(name):
    """What the page says that a program prints."""
    return re.search(rf"<!-- {name}-printed -->\n```\n(.*?)```", TEXT, re.S)[1]


def test_threads_several_senders():
    assert echoes("several-senders") == "True\n" * 3


def test_threads_several_receivers():
    assert echoes("several-receivers") == "300 300\n"


@pytest.mark.skipif(IMPLEMENTATION == "pure", reason="the main thread doesn't read")
def test_threads_names():
    assert echoes("names") == printed("names")


def test_threads_both_send():
    assert run(block(PAGE, "both-send"), free_port()) == "20000000 20000000\n"


def test_threads_waking():
    output = echoes("waking")
    assert output.strip() in TEXT
    assert output.startswith("recv() was woken: sent 1000")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_threads_fork():
    # From 3.12 on Python warns of forks where there are threads.
    assert echoes("fork", warnings="ignore") == printed("fork")


def test_threads_counter():
    assert run(block(PAGE, "counter"), free_port()) == "2000\n"


def public(*classes):
    """The public names that classes of this library define: methods, and attributes."""
    methods, attributes = set(), set()
    for each in classes:
        for base in each.__mro__:
            for name, value in vars(base).items():
                if name.startswith("_"):
                    continue
                (methods if callable(value) else attributes).add(name)
    return methods, attributes


def part(heading):
    return re.split(r"^#+ .*$", TEXT.partition(f"\n{heading}\n")[2], maxsplit=1, flags=re.M)[0]


@pytest.mark.parametrize(
    ("heading", "classes"),
    [
        ("### Connections", [Connection, ClientConnection, ServerConnection]),
        ("### Servers", [ThreadingServer]),
    ],
)
def test_the_tables_have_every_method_and_attribute_and_no_others(heading, classes):
    text = part(heading)
    methods, attributes = public(*classes)
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    listed = [name for row in rows for name in re.findall(r"`(\w+)\(", row)]
    assert sorted(listed) == sorted(methods)
    sentences = text.partition("\nAttributes")[2].partition("What they say")[0]
    assert set(re.findall(r"`(\w+)`", sentences)) == attributes


def test_the_table_of_rooms_has_every_method_and_no_others():
    methods, _ = public(Hub, Room)
    lines = part("### Rooms of a hub").splitlines()
    rows = [line.split("|")[1] for line in lines if line.startswith("| `")]
    listed = [name for row in rows for name in re.findall(r"`(\w+)\(", row)]
    assert sorted(listed) == sorted(methods)


def test_the_table_of_threads_has_all_of_them():
    started = set()
    for package in ("threaded", "server", "pubsub"):
        for path in (SOURCES / package).glob("*.py"):
            text = path.read_text(encoding="utf-8")
            started |= set(re.findall(r'name ?= ?f?"(syncws-[a-z]+)', text))
    listed = re.findall(r"^\| `(syncws-[a-z]+)", part("## Which threads there are"), re.M)
    assert sorted(listed) == sorted(started)
