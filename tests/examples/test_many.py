"""Examples of many connections, and of much to send."""

import subprocess

from support.examples import Programs, interrupt, needs_signals, outcome, read_until
from support.pairs import SOON

from syncws import connect


@needs_signals
def test_chat():
    with Programs() as programs:
        server, uri = programs.serve("chat/server.py")
        bob = connect(f"{uri}kitchen")
        bob.send("bob")
        assert bob.recv(timeout=SOON) == "* bob is here"
        ann = programs.start("chat/client.py", "ann", "kitchen", uri, stdin=subprocess.PIPE)
        assert bob.recv(timeout=SOON) == "* ann is here"
        bob.send("hello, ann")
        read_until(ann, "bob: hello, ann")
        ann.stdin.write("hello, bob\n")
        ann.stdin.flush()
        read_until(ann, "ann: hello, bob")
        assert outcome(ann, "") == "the chat is over: 1000 \n"
        heard = [bob.recv(timeout=SOON) for _ in range(3)]
        assert heard == ["bob: hello, ann", "ann: hello, bob", "* ann has left"]
        bob.close()
        carol = programs.start("chat/client.py", "carol", "cellar", uri, stdin=subprocess.PIPE)
        read_until(carol, "* carol is here")
        assert interrupt(server) == ""
        read_until(carol, "the chat is over: 1001")
        assert outcome(carol, "anybody?\n") == ""


@needs_signals
def test_broadcast():
    with Programs() as programs:
        server, uri = programs.serve("broadcast/server.py", "0.01")
        lines = outcome(programs.start("broadcast/client.py", uri, 3, 120)).splitlines()
        assert lines[0] == "3 listeners got 120 messages each"
        assert 0 < int(lines[1].rpartition(" ")[2]) < 120
        assert lines[1].startswith("the slow one was closed after ")
        server.terminate()
        assert "broadcasting failed: " in server.communicate(timeout=SOON)[1]


@needs_signals
def test_sensor():
    with Programs() as programs:
        server, uri = programs.serve("sensor/server.py")
        client = programs.start("sensor/client.py", uri, 5)
        newest, recording = outcome(client).splitlines()
        assert newest.startswith("newest: 5 readings, ")
        assert int(newest.split()[3]) > 50
        assert recording == "recording: 500 curves, none skipped"
        read_until(server, "500 curves sent in ")
        assert interrupt(server) == ""


@needs_signals
def test_compute():
    with Programs() as programs:
        server, uri = programs.serve("compute/server.py")
        lines = outcome(programs.start("compute/client.py", uri, 3, 12_000)).splitlines()
        for number, line in enumerate(lines, 1):
            assert line.startswith(f"connections: {number}, primes below 12000: 1438, seconds: ")
        assert len(lines) == 3
        assert interrupt(server) == "4314 primes in 9 blocks\n"
