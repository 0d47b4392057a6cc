"""Sessions of the fallback are those of the process that opened them."""

import os
import subprocess
import sys

import pytest
from support.programs import ROOT

PROGRAM = """
import faulthandler, os, sys, threading, warnings
warnings.simplefilter("ignore")  # threads that the child doesn't have are the point
sys.path.insert(0, "tests")
from support.fallback_client import FallbackClient
from syncws import serve

asked, go_on = threading.Event(), threading.Event()

def wait(ws, request):
    if request.path == "/wait":
        asked.set()
        go_on.wait(20)

def echo(ws):
    for message in ws:
        ws.send(message)

def round_trip(server):
    with FallbackClient(server) as client:
        client.open()
        client.send("hello")
        assert client.receive()[0][1] == b"hello"

server = serve(echo, "127.0.0.1", 0, fallback=True, process_request=wait).start()
client = FallbackClient(server)
client.open()
opening = FallbackClient(server, "/wait")
opening.ask("POST", headers=opening.opening())
assert asked.wait(20)
descriptors = len(os.listdir("/proc/self/fd"))
pid = os.fork()
if pid == 0:
    faulthandler.dump_traceback_later(20, exit=True)  # where it hangs
    try:
        assert not server.is_serving()
        left = len(os.listdir("/proc/self/fd"))
        assert left <= descriptors - 9, (left, descriptors)  # sessions, requests, what wakes
        server.close()
        with serve(echo, "127.0.0.1", 0, fallback=True) as own:
            round_trip(own)
    except BaseException as exc:
        print(repr(exc), file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
client.send("hello")
assert client.receive()[0][1] == b"hello"
go_on.set()
opening.session = opening.answer().json["session"]
opening.close()
client.close()
server.close()
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_has_no_part_in_sessions():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)
