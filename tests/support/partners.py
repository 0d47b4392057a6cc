"""Servers for other people's packages: at ``ws://``, at ``wss://`` and behind a proxy.

A scenario is a program that uses such a package, see :mod:`support.telling`. It runs twice at the
same time, in two processes: with the library that the package is made for, and with ours in its
place. What it tells, and what the servers see of it, must be the same.
"""

import contextlib
import difflib
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading

import pytest
from support.certificates import authority, server_context
from support.pairs import SOON, run
from support.proxies import socks5, tunnel
from support.scripted import scripted_server
from support.serving import serving

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATHS = [str(ROOT / "tests"), str(ROOT)]
PROGRAMS = ROOT / "tests" / "packages" / "programs"

#: The server's name behind the proxy: packages don't use one for loopback.
BEHIND = "server.example"

#: Variables that override which authorities a package is told to trust.
TRUST = {"CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE"}

#: Seconds for a whole program, on a busy machine.
PATIENCE = 90

#: No message is larger.
MAX_SIZE = 2**23

#: Headers that differ from one connection to the next.
CHANGING = {"sec-websocket-key": "KEY"}


def need(*packages):
    """Skip the module if one of these modules isn't installed."""
    for package in packages:
        found = None
        with contextlib.suppress(ModuleNotFoundError):
            found = importlib.util.find_spec(package)
        if found is None:
            pytest.skip(f"{package} is not installed", allow_module_level=True)


class Partner:
    """Servers with the same handlers, and what their connections saw.

    Attributes:
        settings: for the program: addresses, and the file with the authority's certificate.
        requests: what the proxies were asked for: first lines and headers, addresses and ports.
    """

    def __init__(self, handlers, pages):
        self.settings = {}
        self.requests = []
        self._handlers = handlers
        self._pages = {**REFUSALS, **pages}
        self._seen = []
        self._lock = threading.Lock()

    def handle(self, ws):
        with self._lock:
            count = sum(seen["path"] == ws.path for seen in self._seen)
            seen = {"path": ws.path, "headers": self.headers(ws)}
            self._seen.append(seen)
        ws.count = count
        seen["received"] = ws.received = []
        try:
            self._handlers[first_part(ws.path)](ws)
        finally:
            if not ws.wait_closed(0):
                ws.close()
            seen["closed"] = self.end(ws)

    def answer(self, ws, request):
        """Answer requests that aren't for a WebSocket, and requests that are refused."""
        page = self._pages.get(first_part(request.path))
        return None if page is None else page(self, ws)

    def end(self, ws):
        """How a connection ended, if the client started the closing handshake."""
        if ws.protocol.close_rcvd_then_sent is False:
            return "by the server"  # how clients answer is theirs
        return [ws.close_code, "too large" if ws.close_code == 1009 else ws.close_reason]

    def headers(self, ws):
        """The headers of a request, without those that change or name the library."""
        headers = {}
        for name, value in ws.request.headers.raw_items():
            if not (name.lower() == "user-agent" and value.startswith("Python/")):
                value = re.sub(r",\s*", ", ", self.plain(value))
                headers[name.lower()] = CHANGING.get(name.lower(), value)
        return headers

    def plain(self, text):
        """A text without port numbers."""
        names = ("ws", "wss", "proxy", "socks")
        return without_ports(text, {name: self.settings[name].rpartition(":")[2] for name in names})

    def seen(self):
        """What the connections saw, as lines, by path."""
        lines = []
        for seen in sorted(self._seen, key=lambda seen: seen["path"]):
            path = seen["path"]
            lines += [f"{path} {name}: {value}" for name, value in sorted(seen["headers"].items())]
            lines += [f"{path} received {message!r}" for message in seen["received"]]
            lines += [f"{path} closed {seen['closed']}"]
        return lines


def first_part(path):
    """The first part of a path, which says what is to happen."""
    return re.match("/[^/?]*", path)[0]


def refuse(status, text):
    return lambda partner, ws: ws.respond(status, text, {"X-Reason": "none"})


REFUSALS = {"/401": refuse(401, "who are you?"), "/403": refuse(403, "not you")}


@contextlib.contextmanager
def partner(handlers, directory, pages=None):
    """Servers with handlers and pages by path. Each has /401 and /403."""
    partner = Partner(handlers, {} if pages is None else pages)
    options = {
        "process_request": partner.answer,
        "origins": None,
        "select_subprotocol": lambda ws, offered: offered[0] if offered else None,
        "max_size": MAX_SIZE,
        "ping_interval": None,
    }
    trusted = directory / "authority.pem"
    authority().cert_pem.write_to_path(str(trusted))
    context = server_context("localhost", "127.0.0.1", BEHIND)
    with (
        serving(partner.handle, **options) as server,
        serving(partner.handle, ssl=context, **options) as secure,
        scripted_server(tunnel(partner.requests)) as proxy,
        scripted_server(socks5(partner.requests)) as socks,
    ):
        partner.settings = {
            "ws": f"ws://127.0.0.1:{server.port}",
            "wss": f"wss://localhost:{secure.port}",
            "behind": f"ws://{BEHIND}:{server.port}",
            "secure behind": f"wss://{BEHIND}:{secure.port}",
            "proxy": f"http://127.0.0.1:{proxy.port}",
            "socks": f"socks5h://127.0.0.1:{socks.port}",
            "authority": str(trusted),
        }
        yield partner


