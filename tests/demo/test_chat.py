"""The chat of the demo, with clients of ours: rooms, presence, limits."""

import contextlib
import json
import socket
import time

import pytest
from support.chatting import chatting
from support.pairs import SOON, wait_until
from support.scripted import build_request, read_head
from support.wire import build_frame

from syncws.demo.chat import Pace


@pytest.fixture
def chat():
    with chatting() as (_, open_window):
        yield open_window


# --- rooms and who is there ------------------------------------------------------


def test_who_joins_learns_who_is_there_and_the_others_learn_of_them(chat):
    ada, grace = chat(), chat()
    joined = ada.join("Ada")
    assert (joined["room"], joined["name"], joined["members"]) == ("lobby", "Ada", ["Ada"])
    assert grace.join("Grace")["members"] == ["Ada", "Grace"]
    assert ada.expect("arrived")["name"] == "Grace"


def test_what_is_said_comes_to_everybody_in_the_room_with_the_senders_reference(chat):
    ada, grace, barbara = chat(), chat(), chat()
    ada.join("Ada")
    grace.join("Grace")
    barbara.join("Barbara", "garden")
    before = time.time()
    ada.say("hello <b>there</b> €", ref="7")
    for window in (ada, grace):
        said = window.expect("said")
        assert (said["name"], said["text"]) == ("Ada", "hello <b>there</b> €")
        assert (said["number"], said["ref"]) == (1, "7")
        assert before - 1 < said["time"] < time.time() + 1
    barbara.say("quiet here")
    assert barbara.expect("said")["name"] == "Barbara"  # and nothing of Ada's before


def test_who_comes_later_gets_the_last_messages(chat):
    with chatting(history=3) as (_, chat):
        ada = chat()
        ada.join("Ada")
        for number in range(5):
            ada.say(f"message {number}")
        while ada.expect("said")["number"] < 5:
            pass
        history = chat().join("Grace")["history"]
        assert [said["text"] for said in history] == ["message 2", "message 3", "message 4"]
        assert [said["number"] for said in history] == [3, 4, 5]


def test_names_are_unique_in_a_room_whatever_their_case(chat):
    windows = [chat() for _ in range(4)]
    names = [windows[i].join(name)["name"] for i, name in enumerate(["Ada", "ADA", "ada 2"])]
    assert names == ["Ada", "ADA 2", "ada 2 2"]
    assert windows[3].join("Ada", "garden")["name"] == "Ada"
    assert windows[3].join("x" * 32)["name"] == "x" * 32
    assert windows[2].join("X" * 32)["name"] == "X" * 30 + " 2"


def test_leaving_and_changing_rooms_is_seen_by_those_who_stay(chat):
    ada, grace = chat(), chat()
    ada.join("Ada")
    grace.join("Grace")
    grace.join("Grace", "garden")
    assert ada.expect("departed")["name"] == "Grace"
    grace.join("Grace")
    assert ada.expect("arrived")["name"] == "Grace"
    grace.send(type="leave")
    assert grace.expect("left") == {"type": "left"}
    assert ada.expect("departed")["name"] == "Grace"
    assert grace.ask(type="leave")["code"] == "no-room"
    assert grace.ask(type="say", text="?")["code"] == "no-room"


def test_new_name_in_the_same_room_is_seen_as_leaving_and_joining(chat):
    ada, grace = chat(), chat()
    ada.join("Ada")
    grace.join("Grace")
    assert grace.join("Hopper")["members"] == ["Ada", "Hopper"]
    assert ada.expect("departed")["name"] == "Grace"
    assert ada.expect("arrived")["name"] == "Hopper"


def test_joining_again_by_the_same_name_is_no_news(chat):
    ada, grace = chat(), chat()
    ada.join("Ada")
    grace.join("Grace")
    assert grace.join("Grace")["members"] == ["Ada", "Grace"]
    grace.say("here")
    kinds = []
    while not kinds or kinds[-1] != "said":
        kinds.append(ada.receive()["type"])
    assert kinds.count("arrived") == 1
    assert "departed" not in kinds


def test_who_is_cut_off_is_gone_for_the_others(chat):
    ada, grace = chat(), chat()
    ada.join("Ada")
    grace.join("Grace")
    grace.ws.abort()
    assert ada.expect("departed")["name"] == "Grace"
    assert ada.expect("rooms")["rooms"] == [{"name": "lobby", "members": 1}]


