"""``serve --processes``: several processes, and the one that supervises them."""

import contextlib
import os
import pathlib
import re
import signal
import socket
import threading

import pytest
from support.first_process import can_be_first, serving_first
from support.pairs import run, wait_until
from support.redis_server import needs_redis
from support.shell import DEADLINE, Terminal, end, program
from support.snippets import free_port
from support.supervised import Site, assert_gone, children, supervised, write_app

import syncws
from syncws import cli
from syncws.cli import processes

HAS_PROC = pathlib.Path("/proc/self/stat").exists()

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(not HAS_PROC, reason="looks at processes in /proc"),
]

NOT_SHARED = "syncws: rooms aren't shared by the processes: each has its own, without a hub\n"


@pytest.fixture
def directory(tmp_path):
    write_app(tmp_path)
    return tmp_path


def assert_closed(connections, code):
    for ws in connections:
        assert ws.wait_closed(DEADLINE)
        assert ws.close_code == code


# --- serving ---------------------------------------------------------------------


def test_clients_are_divided_between_processes(directory):
    with supervised(directory) as site:
        one, two = site.connect_all(2)
        assert one.pid != two.pid
        assert site.process.pid not in (one.pid, two.pid)
        one.send("hello")  # which isn't passed on, for want of a hub
        assert one.recv(DEADLINE) == "hello"
        status, errors = site.end()
    assert (status, errors) == (0, NOT_SHARED)
    assert_gone(one.pid, two.pid)


@needs_redis
def test_groups_are_rooms_of_the_hub(directory, redis_server):
    with supervised(directory, "--hub", redis_server.url) as site:
        one, two = site.connect_all(2)
        one.send("hello")
        assert [ws.recv(DEADLINE) for ws in (one, two)] == ["hello", "hello"]
        assert site.end() == (0, "")


@needs_redis
def test_the_hubs_keys_have_a_prefix(directory, redis_server):
    arguments = ("--hub", redis_server.url, "--prefix", "served:")
    with supervised(directory, *arguments, count=1) as site:
        ws = site.connect()
        with syncws.pubsub.Hub(redis_server.url) as hub:
            hub.room("group").publish("unheard")
        with syncws.pubsub.Hub(redis_server.url, prefix="served:") as hub:
            hub.room("group").publish("heard")
        assert ws.recv(DEADLINE) == "heard"
        assert site.end() == (0, "")


@needs_redis
def test_a_single_process_has_a_hub_by_the_environment(directory, redis_server):
    env = {"SYNCWS_HUB": redis_server.url}
    arguments = ("serve", "app:handler", "--port", "0")
    with program(*arguments, cwd=directory, env=env) as process:
        process.stdout.readline()
        site = Site(process, process.stdout.readline().split()[-1])
        ws = site.connect()
        with syncws.pubsub.Hub(redis_server.url) as hub:
            hub.room("group").publish("from outside")
        assert ws.recv(DEADLINE) == "from outside"
        assert site.end() == (0, "")
        assert_closed([ws], 1001)


@needs_redis
def test_it_serves_although_the_hub_is_not_there_yet(directory):
    (directory / "app.py").write_text("def handler(ws): ws.send('0 without rooms')")
    with supervised(directory, "--hub", f"redis://127.0.0.1:{free_port()}/") as site:
        with syncws.connect(site.uri) as ws:
            assert ws.recv(DEADLINE) == "0 without rooms"
        status, errors = site.end()
    assert status == 0
    assert re.fullmatch(
        r"syncws: Redis can't be reached: .*; rooms work once it is there\n", errors
    )


@needs_redis
@pytest.mark.parametrize("processes", [[], ["--processes", "2"]])
def test_it_ends_where_the_hub_refuses(directory, redis_server, processes):
    url = redis_server.url.replace("//", "//user:secret@")
    arguments = ("serve", "app:handler", "--port", "0", "--hub", url, *processes)
    with program(*arguments, cwd=directory) as process:
        status, errors = end(process)
    assert status == 4
    assert re.fullmatch(r"syncws: Redis refuses: .*\n", errors)


def test_traces_tell_processes_apart(directory):
    with supervised(directory, "--trace") as site:
        ws = site.connect()
        assert site.process.stdout.readline().startswith(f"{ws.pid}#1 ")
        assert site.end()[0] == 0


# --- ending ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_all_in_an_orderly_way(directory, name):
    with supervised(directory) as site:
        connections = site.connect_all(2) + [site.connect() for _ in range(4)]
        assert site.end(name) == (0, NOT_SHARED)
        assert_closed(connections, 1001)


def test_a_second_signal_ends_all_at_once(directory):
    with supervised(directory, "--drain-seconds", "1000") as site:
        connections = site.connect_all(2) + [site.connect() for _ in range(4)]
        site.signal("SIGTERM")
        wait_until(lambda: not accepts(site.uri))
        assert site.process.poll() is None
        assert site.end() == (0, NOT_SHARED)
        assert_closed(connections, 1001)


