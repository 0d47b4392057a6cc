"""Crowds of threads that come back from receiving at the same moment."""

import subprocess
import sys
import textwrap

import pytest
from support.pairs import SOON
from support.programs import ROOT

from syncws.accel import IMPLEMENTATION

pytestmark = pytest.mark.skipif(
    IMPLEMENTATION == "pure" or sys.platform == "win32", reason="receiving is Python's"
)

BEGINNING = """
    import contextlib, os, sys, threading, time, warnings
    warnings.simplefilter("ignore")  # threads that the child doesn't have are the point
    sys.path.insert(0, "tests")
    from support.pairs import SOON, connection_pair, run

    def echo(ws):
        for message in ws:
            ws.send(message)

    def play(ws):
        with contextlib.suppress(Exception):
            while True:
                ws.send("x")
                ws.recv()

    stack = contextlib.ExitStack()
    for _ in range(10):
        client, server = stack.enter_context(connection_pair(ping_interval=None))
        threading.Thread(target=echo, args=[server], daemon=True).start()
        threading.Thread(target=play, args=[client], daemon=True).start()
"""


def run_program(program, **kwargs):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BEGINNING) + textwrap.dedent(program)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=4 * SOON,
        **kwargs,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_a_child_does_not_wait_for_threads_that_only_the_parent_has():
    done = run_program("""
        for number in range(20):
            pid = os.fork()
            if pid == 0:
                with connection_pair() as (client, server):
                    answering = run(lambda: server.send(server.recv(SOON)))
                    client.send("x")
                    assert run(client.recv, SOON).result() == "x"
                    answering.result()
                os._exit(0)
            deadline = time.monotonic() + SOON
            while os.waitpid(pid, os.WNOHANG) == (0, 0):
                if time.monotonic() > deadline:
                    os.kill(pid, 9)
                    os.write(1, b"child %d hangs" % number)
                    os._exit(1)
                time.sleep(0.01)
        os._exit(0)
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_interpreter_ends_while_threads_come_back():
    done = run_program("""
        time.sleep(0.2)  # they come back all the time; nothing is waited for
        sys.exit(3)
    """)
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
