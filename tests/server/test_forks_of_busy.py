"""Children of a process whose threads are busy with the library use it, too, and don't hang."""

import os
import subprocess
import sys

import pytest
from support.programs import ROOT

PROGRAM = """
import faulthandler, os, sys, threading, time, warnings
warnings.simplefilter("ignore")  # threads that the child doesn't have are the point
from syncws import connect, serve
from syncws.accel import serialize_frame

def echo(ws):
    for message in ws:
        ws.send(message)

def round_trips(uri, compression):
    with connect(uri, proxy=None, compression=compression) as ws:
        for _ in range(20):
            ws.send("hello")
            assert ws.recv(20) == "hello"

def be_busy(compression):
    while not over.is_set():
        round_trips(server.uri, compression)
        warm.release()

def be_child(number):
    keys = [serialize_frame(0x82, b"", True)[2:] for _ in range(50)]
    if number % 2:
        own = serve(echo, "127.0.0.1", 0).start()
        round_trips(own.uri, None)
        own.close()
    os.write(writer, b"".join(keys))

server = serve(echo, "127.0.0.1", 0).start()
over, warm = threading.Event(), threading.Semaphore(0)
threads = [threading.Thread(target=be_busy, args=[how]) for how in (None, None, "deflate")]
for thread in threads:
    thread.start()
for _ in range(10 * len(threads)):
    warm.acquire()  # nobody imports any more: Python's locks for that would stay taken
reader, writer = os.pipe()
drawn = []
for number in range(int(sys.argv[1])):
    pid = os.fork()
    if pid == 0:
        faulthandler.dump_traceback_later(9, exit=True)  # where it hangs
        try:
            be_child(number)
        except BaseException as exc:
            print(repr(exc), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    print(status, end=" ", flush=True)
    if status == 0:
        data = os.read(reader, 200)
        drawn += [data[i : i + 4] for i in range(0, 200, 4)]
over.set()
for thread in threads:
    thread.join()
server.close()
print(len(drawn) - len(set(drawn)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.timeout(120)
def test_children_of_busy_threads_go_on():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "20"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    *statuses, doubled = done.stdout.split()
    assert statuses == ["0"] * 20, done.stderr
    assert int(doubled) < 3  # masking keys: of four random bytes
    assert (done.returncode, done.stderr) == (0, "")
