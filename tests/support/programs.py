"""Programs in processes of their own, to be interrupted, starved or left alone."""

import os
import pathlib
import subprocess
import sys
import time

from support.pairs import SOON

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Program:
    """A program whose first line of output is its server's port."""

    def __init__(self, source):
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", source],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        self.port = int(self.process.stdout.readline())
        self.uri = f"ws://127.0.0.1:{self.port}/"

    def read_line(self):
        return self.process.stdout.readline().decode().strip()

    def end(self, number=None):
        """Send a signal; return exit status, errors, and the seconds until the end."""
        start = time.monotonic()
        if number is not None:
            self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=SOON)
        return self.process.returncode, errors.decode(), time.monotonic() - start

    def cpu_time(self):
        """Seconds of CPU that it has used so far."""
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.process.kill()
        self.process.communicate()
