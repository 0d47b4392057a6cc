"""Programs with web applications, started as their users do."""

import contextlib
import pathlib
import re
import sys
import tempfile
import urllib.request
import uuid
from http.cookiejar import CookieJar

from support.pairs import SOON, wait_until
from support.peers import Peer, reserved_port
from support.snippets import PORT, ROOT

from syncws import connect

#: Commands that start a program, the module ``program``, by name.
COMMANDS = {
    "python": ["program.py"],
    "flask run": ["-m", "flask", "--app", "program", "run", "--port", PORT],
    "gunicorn": [
        *["-m", "gunicorn", "--worker-class", "gthread", "--threads", "8"],
        *["--bind", f"127.0.0.1:{PORT}", "--access-logfile", "-", "program"],
    ],
    "runserver": ["program.py", "runserver", "--noreload", PORT],
}

#: What must not be in a log.
TROUBLE = re.compile(r'Traceback|Error|ERROR|Exception|" 500 ')


@contextlib.contextmanager
def running(text, how):
    """A running program; yields an object with its port and output."""
    with tempfile.TemporaryDirectory(prefix="syncws-web-") as name, reserved_port() as port:
        directory = pathlib.Path(name)
        (directory / "program.py").write_text(text.replace(PORT, str(port)), encoding="utf-8")
        arguments = [argument.replace(PORT, str(port)) for argument in COMMANDS[how]]
        variables = [f"PYTHONPATH={ROOT}", f"HOME={name}"]
        peer = Peer(["env", *variables, sys.executable, "-u", *arguments], directory, [port])
        try:
            peer.wait_until_it_answers()
            yield peer
        finally:
            peer.close()


def open_page(server, path, jar=None):
    """The body of a page; cookies go into ``jar``."""
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPCookieProcessor(CookieJar() if jar is None else jar),
    )
    with opener.open(f"http://127.0.0.1:{server.port}{path}", timeout=SOON) as response:
        return response.read().decode()


def open_socket(server, path, **options):
    return connect(f"ws://127.0.0.1:{server.port}{path}", **options)


def assert_serves_many(server, path, answer, **options):
    """Connect and disconnect often, even abruptly, and find nothing else in the log."""
    mark = uuid.uuid4().hex  # earlier connections may be logged late
    for number in range(20):
        ws = open_socket(server, f"{path}?{mark}", **options)
        ws.send("hello")
        assert ws.recv(SOON) == answer
        if number % 2:
            ws.abort()
        else:
            ws.close()
            assert ws.close_code == 1000
    wait_until(lambda: len(re.findall(rf'{mark}[^"]*" 101 ', server.output)) == 20)
    assert TROUBLE.findall(server.output) == [], server.output
