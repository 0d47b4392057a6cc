"""The programs of docs/rooms.md, with a real Redis."""

import contextlib
import http.client
import json
import re
import subprocess
import sys

import pytest
from support.pairs import SOON, wait_until
from support.redis_server import RedisServer, needs_redis
from support.snippets import DOCS, PATIENCE, block, run, running_server
from support.snippets import Program as Running

from syncws import connect
from syncws.pubsub import Hub, HubError, HubStats
from syncws.testing import pair

pytest.importorskip("redis")

PAGE = "rooms"
TEXT = (DOCS / "rooms.md").read_text(encoding="utf-8")

#: Where the programs of the page expect Redis.
URL = "redis://localhost:6379"


@pytest.fixture(scope="module")
def shared_redis(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(shared_redis):
    """A Redis without anything in it."""
    shared_redis.command("FLUSHALL")
    return shared_redis


def program(name, redis):
    """A program of the page, for this Redis."""
    code = block(PAGE, name)
    assert URL in code
    return code.replace(URL, redis.url)


def test_rooms_chat():
    with running_server(block(PAGE, "chat")) as (port, _):
        uri = f"ws://localhost:{port}/rooms/"
        with connect(f"{uri}a") as ann, connect(f"{uri}a") as bob, connect(f"{uri}b") as eve:
            assert_all_hear(ann, bob)
            eve.send("alone")
            assert eve.recv(SOON) == "alone"
            ann.send("hello")
            assert bob.recv(SOON) == "hello"


@needs_redis
def test_nothing_but_the_hub_changes_for_several_processes(redis):
    (line,) = re.findall(rf"`(hub = Hub\(\"{URL}\"\))`", TEXT)
    code = block(PAGE, "chat").replace("hub = Hub()", line.replace(URL, redis.url))
    assert redis.url in code
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(running_server(code))[0] for _ in range(2)]
        uris = [f"ws://localhost:{port}/rooms/a" for port in ports]
        ann, bob = [stack.enter_context(connect(uri)) for uri in uris]
        assert_all_hear(ann, bob)
        ann.send("hello")
        assert bob.recv(SOON) == "hello"


def assert_all_hear(*clients):
    """Wait until each is a member: what it says itself tells it so. Then nothing is left."""
    for number, client in enumerate(clients):
        client.send(str(number))
        receive_until(client, str(number))
    clients[0].send("all")
    for client in clients:
        receive_until(client, "all")


def receive_until(client, wanted):
    while client.recv(SOON) != wanted:
        pass


def history(redis, name):
    with Hub(redis.url) as hub:
        return [entry.message for entry in hub.room(name).history()]


@needs_redis
def test_rooms_script(redis):
    run(program("script", redis))
    assert history(redis, "news") == ["the bakery is open", "bread: 3 euros"]
    assert history(redis, "weather") == ["rain until noon"]


@needs_redis
def test_rooms_task(redis, tmp_path):
    pytest.importorskip("celery")
    (tmp_path / "tasks.py").write_text(program("task", redis), encoding="utf-8")
    command = [sys.executable, "-m", "celery", "-A", "tasks"]
    call = "import tasks\nfor number in range(20): tasks.make_report.delay(number)"
    subprocess.run([sys.executable, "-c", call], cwd=tmp_path, check=True, timeout=PATIENCE)
    options = ("worker", "--pool", "prefork", "--concurrency", "4", "--loglevel", "WARNING")
    with subprocess.Popen([*command, *options], cwd=tmp_path) as worker:
        try:
            with Hub(redis.url) as hub:
                wait_until(lambda: len(hub.room("news").history()) >= 20, PATIENCE)
        finally:
            worker.terminate()
            worker.wait(PATIENCE)
    assert sorted(history(redis, "news")) == sorted(f"report {n} is ready" for n in range(20))


@needs_redis
def test_rooms_resume(redis):
    with Hub(redis.url) as hub, running_server(program("resume", redis)) as (port, _):
        news, uri = hub.room("news"), f"ws://localhost:{port}/"
        for number in range(30):
            news.publish(str(number))
        with connect(uri) as ws:
            ws.send("")
            first = [json.loads(ws.recv(SOON)) for _ in range(20)]
            assert [parts["text"] for parts in first] == [str(n) for n in range(10, 30)]
        news.publish("missed")
        with connect(uri) as ws:
            ws.send(first[-1]["position"])
            assert json.loads(ws.recv(SOON))["text"] == "missed"
            news.publish("live")
            assert json.loads(ws.recv(SOON))["text"] == "live"
            redis.command("FLUSHALL")
            news.publish("after")
            assert {"resync": True} in [json.loads(ws.recv(SOON)) for _ in range(2)]
        with connect(uri) as ws:
            ws.send(first[-1]["position"])
            assert json.loads(ws.recv(SOON)) == {"resync": True}
        with connect(uri) as ws:
            ws.send("nonsense")
            assert ws.wait_closed(SOON)
            assert (ws.close_code, ws.close_reason) == (1008, "that is no position")


@needs_redis
def test_rooms_client(redis):
    server = program("resume", redis)
    with Hub(redis.url) as hub, running_server(server) as (port, first):
        hub.publish("news", "before")
        with Running(block(PAGE, "client"), port) as client:
            assert client.readline() == "before"
            hub.publish("news", "live")
            assert client.readline() == "live"
            first.process.kill()
            assert client.readline() == "(trying again)"
            hub.publish("news", "missed")
            with Running(server, port):
                assert client.readline() == "missed"
                hub.publish("news", "live again")
                assert client.readline() == "live again"