class Program:
    """A running program that tells what happens."""

    def __init__(self, name, settings, stand_in):
        path = os.pathsep.join(filter(None, [*PATHS, os.environ.get("PYTHONPATH")]))
        environment = {name: os.environ[name] for name in os.environ.keys() - TRUST}
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        self._process = subprocess.Popen(
            [
                sys.executable,
                *["-c", "import sys; from support.telling import main; main(*sys.argv[1:])"],
                json.dumps({**settings, "stand in": stand_in}),
                str(PROGRAMS / f"{name}.py"),
            ],
            env={**environment, "PYTHONPATH": path, "PYTHONUTF8": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            encoding="utf-8",
        )

    def read(self):
        """Return the next event."""
        return json.loads(self._process.stdout.readline())

    def end(self):
        """Close standard input, which ends the program; return all further events."""
        told, _ = self._process.communicate(timeout=PATIENCE)
        events = [json.loads(line) for line in told.splitlines() if line.startswith("[")]
        failed = [event for event in events if event[0] == "a thread failed"]
        if self._process.returncode or failed or events[-1] != ["end"]:
            self._errors.seek(0)
            pytest.fail(f"{told}{self._errors.read()}", pytrace=False)
        return events

    def close(self):
        self._process.kill()
        self._process.communicate()
        self._errors.seek(0)
        sys.stderr.write(self._errors.read())  # shown if the test fails
        self._errors.close()


@contextlib.contextmanager
def running_program(name, settings, stand_in=()):
    """A program, with our library in place of these if any are given."""
    with contextlib.closing(Program(name, settings, stand_in)) as program:
        yield program


def run_program(name, settings, stand_in=()):
    """Run a program; return the events that it told."""
    with running_program(name, settings, stand_in) as program:
        return program.end()


def without_ports(text, ports):
    """The text with names in place of ports."""
    for name, port in ports.items():
        text = text.replace(f":{port}", f":{name.upper()}-PORT")
    return text


def in_lines(events, plain):
    """A line for each event, sorted by first item; events with the same one keep their order."""
    ordered = sorted(events, key=lambda event: event[0])
    return [plain(json.dumps(event, ensure_ascii=False)) for event in ordered]


def play(name, handlers, directory, stand_in=(), pages=None, settings=None):
    """Play a scenario; return what was told, seen and asked of proxies, as sorted lines."""
    directory.mkdir()
    with partner(handlers, directory, pages) as server:
        events = run_program(name, {**server.settings, **(settings or {})}, stand_in)
    events += [["proxy", first] for first, _ in server.requests]
    return [*in_lines(events, server.plain), *server.seen()]


def assert_same(name, handlers, directory, stand_in, *, ignore=None, **options):
    """Play a scenario with the original and with ours; fail if they differ.

    Args:
        name: the program.
        handlers: for the servers, by path.
        directory: for files.
        stand_in: the libraries that ours stands in for.
        ignore: a pattern for what may differ.
        options: pages of the servers, and settings of the program.
    """
    authority()  # one for both
    running = [
        run(play, name, handlers, directory / kind, libraries, **options)
        for kind, libraries in (("original", ()), ("ours", stand_in))
    ]
    original, ours = [each.result(PATIENCE + SOON) for each in running]
    if ignore is not None:
        original, ours = [
            [re.sub(ignore, "...", line) for line in some] for some in (original, ours)
        ]
    assert_equal(original, ours)


def assert_equal(original, ours):
    """Fail if these lines differ, and show how."""
    difference = list(difflib.unified_diff(original, ours, "original", "ours", n=1, lineterm=""))
    if difference:
        pytest.fail("\n".join(difference), pytrace=False)


# --- handlers ---


def echo(ws):
    """Echo what comes, and record it."""
    for message in ws:
        ws.received.append(message if len(message) < 1000 else len(message))
        ws.send(message)


def end(ws):
    """Close with a code and a reason once something has come."""
    ws.received.append(ws.recv(SOON))
    ws.send("the last one")
    ws.close(4001, "that is all")


def drop(ws):
    """Cut the connection once something has come."""
    ws.received.append(ws.recv(SOON))
    ws.abort()


def unreliable(ws):
    """Cut the first connection; echo on the others."""
    (echo if ws.count else drop)(ws)


def ping(ws):
    """Send a ping, and tell once the pong has come."""
    ws.send("a ping comes")
    ws.ping(b"are you there?").wait(SOON)
    ws.send("a pong came")
    echo(ws)


HANDLERS = {"/echo": echo, "/end": end, "/drop": drop, "/unreliable": unreliable, "/ping": ping}
