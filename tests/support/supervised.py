"""`syncws serve --processes`, with a handler of a test's own."""

import contextlib
import os
import pathlib
import signal
import time

from support.pairs import wait_until
from support.shell import DEADLINE, program

import syncws

#: Seconds that all of it may take: each process takes its time to start.
PATIENCE = 60

#: The first message names process and version; all that come after it go to the group, but "die".
APP = """
import os, signal

def handler(ws):
    group = ws.group("group")
    group.add(ws)
    ws.send(f"{os.getpid()} VERSION")
    for message in ws:
        if message == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        group.publish(message)
"""


def write_app(directory, version="first"):
    path = directory / "app.py"
    path.write_text(APP.replace("VERSION", version))
    # Python takes an older compiled file for a newer source of the same second and size.
    os.utime(path, (time.time() + hash(version) % 1000, time.time() + hash(version) % 1000))


class Site:
    """The program, while it serves."""

    def __init__(self, process, uri):
        self.process = process
        self.uri = uri

    def connect(self):
        """A client; ``ws.pid`` is the process that it is connected to, ``ws.version`` the app's."""
        while True:
            ws = syncws.connect(self.uri)
            try:
                pid, ws.version = ws.recv(DEADLINE).split()
            except syncws.ConnectionClosed as exc:
                if exc.rcvd is None or exc.rcvd.code != 1012:  # which asks to try again
                    raise
            else:
                ws.pid = int(pid)
                return ws

    def connect_all(self, count=2):
        """A client for each of so many processes."""
        found = {}
        deadline = time.monotonic() + DEADLINE
        while len(found) < count:
            assert time.monotonic() < deadline, f"only processes {list(found)} were met"
            ws = self.connect()
            if found.setdefault(ws.pid, ws) is not ws:
                ws.close()
        return list(found.values())

    def signal(self, name):
        self.process.send_signal(getattr(signal, name))

    def end(self, name="SIGTERM"):
        """Send a signal; return the exit status and what was printed on standard error."""
        self.signal(name)
        _, errors = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, errors


@contextlib.contextmanager
def supervised(directory, *args, count=2, env=None):
    """Serve the app in this directory by several processes."""
    arguments = ("serve", "app:handler", "--port", "0", "--processes", str(count), *args)
    env = {"SYNCWS_HUB": "", **(env or {})}
    with program(*arguments, cwd=directory, env=env, patience=PATIENCE) as process:
        first, second = process.stdout.readline(), process.stdout.readline()
        assert first.startswith("Serving app:handler on "), process.communicate()
        try:
            yield Site(process, second.split()[-1])
        finally:
            process.kill()  # its children end by themselves


def children(pid):
    """The processes that a process has started."""
    return [
        int(each) for each in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ]


def process_of(ws, pids):
    """Which of these processes a client is connected to."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        for line in pathlib.Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            ports = [int(field.rpartition(":")[2], 16) for field in fields[1:3]]
            if ports == [ws.remote_address[1], ws.local_address[1]]:
                inodes.add(f"socket:[{fields[9]}]")
    for pid in pids:
        if not inodes.isdisjoint(descriptors(pid)):
            return pid
    return None


def descriptors(pid):
    """What a process has open; nothing if it has just ended."""
    found = set()
    with contextlib.suppress(FileNotFoundError):
        for name in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found.add(os.readlink(name))
    return found


def is_gone(pid):
    """Whether a process has ended, reaped or not."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


def assert_gone(*pids):
    wait_until(lambda: all(map(is_gone, pids)))
