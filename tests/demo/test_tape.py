"""What goes over a connection of the demo, as its page sees it."""

import contextlib
import json
import socket

import pytest
from support.chatting import chatting
from support.pairs import SOON, wait_until

from syncws import ConnectionClosed, connect
from syncws.demo import tape


@pytest.fixture
def demo():
    with chatting() as (server, open_window):
        yield server, open_window


class Watcher:
    """A connection that watches another one."""

    def __init__(self, server, token):
        self.ws = connect(f"{server.uri}wire")
        self.ws.send(token)
        early = []  # what came before the array of what had been there before
        while not isinstance(earlier := json.loads(self.ws.recv(SOON)), list):
            early.append(earlier)
        self.records = [*earlier, *early]

    def until(self, **wanted):
        """The next record that has these values."""
        while True:
            for index, record in enumerate(self.records):
                if all(record.get(key) == value for key, value in wanted.items()):
                    del self.records[: index + 1]
                    return record
            self.records = [json.loads(self.ws.recv(SOON))]


@pytest.fixture
def watched(demo):
    server, open_window = demo
    window = open_window()
    watcher = Watcher(server, window.welcome["token"])
    with watcher.ws:
        yield window, watcher


def test_opening_handshake_comes_first(watched):
    _, watcher = watched
    request, response = watcher.records[:2]
    assert (request["from"], request["lines"][0]) == ("browser", "GET /chat HTTP/1.1")
    assert (response["from"], response["status"]) == ("server", 101)
    assert [record["n"] for record in watcher.records] == [1, 2, 3]


def test_frames_of_both_directions_are_shown_with_their_bytes(watched):
    window, watcher = watched
    window.join("Ada")
    window.say("hello")
    sent = watcher.until(text='{"type": "say", "text": "hello"}')
    assert (sent["from"], sent["name"], sent["fin"]) == ("browser", "TEXT", True)
    assert len(sent["masking_key"]) == 8
    assert bytes.fromhex(sent["payload"]).decode() == sent["text"]
    assert sent["header"] == f"81{0x80 | sent['length']:02x}{sent['masking_key']}"
    said = watcher.until(**{"from": "server", "name": "TEXT"})
    while "hello" not in said["text"]:
        said = watcher.until(**{"from": "server", "name": "TEXT"})
    assert said["masking_key"] is None
    assert said["time"] >= sent["time"]
    assert said["n"] > sent["n"]


def test_pings_and_pongs_are_shown(watched):
    window, watcher = watched
    window.send(type="ping")
    window.expect("pong")
    ping = watcher.until(name="PING")
    assert ping["from"] == "server"
    pong = watcher.until(name="PONG")
    assert (pong["from"], pong["payload"]) == ("browser", ping["payload"])


def test_closing_handshake_is_shown_and_then_watching_ends(watched):
    window, watcher = watched
    window.ws.close(4000, "enough")
    closes = [watcher.until(name="CLOSE") for _ in range(2)]
    assert [close["from"] for close in closes] == ["browser", "server"]
    assert [close["close_code"] for close in closes] == [4000, 4000]
    assert closes[0]["close_reason"] == "enough"
    assert watcher.until(type="end")["from"] in ("browser", "server")
    assert watcher.ws.wait_closed(SOON)
    assert watcher.ws.close_code == 1000


def test_messages_are_compressed_only_if_the_window_says_so(demo):
    server, open_window = demo
    for path, compressed in (("chat", False), ("chat?compress=1", True), ("chat?x=%00", False)):
        window = open_window(path)
        assert bool(window.ws.protocol.extensions) == compressed
        watcher = Watcher(server, window.welcome["token"])
        with watcher.ws:
            window.join("Ada")
            window.say("hello " * 50)
            said = watcher.until(**{"from": "server", "compressed": compressed})
            while "hello hello" not in said["text"]:
                said = watcher.until(**{"from": "server", "compressed": compressed})


