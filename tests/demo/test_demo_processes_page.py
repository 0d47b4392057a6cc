"""The demo's page in a browser, served by several processes: whichever has a window, they chat."""

import re

import pytest
from support.browser import needs_chromium
from support.demo_page import chromium, open_page
from support.pairs import wait_until
from support.redis_server import NEEDS_REDIS, redis_server
from support.shell import program, terminate

from syncws.demo.shared_rooms import PEOPLE
from syncws.pubsub import Hub

__all__ = ["chromium", "open_page", "redis_server"]

pytestmark = [pytest.mark.browser, needs_chromium, *NEEDS_REDIS]

PREFIX = "windows:"


@pytest.fixture
def port(redis_server):
    """Where the demo is."""
    arguments = ("--processes", "2", "--hub", redis_server.url, "--prefix", PREFIX)
    with program("demo", "--port", "0", *arguments, patience=60) as process:
        yield int(re.search(r":(\d+)/", process.stdout.readline())[1])
        assert terminate(process) == (0, "")


@pytest.fixture
def find_process(redis_server):
    """What says which process has somebody's window."""
    with Hub(redis_server.url, prefix=PREFIX) as hub:

        def find(name):
            def nodes():
                present = hub.room(PEOPLE).present()
                return [member.node for member in present if member.data["name"] == name]

            wait_until(nodes)
            (node,) = nodes()
            return node

        yield find


def test_windows_on_different_processes_chat(open_page, port, find_process):
    ada = open_page(port=port)
    ada.rename("Ada")
    for number in range(100):
        grace = open_page(port=port)
        grace.rename(f"Grace {number}")
        if find_process(f"Grace {number}") != find_process("Ada"):
            break
        grace.browser.close()
        ada.look()  # another window is opened from one that there is
    grace.rename("Grace")
    grace.wait_for("#members li", "Ada", "Grace (you)")
    ada.look().wait_for("#members li", "Ada (you)", "Grace")
    ada.wait_for("#rooms a", "lobby\n2")
    ada.say("hello")
    grace.look().wait_for("#log .words", "hello")
    grace.say("hi")
    ada.look().wait_for("#log .words", "hello", "hi")
    assert ada.texts("#log .waiting") == []
    assert find_process("Ada") != find_process("Grace")
