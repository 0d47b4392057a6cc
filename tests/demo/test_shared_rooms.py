"""The demo's rooms over several processes: here, several chats in one, with a real hub."""

import contextlib
import json

import pytest
from support.chatting import Window
from support.pairs import SOON, wait_until
from support.redis_server import NEEDS_REDIS, RedisServer, redis_server

from syncws import HubUnavailable, connect
from syncws.demo import listen
from syncws.demo.chat import Chat
from syncws.demo.rooms import Limits
from syncws.demo.shared_rooms import OUTSIDER, ROOM
from syncws.pubsub import Hub

__all__ = ["redis_server"]

pytestmark = NEEDS_REDIS


@pytest.fixture
def place(request):
    """A room of this test's own."""
    return request.node.name[-30:]


@pytest.fixture
def make_process(redis_server):
    """What stands for a process; it returns what opens a window there."""
    with contextlib.ExitStack() as stack:

        def make(**limits):
            chat = stack.enter_context(contextlib.closing(Chat(Limits(**limits), redis_server.url)))
            server = stack.enter_context(listen("localhost", 0, chat))

            def open_window(path="chat"):
                return Window(stack.enter_context(connect(server.uri + path)))

            open_window.close = server.close
            return open_window

        yield make


@pytest.fixture
def two(make_process):
    """A window in each of two processes."""
    return make_process()(), make_process()()


def settle(window, members):
    """Wait until a window was told that its room has so many members."""
    while [room["members"] for room in window.expect("rooms")["rooms"]] != [members]:
        pass


def test_people_of_other_processes_come_and_go(two, place):
    ada, grace = two
    assert ada.join("Ada", place)["members"] == ["Ada"]
    settle(grace, 1)
    assert grace.join("Grace", place)["members"] == ["Ada", "Grace"]
    assert ada.expect("arrived")["name"] == "Grace"
    grace.send(type="leave")
    assert ada.expect("departed")["name"] == "Grace"
    settle(ada, 1)
    grace.join("Hopper", place)
    assert ada.expect("arrived")["name"] == "Hopper"
    grace.ws.abort()
    assert ada.expect("departed")["name"] == "Hopper"


def test_what_is_said_comes_to_all_processes_and_is_remembered(make_process, place):
    first, second = make_process(), make_process()
    ada, grace = first(), second()
    ada.join("Ada", place)
    grace.join("Grace", place)
    ada.say("hello", ref="7")
    said = [window.expect("said") for window in (ada, grace)]
    assert said[0] == said[1]
    assert (said[0]["name"], said[0]["text"], said[0]["ref"]) == ("Ada", "hello", "7")
    grace.say("hi")
    numbers = [window.expect("said")["number"] for window in (ada, grace)]
    assert numbers == [said[0]["number"] + 1] * 2
    history = second().join("Barbara", place)["history"]
    assert [(each["name"], each["text"]) for each in history] == [("Ada", "hello"), ("Grace", "hi")]
    del said[0]["type"]
    assert history[0] == said[0]


def test_names_are_unique_over_processes_and_free_again(two, place):
    ada, other = two
    ada.join("Ada", place)
    settle(other, 1)
    assert other.join("ADA", place)["name"] == "ADA 2"
    ada.join("Grace", place)
    assert other.expect("departed")["name"] == "Ada"
    assert other.expect("arrived")["name"] == "Grace"
    assert other.join("Ada", place)["name"] == "Ada"
    assert ada.expect("departed")["name"] == "ADA 2"
    assert ada.expect("arrived")["name"] == "Ada"


def test_limits_count_people_of_all_processes(make_process, place):
    ada = make_process()()
    other = make_process(max_members=1, max_rooms=1)()
    ada.join("Ada", place)
    settle(other, 1)
    assert other.ask(type="join", room=place, name="Grace")["code"] == "room-full"
    assert other.ask(type="join", room=f"{place} 2", name="Grace")["code"] == "too-many-rooms"
    assert other.ask(type="say", text="hello")["code"] == "no-room"
    assert other.ask(type="leave")["code"] == "no-room"


def test_who_comes_back_by_another_process_has_the_same_name(make_process, place):
    first, second = make_process(), make_process()
    watcher, ada = second(), first()
    watcher.join("Watcher", place)
    settle(ada, 1)
    ada.join("Ada", place)
    assert watcher.expect("arrived")["name"] == "Ada"
    settle(watcher, 2)
    back = second()
    joined = back.join("Ada", place, resume=ada.welcome["token"])
    assert (joined["name"], sorted(joined["members"])) == ("Ada", ["Ada", "Watcher"])
    ada.ws.abort()
    settled = second()
    settled.join("Last", place)
    kinds = []
    while not kinds or kinds[-1] != ("arrived", "Last"):
        message = watcher.receive()
        kinds.append((message["type"], message.get("name")))
    assert ("departed", "Ada") not in kinds
    assert ("arrived", "Ada") not in kinds


def test_who_comes_back_to_the_same_process_takes_the_old_place(make_process, place):
    open_window = make_process()
    lost = open_window()
    lost.join("Ada", place)
    back = open_window()
    assert back.join("Ada", place, resume=lost.welcome["token"])["name"] == "Ada"
    assert lost.ws.wait_closed(SOON)


def test_people_of_a_process_that_ends_are_gone(make_process, place):
    first, second = make_process(), make_process()
    ada, grace = first(), second()
    grace.join("Grace", place)
    settle(ada, 1)
    ada.join("Ada", place)
    assert grace.expect("arrived")["name"] == "Ada"
    first.close()
    assert grace.expect("departed")["name"] == "Ada"


@pytest.mark.parametrize("message", ["hello", '{"text": "hello"}', "[]", b"\x00\xff"])
def test_anybody_with_the_hub_can_say_something(make_process, redis_server, place, message):
    ada = make_process()()
    ada.join("Ada", place)
    with Hub(redis_server.url) as hub:
        hub.room(ROOM + place.casefold()).publish(message)
    said = ada.expect("said")
    assert said["name"] == OUTSIDER
    assert said["text"] == ("00 ff" if isinstance(message, bytes) else message)


def test_a_hub_that_is_not_there_is_an_error():
    with pytest.raises(HubUnavailable):
        Chat(hub_url="redis://127.0.0.1:1/")


def test_a_hub_that_goes_away_is_said_to_who_asks(tmp_path, place):
    with RedisServer(tmp_path) as server, contextlib.ExitStack() as stack:
        chat = stack.enter_context(contextlib.closing(Chat(hub_url=server.url)))
        chat.rooms._hub._publish_timeout = 0.1
        demo = stack.enter_context(listen("localhost", 0, chat))
        ada = Window(stack.enter_context(connect(f"{demo.uri}chat")))
        ada.join("Ada", place)
        server.stop()
        assert ada.ask(type="say", text="hello", ref="1")["code"] == "hub"
        assert ada.ask(type="join", room=f"{place} 2", name="Ada")["code"] == "hub"
        assert ada.ask(type="leave")["code"] == "no-room"
        server.start()
        wait_until(lambda: tries_to_join(ada, place))


def tries_to_join(window, place):
    window.send(type="join", room=place, name="Ada")
    while True:
        message = json.loads(window.ws.recv(SOON))
        if message["type"] in ("joined", "error"):
            return message["type"] == "joined"