def test_credentials_are_not_shown(demo):
    server, open_window = demo
    window = open_window(additional_headers={"Cookie": "session=secret", "X-Other": "shown"})
    watcher = Watcher(server, window.welcome["token"])
    with watcher.ws:
        assert "Cookie: (not shown)" in watcher.records[0]["lines"]
        assert "X-Other: shown" in watcher.records[0]["lines"]


@pytest.mark.parametrize("token", ["", "guessed", b"guessed", "x" * 1000])
def test_wrong_token_gets_nothing(demo, token):
    server, open_window = demo
    open_window().join("Ada")
    with connect(f"{server.uri}wire") as ws:
        ws.send(token)
        with pytest.raises(ConnectionClosed):
            ws.recv(SOON)
        assert (ws.close_code, ws.close_reason) == (4403, "no such connection")


def test_who_says_no_token_is_not_waited_for(demo, monkeypatch):
    monkeypatch.setattr("syncws.demo.chat.ANSWER_TIMEOUT", 0.05)
    with connect(f"{demo[0].uri}wire") as ws:
        assert ws.wait_closed(SOON)
        assert ws.close_code == 4403


def test_token_is_of_no_use_after_the_end(demo):
    server, open_window = demo
    window = open_window()
    window.ws.close()
    wait_until(lambda: not server._roster.running)  # its handler is over, too
    with connect(f"{server.uri}wire") as ws:
        ws.send(window.welcome["token"])
        assert ws.wait_closed(SOON)
        assert ws.close_code == 4403


def test_watchers_of_a_connection_are_limited(demo):
    server, open_window = demo
    token = open_window().welcome["token"]
    watchers = [Watcher(server, token).ws for _ in range(tape.MAX_WATCHERS)]
    with connect(f"{server.uri}wire") as ws:
        ws.send(token)
        assert ws.wait_closed(SOON)
        assert ws.close_reason == "watched already"
    watchers.pop().close()
    wait_until(lambda: len(server.connections) == tape.MAX_WATCHERS)
    watchers.append(Watcher(server, token).ws)
    for watcher in watchers:
        watcher.close()


def test_only_the_last_frames_are_kept(demo, monkeypatch):
    monkeypatch.setattr(tape, "KEPT", 5)
    server, open_window = demo
    window = open_window()
    window.join("Ada")
    window.say("hello")
    window.expect("said")
    watcher = Watcher(server, window.welcome["token"])
    with watcher.ws:
        assert len(watcher.records) == 5
        assert watcher.records[-1]["n"] > 5


def test_long_payloads_are_kept_in_part(watched):
    window, watcher = watched
    window.join("Ada")
    window.say("x" * 2000)
    said = watcher.until(**{"from": "browser", "truncated": True})
    assert len(said["payload"]) == 2 * tape.MAX_PAYLOAD
    assert said["length"] > 2000


def test_watcher_that_does_not_read_misses_frames_and_the_chat_goes_on():
    with chatting(burst=100_000) as (server, open_window), socket.socket() as sock:
        # The kernel takes little for who doesn't read.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
        for listener in server._sockets:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
        sock.connect(("127.0.0.1", server.port))
        window = open_window()
        window.join("Ada")
        with connect(f"{server.uri}wire", sock=sock, max_queue=1, read_limit=1) as ws:
            ws.send(window.welcome["token"])
            ws.recv(SOON)
            for number in range(2500):
                window.say(f"{number} {'x' * 1000}")
                window.expect("said")
            numbers, text = [], ""
            while "still here" not in text:  # once it reads, it gets what comes
                window.say("still here")
                assert window.expect("said")["text"] == "still here"
                with contextlib.suppress(TimeoutError):
                    while "still here" not in text:
                        text = ws.recv(0.3)
                        numbers.append(json.loads(text)["n"])
        assert numbers == sorted(set(numbers))
        assert numbers[-1] > 5000
        assert len(numbers) < 2500  # of 5,000 frames
