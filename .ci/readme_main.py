"""Run the README's main command as in a terminal, fetch the page it names, press Ctrl-C.

The command runs in the current directory, in a fresh environment.
"""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv

from readme_command import readme_command

URL = re.compile(r"http://(?:localhost|127\.0\.0\.1|\[::1\]):\d+[^\s]*\s")
START_TIMEOUT = 120  # seconds, which building takes most of
END_TIMEOUT = 5


class Failure(Exception):
    """The command doesn't do what the README says."""


def wait_for_url(process, log):
    """Return the URL that the command prints once it serves."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        printed = log.read_text(errors="replace").split("Successfully installed")[-1]
        if url := URL.search(printed):
            return url[0].strip().rstrip(".,;)")
        if process.poll() is not None:
            raise Failure(f"the command ended with status {process.returncode}")
        if time.monotonic() > deadline:
            raise Failure(f"the command named no page within {START_TIMEOUT} s")
        time.sleep(0.1)


def check_page(url):
    """Fetch the page, past any proxy, and check that it is one that does something."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as response:
        page = response.read().decode()
        kind = response.headers["Content-Type"]
        print(url, response.status, kind, len(page))
        if response.status != 200 or "html" not in kind:
            raise Failure("this is no page")
    if "<script" not in page:
        raise Failure("the page does nothing")


def check_end(process, log):
    """Press Ctrl-C, and check that the command ends at once and without complaint."""
    start = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    try:
        status = process.wait(END_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise Failure(f"the demo went on for {END_TIMEOUT} s after Ctrl-C") from None
    print(f"ended {time.monotonic() - start:.2f} s after Ctrl-C with status {status}")
    if status not in (0, 130) or "Traceback" in log.read_text(errors="replace"):
        raise Failure("this was no clean end")


def main():
    """Run the command, and return what is wrong with it, or None."""
    command = readme_command("main-command")
    print(command)
    directory = pathlib.Path(tempfile.mkdtemp())
    venv.create(directory / "venv", with_pip=True)
    path = os.pathsep.join([str(directory / "venv" / "bin"), os.environ["PATH"]])
    log = directory / "output"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", command],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    try:
        check_page(wait_for_url(process, log))
        check_end(process, log)
    except Failure as exc:
        return f"{exc}; it printed:\n{log.read_text(errors='replace')}"
    finally:
        with contextlib.suppress(ProcessLookupError):  # nothing of it is left
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return None


if __name__ == "__main__":
    sys.exit(main())