def accepts(uri):
    try:
        syncws.connect(uri).close()
    except (OSError, syncws.InvalidHandshake):
        return False
    return True


def test_processes_end_when_their_supervisor_is_killed(directory):
    with supervised(directory) as site:
        connections = site.connect_all(2)
        site.process.kill()
        assert_closed(connections, 1001)
        assert_gone(*(ws.pid for ws in connections))


def test_a_terminal_that_is_closed_ends_it(directory, monkeypatch):
    arguments = ("serve", "app:handler", "--port", "0", "--processes", "2")
    monkeypatch.chdir(directory)
    with Terminal(*arguments) as terminal, open(os.devnull, "rb") as nothing:
        site = Site(terminal.process, terminal.expect(r"Connect with: .* (ws://\S+)")[1])
        connections = site.connect_all(2)
        os.dup2(nothing.fileno(), terminal._master)  # which closes the terminal
        site.signal("SIGHUP")
        assert site.process.wait(DEADLINE) == 0
        assert_closed(connections, 1001)


@can_be_first
def test_it_is_the_first_process_of_a_container(directory):
    (directory / "app.py").write_text(ORPHANS)
    path = str(pathlib.Path(syncws.__file__).parents[1])
    serve = ["serve", "app:handler", "--port", "0", "--processes", "2"]
    environment = {**os.environ, "PYTHONPATH": path}
    with serving_first(*serve, cwd=directory, env=environment) as (uri, terminate):
        ws = syncws.connect(uri)
        assert ws.recv(DEADLINE) == "reaped"
        terminate()
        assert_closed([ws], 1001)


#: Starts a process whose parent ends before it; says when it is gone, and no zombie.
ORPHANS = """
import os, subprocess, sys, time

ORPHAN = "import os; pid = os.fork(); print(pid) if pid else None"

def handler(ws):
    found = subprocess.run([sys.executable, "-c", ORPHAN], capture_output=True, text=True)
    while os.path.exists(f"/proc/{int(found.stdout)}"):
        time.sleep(0.01)
    ws.send("reaped")
    for _ in ws:
        pass
"""


# --- processes that end ----------------------------------------------------------


def test_a_process_that_is_killed_is_replaced_and_its_clients_come_back(directory):
    with supervised(directory) as site:
        victim, other = site.connect_all(2)
        os.kill(victim.pid, signal.SIGKILL)
        assert victim.wait_closed(DEADLINE)
        again = site.connect_all(2)
        assert victim.pid not in [ws.pid for ws in again]
        assert other.pid in [ws.pid for ws in again]
        other.send("still here")
        assert other.recv(DEADLINE) == "still here"
        status, errors = site.end()
    assert status == 0
    assert errors == (
        f"{NOT_SHARED}syncws: process {victim.pid} was ended by SIGKILL;"
        " another one starts in 0.1 s\n"
    )


def test_processes_that_end_again_and_again_are_replaced_later_and_later(directory):
    with supervised(directory, count=1) as site:
        for _ in range(3):
            ws = site.connect()
            ws.send("die")
            assert ws.wait_closed(DEADLINE)
        site.connect()
        status, errors = site.end()
    assert status == 0
    assert re.findall(r"starts in (\S+) s", errors) == ["0.1", "0.2", "0.4"]