def test_rooms_are_listed_with_their_counts_and_forgotten_when_empty(chat):
    ada, watcher = chat(), chat()
    assert watcher.welcome["rooms"] == []
    ada.join("Ada", "Garden")
    assert watcher.expect("rooms")["rooms"] == [{"name": "Garden", "members": 1}]
    ada.say("remember this")
    ada.expect("said")
    ada.join("Ada", "attic")
    assert watcher.expect("rooms")["rooms"] == [{"name": "attic", "members": 1}]
    assert ada.join("Ada", "Garden")["history"] == []


def test_window_that_comes_back_takes_the_place_of_its_lost_connection(chat):
    ada, lost = chat(), chat()
    ada.join("Ada")
    lost.join("Grace")
    back = chat()
    assert back.join("Grace", resume=lost.welcome["token"])["name"] == "Grace"
    assert lost.ws.wait_closed(SOON)
    back.say("back again")
    kinds = [ada.receive()["type"] for _ in range(2)]
    while kinds[-1] != "said":
        kinds.append(ada.receive()["type"])
    assert kinds.count("arrived") == 1  # the first time
    assert "departed" not in kinds


def test_name_that_was_made_unique_stays_when_its_window_comes_back(chat):
    ada, lost, back = chat(), chat(), chat()
    ada.join("Ada")
    assert lost.join("Ada")["name"] == "Ada 2"
    assert back.join("Ada", resume=lost.welcome["token"])["name"] == "Ada 2"
    back.say("back again")
    kinds = []
    while not kinds or kinds[-1] != "said":
        kinds.append(ada.receive()["type"])
    assert kinds.count("arrived") == 1
    assert "departed" not in kinds


def test_room_of_one_keeps_its_history_when_its_window_comes_back(chat):
    lost, back = chat(), chat()
    lost.join("Ada")
    lost.say("still there?")
    lost.expect("said")
    joined = back.join("Ada", resume=lost.welcome["token"])
    assert [said["text"] for said in joined["history"]] == ["still there?"]


def test_unknown_token_resumes_nothing(chat):
    ada = chat()
    ada.join("Ada")
    assert chat().join("Ada", resume="guessed")["name"] == "Ada 2"
    ada.say("still here")
    assert ada.expect("said")["text"] == "still here"


# --- limits and mistakes ---------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "bad-json"),
        ("[" * 10_000, "bad-json"),
        (b'{"type": "ping"}', "bad-json"),
        ("[]", "bad-json"),
        ("7", "bad-json"),
        ("{}", "bad-type"),
        ('{"type": ["join"]}', "bad-type"),
        ('{"type": "shout"}', "bad-type"),
        ('{"type": "say", "text": "x", "ref": 7}', "bad-ref"),
        ('{"type": "say"}', "bad-text"),
        ('{"type": "say", "text": null}', "bad-text"),
        ('{"type": "say", "text": " \\n"}', "bad-text"),
        ('{"type": "say", "text": "\\ud83d"}', "bad-text"),
        (json.dumps({"type": "say", "text": "x" * 2001}), "bad-text"),
        (json.dumps({"type": "say", "text": "x" * 20_000}), "too-long"),
        ('{"type": "join", "name": "Ada"}', "bad-room"),
        ('{"type": "join", "room": "lobby"}', "bad-name"),
        ('{"type": "join", "room": "lobby", "name": "\\u0000 \\u202e"}', "bad-name"),
        (json.dumps({"type": "join", "room": "lobby", "name": "x" * 33}), "bad-name"),
        (json.dumps({"type": "join", "room": "x" * 33, "name": "Ada"}), "bad-room"),
    ],
)
def test_bad_message_gets_an_error_and_the_connection_goes_on(chat, message, code):
    ada = chat()
    ada.join("Ada")
    ada.ws.send(message)
    error = ada.expect("error")
    assert error["code"] == code
    assert error["text"]
    ada.say("still here")
    assert ada.expect("said")["text"] == "still here"


def test_error_names_the_message_that_it_is_for(chat):
    assert chat().ask(type="say", text="", ref="a1")["ref"] == "a1"


def test_names_are_put_in_one_line_without_what_cannot_be_seen(chat):
    joined = chat().join("  Ada\t\n\u202eLove\u00a0lace ", " the \n garden ")
    assert joined["name"] == "Ada Love lace"
    assert joined["room"] == "the garden"


def test_longest_text_comes_back_whole(chat):
    ada = chat()
    ada.join("Ada")
    ada.say("€" * 2000)
    assert ada.expect("said")["text"] == "€" * 2000


