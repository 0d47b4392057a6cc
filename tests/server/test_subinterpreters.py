"""Servers and clients in subinterpreters: each has its own, and ends with what it has open."""

import subprocess
import sys
import textwrap

import pytest
from support.interpreters import KINDS, Interpreter, is_shareable
from support.programs import ROOT

from syncws import connect, serve
from syncws.server import ThreadingServer

#: What a program begins with.
OUTSIDE = """
import queue, sys, threading, time
sys.path.insert(0, "tests")
from support.interpreters import Interpreter
from syncws import connect, serve

kind = sys.argv[1]

def echo(ws):
    for message in ws:
        ws.send(message)
"""

#: What its interpreters begin with.
INSIDE = """
import sys, threading, warnings
warnings.simplefilter("error")
from syncws import ConnectionClosed, broadcast, connect, serve

def echo(ws):
    for message in ws:
        ws.send(message)

def round_trips(uri, number):
    def work():
        with connect(uri, proxy=None) as ws:
            for i in range(number):
                ws.send(f"{i}")
                if ws.recv(10) == f"{i}":
                    done.append(i)
    done = []
    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(done)

def wait_for_thread(name):
    pause = threading.Event()
    while not any(thread.name.startswith(name) for thread in threading.enumerate()):
        pause.wait(0.01)

def wait_for_end_of_threads():
    pause = threading.Event()
    while threading.active_count() > 1:
        pause.wait(0.01)
"""

PROBE = """
import sys
sys.path.insert(0, "tests")
from support.interpreters import Interpreter
with Interpreter(sys.argv[1]) as one, Interpreter(sys.argv[1]) as two:
    one.run("import ssl"), two.run("import ssl")
"""

#: Before, an interpreter that has threads refused to run anything, and to end.
keeps_threads = pytest.mark.skipif(sys.version_info < (3, 12), reason="needs Python 3.12")

pytestmark = pytest.mark.timeout(120)


def start(source, kind):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", source, kind],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def run(kind, program, code):
    """Run a program in which interpreters of a kind run ``CODE``, and nothing goes wrong."""
    done = start(f"{OUTSIDE}\nCODE = {INSIDE + code!r}\n{textwrap.dedent(program)}", kind)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.fixture(params=KINDS, scope="module")
def kind(request):
    if start(PROBE, request.param).returncode < 0:  # so it is in Python 3.12.1
        pytest.skip("this Python doesn't survive the ssl module in interpreters")
    return request.param


TO_ITSELF = """
with serve(echo, "127.0.0.1", 0) as server:
    answer(round_trips(server.uri, 50))
wait_for_end_of_threads()
"""


def test_an_interpreter_talks_to_itself(kind):
    program = """
        for _ in range(3):
            with Interpreter(kind) as other:
                print(other.run(CODE))
    """
    assert run(kind, program, TO_ITSELF) == ["150"] * 3


THREADS = """
server = serve(echo, "127.0.0.1", 0).start()
ws = connect(server.uri, proxy=None)
ws.send("x"), ws.recv(10)
daemons = {thread.name: thread.daemon for thread in threading.enumerate()}
answer([daemons["syncws-accept"], daemons["syncws-handler"], any(daemons.values())])
ws.close(), server.close()
wait_for_end_of_threads()
"""


def test_its_threads_are_no_daemons(kind):
    program = """
        with Interpreter(kind) as other:
            print(other.run(CODE))
    """
    assert run(kind, program, THREADS) == ["[False, False, False]"]


def test_an_interpreter_talks_to_another_one_in_several_threads(kind):
    program = """
        with serve(echo, "127.0.0.1", 0) as server:
            with Interpreter(kind) as other:
                print(other.run(f"URI = {server.uri!r}" + CODE))
    """
    code = "answer(round_trips(URI, 100))\nwait_for_end_of_threads()"
    assert run(kind, program, code) == ["300"]


SERVER = """
def begin():
    global server
    server = serve(echo, "127.0.0.1", 0).start()
    answer(server.port)
"""