def test_the_time_is_short_again_after_a_process_has_served_for_a_while(monkeypatch, capsys):
    supervisor = processes.Supervisor([], [[]], 0.0)
    (place,) = supervisor._places
    supervisor._announced = True
    now = [0.0]
    monkeypatch.setattr(processes, "clock", lambda: now[0])

    def serve_for(seconds):
        place.child = child = Ended(now[0])
        now[0] += seconds
        supervisor._ended(child)
        return round(place.start_at - now[0], 2)

    class Ended:
        def __init__(self, served_at):
            self.served_at = served_at

        def fate(self):
            return "process 1 ended with status 1"

    assert [serve_for(1) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert serve_for(11) == 0.1
    capsys.readouterr()


@pytest.mark.parametrize(
    ("source", "status", "error"),
    [
        ("handler = 3", 2, "syncws: app:handler is no handler: .*\n"),
        ("raise SystemExit", 1, r"syncws: process \d+ ended with status 0 before it served\n"),
        (
            "import os; os.kill(os.getpid(), 9)",
            1,
            r"syncws: process \d+ was ended by SIGKILL before it served\n",
        ),
        (
            "import nothing.at.all",
            2,
            r"Traceback [^$]*app.py[^$]*\nModuleNotFoundError: .*\n"
            r"syncws: app can't be imported: .*\n",
        ),
    ],
)
def test_what_can_not_be_served_ends_it(directory, source, status, error):
    (directory / "app.py").write_text(source)
    arguments = ("serve", "app:handler", "--port", "0", "--processes", "3")
    with program(*arguments, cwd=directory) as process:
        found, errors = end(process)
    assert found == status
    assert re.fullmatch(NOT_SHARED + error, errors)
    assert "find_target" not in errors


# --- reloading -------------------------------------------------------------------


class Crowd:
    """Clients that connect, chat, and connect again when they are sent away, until they end."""

    def __init__(self, site, size):
        self.site = site
        self.codes = []
        self.problems = []
        self.versions = set()
        self._leaving = threading.Event()
        self._threads = [threading.Thread(target=self._chat) for _ in range(size)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info):
        self._leaving.set()
        for thread in self._threads:
            thread.join(DEADLINE)

    def _chat(self):
        try:
            while not self._leaving.is_set():
                self._visit()
        except Exception as exc:
            self.problems.append(exc)

    def _visit(self):
        with self.site.connect() as ws:
            self.versions.add(ws.version)
            try:
                for number in range(50):
                    ws.send(f"{number}")
                    ws.recv(DEADLINE)
                    if self._leaving.is_set():
                        break
            except syncws.ConnectionClosed:
                self.codes.append(ws.close_code)


def hear(ws):
    """Take all that is said, until the end."""
    with contextlib.suppress(syncws.ConnectionClosed):
        for _ in ws:
            pass


def test_a_reload_replaces_all_and_no_client_is_refused_or_lost(directory):
    with supervised(directory, "--drain-seconds", "0.2") as site:
        before = site.connect_all(2)
        with Crowd(site, 6) as crowd:
            hearing = [run(hear, ws) for ws in before]
            wait_until(lambda: crowd.versions)
            write_app(directory, "second")
            site.signal("SIGHUP")
            assert_closed(before, 1012)
            assert_gone(*(ws.pid for ws in before))
            wait_until(lambda: "second" in crowd.versions)
        for each in hearing:
            each.result()
        after = site.connect_all(2)
        assert crowd.problems == []
        assert set(crowd.codes) <= {1012}
        assert {ws.version for ws in after} == {"second"}
        assert site.end() == (0, NOT_SHARED)
        assert_closed(after, 1001)


def test_reloading_twice_at_once_ends_with_new_processes_only(directory):
    with supervised(directory, "--drain-seconds", "0") as site:
        before = site.connect_all(2)
        site.signal("SIGHUP")
        write_app(directory, "second")
        site.signal("SIGHUP")
        assert_gone(*(ws.pid for ws in before))
        wait_until(lambda: {ws.version for ws in site.connect_all(2)} == {"second"})
        assert site.end()[0] == 0


def test_a_signal_during_a_reload_ends_old_and_new_processes(directory):
    with supervised(directory, "--drain-seconds", "1000") as site:
        before = site.connect_all(2)
        hearing = [run(hear, ws) for ws in before]
        site.signal("SIGHUP")
        wait_until(lambda: len(children(site.process.pid)) == 3)
        site.signal("SIGTERM")
        wait_until(lambda: not accepts(site.uri))
        pids = children(site.process.pid)
        assert site.end() == (0, NOT_SHARED)
        assert {ws.close_code for ws in before if ws.wait_closed(DEADLINE)} <= {1001, 1012}
        for each in hearing:
            each.result()
        assert_gone(*pids)


def test_a_reload_that_fails_leaves_the_others_as_they_are(directory):
    with supervised(directory) as site:
        connections = site.connect_all(2)
        (directory / "app.py").write_text("handler = 3")
        site.signal("SIGHUP")
        lines = [site.process.stderr.readline() for _ in range(3)]
        assert lines[1].startswith("syncws: app:handler is no handler: ")
        assert re.fullmatch(
            r"syncws: process \d+ ended with status 2; reloading is given up,"
            r" the others go on\n",
            lines[2],
        )
        for ws in connections:
            ws.send("hello")
            assert ws.recv(DEADLINE) == "hello"
        assert {ws.pid for ws in site.connect_all(2)} == {ws.pid for ws in connections}
        assert site.end() == (0, "")


# --- what can't be ---------------------------------------------------------------


@pytest.mark.parametrize("count", ["0", "-1", "x", "10000"])
def test_a_number_of_processes_that_is_none(capsys, count):
    with pytest.raises(SystemExit) as caught:
        cli.main(["serve", f"--processes={count}"])
    assert caught.value.code == 2
    assert "isn't a number of processes" in capsys.readouterr().err


def test_windows_has_no_processes_to_offer(capsys, monkeypatch):
    monkeypatch.setattr(processes, "CAN_SUPERVISE", False)
    with pytest.raises(SystemExit) as caught:
        cli.main(["serve", "--processes", "2"])
    assert caught.value.code == 2
    assert "Windows can't hand listening sockets to processes" in capsys.readouterr().err


def test_a_port_that_is_taken_is_said(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert cli.main(["serve", "--processes", "2", "--port", str(port)]) == 1
    assert "can't listen on 127.0.0.1" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "x", "1:2", "1:2:3:4", "999:998:997", "x:0:0"])
def test_only_a_supervisor_makes_workers(capsys, text):
    with pytest.raises(SystemExit) as caught:
        cli.main(["serve", f"--worker={text}"])
    assert caught.value.code == 2
    assert "it is for processes of --processes" in capsys.readouterr().err
