"""A real Redis server, on a port and in a directory of its own."""

import signal
import subprocess
import time

from support.snippets import free_port

START_TIMEOUT = 20


class RedisServer:
    """Started at once; ``stop()`` and ``start()`` again keep what it has confirmed."""

    def __init__(self, directory, *options, command=None):
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        keep = ("--save", "", "--appendonly", "yes", "--appendfsync", "always", *options)
        place = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(directory))
        self._command = [*(command or ("redis-server",)), *place, *(() if command else keep)]
        self._process = None
        self.start()

    def start(self):
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_TIMEOUT
        while self.command("PING").strip() not in ("PONG", "NOAUTH Authentication required."):
            assert self._process.poll() is None, "redis-server has ended"
            assert time.monotonic() < deadline, "redis-server did not start"
            time.sleep(0.02)  # between looks

    def command(self, *words, check=False):
        """What redis-cli prints."""
        command = ["redis-cli", "-h", "127.0.0.1", "-p", str(self.port), *map(str, words)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=check)
        return result.stdout

    @property
    def is_running(self):
        return self._process.poll() is None

    @property
    def pid(self):
        return self._process.pid

    def stop(self):
        """End it, as a loss of power does."""
        self._process.kill()
        self._process.wait(20)

    def freeze(self):
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.stop()
