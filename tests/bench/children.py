"""Programs of this folder in processes of their own, which never outlive what started them."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]


class Failed(Exception):
    """There is no figure; the argument says why, in one line."""


def environment(python=sys.executable):
    """What the programs get: syncws from the tree if it isn't installed, and no proxies."""
    env = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    look = [python, "-c", "import syncws"]
    if subprocess.run(look, cwd=HERE, env=env, capture_output=True, timeout=60).returncode:
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH")]))
    return env


class Child:
    """A running program. Leaving the context kills it; so does its deadline.

    The deadline makes every wait for it finite: what a killed process would have written
    reads as the end of its output.

    Args:
        script: name of the program.
        arguments: its arguments.
        deadline: seconds that it may run.
        env: its environment.
        python: the interpreter that runs it.
    """

    def __init__(self, script, *arguments, deadline, env, python=sys.executable):
        self.deadline = deadline
        self._late = False
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed on leaving)
        try:
            self.process = subprocess.Popen(
                [python, HERE / script, *map(str, arguments)],
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
            )
        except BaseException:
            self._errors.close()
            raise
        self._timer = threading.Timer(deadline, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def _expire(self):
        self._late = True
        self.process.kill()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._timer.cancel()
        self.process.kill()
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self._errors):
            file.close()

    def read(self):
        """The next line that it prints, which is JSON.

        Raises:
            Failed: there is none.
        """
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise Failed(self.complaint())
        return json.loads(line)

    def finish(self):
        """Wait until it ends.

        Raises:
            Failed: it didn't end well.
        """
        if self.process.wait():
            raise Failed(self.complaint())

    def write(self, line):
        """Give it a line to read."""
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def errors(self):
        """What it has written to its standard error so far, while it runs (not on Windows)."""
        size = os.fstat(self._errors.fileno()).st_size
        return os.pread(self._errors.fileno(), size, 0).decode(errors="replace")

    def complaint(self):
        """Why it failed: its deadline, or the last line of its errors."""
        if self._late:
            return f"not done within {self.deadline:g} s"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else f"ended with status {self.process.returncode}"


def end_with_parent():
    """End this process once the one that started it is gone, however that came about.

    Nobody writes to the standard input; it ends with the process that holds its other end.
    """

    def wait():
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()


def report(**figures):
    """Tell the parent process."""
    print(json.dumps(figures), flush=True)