@keeps_threads
def test_interpreters_talk_to_each_other_in_several_threads(kind):
    program = """
        with Interpreter(kind) as one, Interpreter(kind) as two:
            uri = f"ws://127.0.0.1:{one.run(CODE + 'begin()')}/"
            print(two.run(CODE + f"answer(round_trips({uri!r}, 100))"))
            with connect(uri, proxy=None) as ws:
                ws.send("from the main one")
                print(ws.recv(10))
    """
    assert run(kind, program, SERVER) == ["300", "from the main one"]


@keeps_threads
def test_peers_of_a_server_are_told_that_its_interpreter_ends(kind):
    program = """
        with Interpreter(kind) as other:
            port = other.run(CODE + "begin()")
            ws = connect(f"ws://127.0.0.1:{port}/", proxy=None)
            ws.send("x")
            print(ws.recv(10))
        ws.wait_closed(10)
        print(ws.close_code)
    """
    assert run(kind, program, SERVER) == ["x", "1001"]


CLIENTS = {
    "unread": "ws = connect(URI, proxy=None)",
    "in a cycle": "kept = [connect(URI, proxy=None)]; kept.append(kept); del kept",
    "read by a thread": """
ws = connect(URI, proxy=None)
def receive():
    try:
        ws.recv()
    except ConnectionClosed:
        pass
threading.Thread(target=receive).start()
""",
    "with a reader": "ws = connect(URI, proxy=None); wait_for_thread('syncws-reader')",
}


@keeps_threads
@pytest.mark.parametrize("client", CLIENTS)
def test_an_interpreter_that_ends_closes_its_clients(kind, client):
    program = """
        codes = queue.Queue()

        def handler(ws):
            echo(ws)
            codes.put(ws.close_code)

        with serve(handler, "127.0.0.1", 0) as server:
            with Interpreter(kind) as other:
                other.run(f"URI = {server.uri!r}")
                other.run(CODE)
                start = time.monotonic()
            print(codes.get(timeout=10), time.monotonic() - start < 5)
    """
    assert run(kind, program, CLIENTS[client]) == ["1001 True"]


LEFT = {
    "nothing": """
with serve(echo, "127.0.0.1", 0) as server, connect(server.uri, proxy=None) as ws:
    ws.send("x"), ws.recv(10)
""",
    "a server": """
server = serve(echo, "127.0.0.1", 0).start()
ws = connect(server.uri, proxy=None)
ws.send("x"), ws.recv(10)
""",
    "a server with a peer that does not read": """
server = serve(lambda ws: ws.wait_closed(), "127.0.0.1", 0).start()
ws = connect(server.uri, proxy=None, max_queue=1)
while not any(thread.name == "syncws-flusher" for thread in threading.enumerate()):
    broadcast(server, bytes(60_000), slow_peers="skip")
""",
    "a timer": """
from syncws.threaded.timekeeper import call_later
call_later(1000, print)
wait_for_thread("syncws-timekeeper")
""",
}


@keeps_threads
@pytest.mark.parametrize("left", LEFT)
def test_an_interpreter_ends_soon_whatever_it_leaves(kind, left):
    program = """
        with Interpreter(kind) as other:
            other.run(CODE)
            start = time.monotonic()
        print(time.monotonic() - start < 5)
    """
    assert run(kind, program, LEFT[left]) == ["True"]


def test_connections_and_types_are_each_interpreter_s_own(kind):
    with serve(list, "127.0.0.1", 0) as server, connect(server.uri, proxy=None) as ws:
        assert not is_shareable(ws)
        assert not is_shareable(server)
        with Interpreter(kind) as other:
            code = "import syncws\nfrom syncws.threaded import lifecycle\n"
            code += f"ws = syncws.connect({server.uri!r}, proxy=None)\n"
            code += "answer([lifecycle.count_alive(), id(syncws.server.ThreadingServer)])\n"
            code += "ws.close()\nimport threading, time\n"
            code += "while threading.active_count() > 1: time.sleep(0.01)"
            number, server_type = other.run(code).strip("[]").split(", ")
        assert number == "1"
        assert int(server_type) != id(ThreadingServer)
        ws.ping().wait(10)
