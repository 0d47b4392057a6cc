"""WSGI servers in processes of their own, whose logs are kept."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

from support.certificates import authority, contexts
from support.pairs import SOON

from syncws import connect

ROOT = pathlib.Path(__file__).resolve().parents[2]

#: Arguments of gunicorn, by the name that tests give them.
GUNICORN = {
    "gunicorn-gthread": ["--worker-class", "gthread", "--threads", "3"],
    "gunicorn-sync": ["--worker-class", "sync"],
    "gunicorn-gevent": ["--worker-class", "gevent"],
    "gunicorn-gevent-pywsgi": ["--worker-class", "gevent_pywsgi"],
}

#: All servers from which connections can be taken over.
KINDS = [*GUNICORN, "werkzeug", "cheroot", "pywsgi", "wsgiref"]

#: What must not be in any log.
BAD = re.compile(
    r'Traceback|" 500 |\bERROR\b|\bCRITICAL\b|Exception|Invalid|invalid|BadStatus|Bad request', re.I
)

#: Runs a module as a monkey-patched program.
PATCHED = """
from gevent import monkey
monkey.patch_all()
import runpy, sys
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class WsgiServer:
    """A server with the application of :mod:`support.wsgi_app`, or another one.

    Args:
        kind: one of KINDS, or "waitress".
        folder: where to put its log.
        options: more arguments for gunicorn.
        tls: whether to serve over TLS.
        module: the application's module.
    """

    def __init__(self, kind, folder, *options, tls=False, module="wsgi_app"):
        self.kind = kind
        self.secure = tls
        self._log = folder / f"{kind}.log"
        files = _certificate(folder) if tls else []
        app = pathlib.Path(__file__).with_name(f"{module}.py")
        if kind in GUNICORN:
            command = ["-m", "gunicorn", "--bind", "127.0.0.1:0", "--access-logfile", "-"]
            command += ["--worker-tmp-dir", str(folder), *GUNICORN[kind], *options]
            for name, file in zip(("--certfile", "--keyfile"), files):
                command += [name, file]
            command.append(f"support.{module}:app")
        elif kind == "pywsgi":
            command = ["-c", PATCHED, str(app), kind, *files]
        else:
            command = [str(app), kind, *files]
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                env={**os.environ, "PYTHONPATH": path, "HOME": str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._port = None

    @property
    def log(self):
        return self._log.read_text()

    @property
    def port(self):
        if self._port is None:
            pattern = re.compile(r"Listening at: https?://127\.0\.0\.1:(\d+)")
            wait_for(lambda: pattern.search(self.log), self)
            self._port = int(pattern.search(self.log)[1])
        return self._port

    def get(self, path, headers=()):
        """The status and body of the answer to a plain request."""
        scheme = "https" if self.secure else "http"
        request = urllib.request.Request(
            f"{scheme}://127.0.0.1:{self.port}{path}", headers=dict(headers)
        )
        context = contexts()[1] if self.secure else None
        try:
            with urllib.request.urlopen(request, timeout=SOON, context=context) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, exc.read()

    def status(self):
        status, body = self.get("/status")
        assert status == 200
        return json.loads(body)

    def connect(self, path="/echo", **options):
        scheme = "wss" if self.secure else "ws"
        if self.secure:
            options["ssl"] = contexts()[1]
        return connect(f"{scheme}://127.0.0.1:{self.port}{path}", max_size=None, **options)

    def terminate(self):
        """Ask it to end; return its exit status and how many seconds it took."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SOON), time.monotonic() - start

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(SOON)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _certificate(folder):
    certificate = authority().issue_cert("localhost", "127.0.0.1")
    files = [str(folder / "certificate.pem"), str(folder / "key.pem")]
    with contextlib.suppress(FileExistsError):
        for name, blob in (
            (files[0], certificate.cert_chain_pems[0]),
            (files[1], certificate.private_key_pem),
        ):
            blob.write_to_path(name)
    return files


def wait_for(condition, server):
    """Wait for a condition that another process brings about."""
    deadline = time.monotonic() + SOON
    while not condition():
        assert server.process.poll() is None, server.log
        assert time.monotonic() < deadline, server.log
        time.sleep(0.02)


@contextlib.contextmanager
def running(kind, folder, *options, **kwargs):
    """A server whose processes end with the block."""
    server = WsgiServer(kind, folder, *options, **kwargs)
    try:
        yield server
    finally:
        server.close()