@needs_redis
def test_rooms_presence(redis):
    code = program("presence", redis)
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(running_server(code))[0] for _ in range(2)]
        uris = [f"ws://localhost:{port}/rooms/a" for port in ports]
        ann = stack.enter_context(connect(uris[0]))
        ann.send("ann")
        assert {ann.recv(SOON) for _ in range(2)} == {"in the room: ann", "ann is here"}
        with connect(uris[1]) as bob:
            bob.send("bob")
            assert {bob.recv(SOON) for _ in range(2)} == {"in the room: ann, bob", "bob is here"}
            assert ann.recv(SOON) == "bob is here"
            bob.send("hello")
            assert ann.recv(SOON) == "bob: hello"
        assert ann.recv(SOON) == "bob has left"


@needs_redis
def test_rooms_listen(redis):
    with Running(program("listen", redis)) as listener, Hub(redis.url) as hub:
        assert listener.readline() == "listening"
        position = hub.publish("news", "hello")
        assert listener.readline() == f"{position} hello"


@needs_redis
def test_rooms_errors(tmp_path):
    with RedisServer(tmp_path) as redis, running_server(program("errors", redis)) as (port, _):
        with connect(f"ws://localhost:{port}/say/a") as ws:
            ws.send("hello")
            assert ws.recv(SOON) == "said"
            redis.stop()
            ws.send("is anybody there?")
            assert ws.recv(SOON).startswith("not said: Redis can't be reached")
            redis.start()
            ws.send("again")
            assert ws.recv(SOON) == "said"
        assert history(redis, "a") == ["hello", "again"]


@needs_redis
def test_rooms_watching(tmp_path):
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(RedisServer(tmp_path))
        port, server = stack.enter_context(running_server(program("watching", redis)))
        ws = stack.enter_context(connect(f"ws://localhost:{port}/rooms/a"))
        assert_all_hear(ws)
        assert get("/health", port) == (200, "fine\n")
        stats = get("/stats", port)[1]
        assert re.search(r"rooms=1, members=1, published=2, received=2, ", stats)
        redis.stop()
        lost = server.readline()
        assert re.match(r"lost: [0-9a-f]{16} Redis can't be reached", lost)
        status, problem = get("/health", port)
        assert status == 503
        assert "can't be reached" in problem
        assert "losses=1" in get("/stats", port)[1]
        redis.start()
        back = server.readline()
        assert re.fullmatch(r"back: [0-9a-f]{16} after \d+\.\d s", back)
        assert back.split()[1] == lost.split()[1]
        ws.send("hello")
        assert ws.recv(SOON) == "hello"
        assert get("/health", port) == (200, "fine\n")


def get(path, port):
    """The status and text of a page."""
    connection = http.client.HTTPConnection("localhost", port, timeout=SOON)
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()


def test_rooms_backend(tmp_path):
    (tmp_path / "test_audited.py").write_text(block(PAGE, "backend"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert re.search(r"^\d\d passed", done.stdout, re.M), done.stdout


def test_the_figures_of_the_page_are_all_there():
    table = TEXT[TEXT.index("| figure |") : TEXT.index("A process without members doesn't read")]
    assert set(re.findall(r"`(\w+)`", table)) - {"None", "history"} == set(HubStats._fields)


# --- permissions ---


(ACL,) = re.findall(r"^<!-- acl -->\n```text\nACL (.*)\n```$", TEXT, re.M)
PERMISSIONS = re.findall(r"\+\S+", ACL)


def allow(redis, *, without=None):
    """Let the page's user do what the page says; return the URL of a hub that is that user."""
    redis.command("ACL", "DELUSER", "chat")
    redis.command("ACL", "LOG", "RESET")
    redis.command("SCRIPT", "FLUSH")  # so that it has to be loaded
    rules = [word for word in ACL.split() if word != without]
    assert redis.command("ACL", *rules).strip() == "OK"
    return redis.url.replace("://", "://chat:secret@")


def do_everything(url):
    """Use all that a hub can do."""
    # The lifetime is short, so that there are signs of life meanwhile.
    with Hub(url, lifetime=0.3, publish_timeout=1) as hub, pair() as ends:
        room = hub.room("r")
        position = room.publish("a")
        room.add(ends.server, data="Ann", since=position)
        assert [member.data for member in room.present()] == ["Ann"]
        hub.publish_many([("r", "x" * 100_000), ("r", b"b")])
        assert [len(ends.client.recv(SOON)) for _ in range(2)] == [100_000, 1]
        with room.listen(since=position, timeout=SOON) as entries:
            assert len(next(entries).message) == 100_000
        assert [entry.message for entry in room.history(1)] == [b"b"]
        wait_until(lambda: hub.stats().lag_messages == 0)
        room.discard(ends.server)
        wait_until(lambda: room.present() == [])


def denied(redis):
    """What somebody tried without permission."""
    lines = redis.command("ACL", "LOG").splitlines()
    return [lines[i + 1] for i, line in enumerate(lines) if line == "object"]


@needs_redis
def test_these_permissions_are_enough(redis):
    do_everything(allow(redis))
    unneeded = ("client|setinfo",)  # redis-py says what it is, if it may
    assert [each for each in denied(redis) if each not in unneeded] == []


@needs_redis
@pytest.mark.slow
@pytest.mark.parametrize("permission", PERMISSIONS)
def test_each_of_these_permissions_is_needed(redis, permission):
    url = allow(redis, without=permission)
    with contextlib.suppress(HubError, AssertionError, TimeoutError):
        do_everything(url)
    assert any(permission[1:] == each.lower() for each in denied(redis))


@needs_redis
def test_other_keys_are_out_of_reach(redis):
    url = allow(redis)
    with Hub(url, prefix="other:") as hub, pytest.raises(HubError, match=r"(?i)noperm|permission"):
        hub.publish("r", "a")
