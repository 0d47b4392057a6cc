"""The shell's programs as process 1, as in a container."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading

import pytest
from support.shell import DEADLINE

START = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]

CODE = "import os; assert os.getpid() == 1; from syncws import cli; raise SystemExit(cli.main())"

can_be_first = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="needs a process number 1, which root can make",
)


@contextlib.contextmanager
def serving_first(*arguments, **kwargs):
    """`syncws` with these arguments, which serve: its URI, and what sends it SIGTERM."""
    if subprocess.run([*START, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespaces here")
    command = [*START, sys.executable, "-c", CODE, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **kwargs) as unshare:
        watchdog = threading.Timer(DEADLINE, unshare.kill)
        watchdog.start()

        def terminate():
            children = pathlib.Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children")
            os.kill(int(children.read_text()), signal.SIGTERM)
            assert unshare.wait(DEADLINE) == 0

        try:
            assert unshare.stdout.readline().startswith("Serving")
            yield unshare.stdout.readline().split()[-1], terminate
        finally:
            unshare.kill()
            watchdog.cancel()
