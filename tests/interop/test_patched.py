"""Under monkey-patched threads and sockets: green threads that the library knows nothing of."""

import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
from gevent import monkey
monkey.patch_all()
import syncws

def echo(ws):
    for message in ws:
        ws.send(message)

with syncws.serve(echo, "127.0.0.1", 0) as server:
    for compression in ("deflate", None):
        with syncws.connect(server.uri, compression=compression) as ws:
            # By descriptor it would block all green threads, this server's among them.
            assert not ws._direct
            for number in range(100):
                ws.send(f"message {number}")
                assert ws.recv(10) == f"message {number}"
            ws.send(bytes(1_000_000))
            assert len(ws.recv(10)) == 1_000_000
            assert ws.ping().wait(10)
            ws.send_many(str(number) for number in range(1000))
            assert [ws.recv(10) for _ in range(1000)] == [str(n) for n in range(1000)]
            assert syncws.wait([ws], 0.01) == []
            ws.send("x")
            assert syncws.wait([ws]) == [ws]
            assert ws.recv(0) == "x"
            try:
                ws.recv(0.01)
            except TimeoutError:
                pass
        assert ws.close_code == 1000
print("done")
"""

#: Several green threads send at once, more than the peer reads at first.
SENDERS = """
from gevent import monkey
monkey.patch_all()
import threading
import syncws

def send_much(ws):
    def send():
        for _ in range(20):
            ws.send(bytes(100_000))
    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

with syncws.serve(send_much, "127.0.0.1", 0, compression=None) as server:
    with syncws.connect(server.uri, compression=None) as ws:
        assert [len(message) for message in ws] == [100_000] * 80
    assert ws.close_code == 1000
print("done")
"""

#: What is sent to many waits for none of them, and goes out as they read.
SLOW_PEERS = """
from gevent import monkey
monkey.patch_all()
import threading
import syncws

peers, sent = [], threading.Event()

def join(ws):
    peers.append(ws)
    if len(peers) == 2:
        for _ in range(40):
            syncws.broadcast(peers, bytes(1_000_000))
        sent.set()
    list(ws)

options = {"compression": None, "max_queue": 1}
with syncws.serve(join, "127.0.0.1", 0, compression=None, write_limit=10**8) as server:
    one, other = (syncws.connect(server.uri, **options) for _ in range(2))
    assert sent.wait(5)
    for ws in (one, other):
        with ws:
            assert [len(ws.recv(5)) for _ in range(40)] == [1_000_000] * 40
print("done")
"""


@pytest.mark.interop
@pytest.mark.parametrize(
    "program", [PROGRAM, SENDERS, SLOW_PEERS], ids=["sockets", "senders", "slow peers"]
)
def test_patched_sockets_and_locks_are_used_by_their_own_methods_only(program):
    pytest.importorskip("gevent")
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert process.stdout == "done\n", process.stderr