def test_rooms_are_limited(chat):
    with chatting(max_rooms=2) as (_, chat):
        ada, grace, barbara = chat(), chat(), chat()
        ada.join("Ada", "one")
        grace.join("Grace", "two")
        assert barbara.ask(type="join", room="three", name="Barbara")["code"] == "too-many-rooms"
        assert barbara.join("Barbara", "two")["members"] == ["Grace", "Barbara"]


def test_members_of_a_room_are_limited_and_who_is_refused_stays_where_they_were(chat):
    with chatting(max_members=2) as (_, chat):
        ada, grace, barbara = chat(), chat(), chat()
        ada.join("Ada")
        grace.join("Grace")
        barbara.join("Barbara", "garden")
        assert barbara.ask(type="join", room="lobby", name="Barbara")["code"] == "room-full"
        barbara.say("fine here")
        assert barbara.expect("said")["text"] == "fine here"
        assert grace.join("Hopper")["members"] == ["Ada", "Hopper"]  # her own place


def test_flood_is_slowed_and_told_and_others_go_on():
    with chatting(burst=5, rate=50.0) as (_, chat):
        flooder, ada = chat(), chat()
        flooder.join("Flooder")
        ada.join("Ada")
        start = time.monotonic()
        for number in range(30):
            flooder.say(f"{number}")
        ada.say("in between")
        seen = []
        while len(seen) < 31:
            said = ada.expect("said")
            seen.append((said["name"], said["text"]))
        assert time.monotonic() - start > 25 / 50 * 0.8
        assert seen.index(("Ada", "in between")) < 20
        assert [text for name, text in seen if name == "Flooder"] == [str(i) for i in range(30)]
        assert flooder.expect("error")["code"] == "slow"


def test_flooder_who_goes_away_is_not_waited_for():
    with chatting(burst=1, rate=0.01) as (server, chat):
        flooder = chat()
        flooder.join("Flooder")
        flooder.say("too much")
        assert flooder.expect("error")["code"] == "slow"
        flooder.ws.abort()
        wait_until(lambda: not server.connections)


def test_window_that_does_not_read_costs_only_itself():
    with chatting(burst=10_000) as (_, chat):
        slow, ada = chat(max_queue=1, read_limit=1), chat()
        slow.join("Slow")
        ada.join("Ada")
        kind = None
        for _ in range(5000):  # 40 MB, more than what the kernel holds
            ada.say("\N{WAVING HAND SIGN}" * 2000)
            while kind not in ("said", "departed"):
                kind = ada.receive()["type"]
            if kind == "departed":
                break
            kind = None
        if kind is None:  # it is being closed
            assert ada.expect("departed")["name"] == "Slow"
        assert ada.join("Ada")["members"] == ["Ada"]


def test_ping_is_a_real_one_and_its_latency_comes_back(chat):
    ada = chat()
    ada.send(type="ping")
    assert 0 < ada.expect("pong")["latency"] < SOON * 1000


@contextlib.contextmanager
def unanswered_ping(server):
    """A socket that had a ping sent to it, and doesn't answer that."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=SOON) as sock:
        sock.sendall(build_request("/chat"))
        read_head(sock)
        sock.sendall(build_frame(0x81, b'{"type": "ping"}', key=b"1234"))
        data = b""
        while b"\x89\x04" not in data:
            data += sock.recv(1 << 12)
        yield sock


def test_ping_without_an_answer_is_said_to_have_none(monkeypatch):
    monkeypatch.setattr("syncws.demo.chat.ANSWER_TIMEOUT", 0.05)
    with chatting() as (server, _), unanswered_ping(server) as sock:
        data = b""
        while b'{"type":"pong","latency":null}' not in data:
            data += sock.recv(1 << 12)


def test_window_that_goes_away_instead_of_answering_a_ping_is_not_waited_for():
    with chatting() as (server, _), unanswered_ping(server):
        (connection,) = server.connections
        connection.abort()
        wait_until(lambda: not server.connections)


# --- the pace --------------------------------------------------------------------


def test_pace_lets_a_burst_through_and_then_keeps_the_rate():
    now = [100.0]
    pace = Pace(3, 2.0, clock=lambda: now[0])
    assert [pace.take() for _ in range(5)] == [0, 0, 0, 0.5, 1.0]
    now[0] += 1.0
    assert pace.take() == 0.5
    now[0] += 60
    assert [pace.take() for _ in range(4)] == [0, 0, 0, 0.5]
