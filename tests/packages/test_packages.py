"""Packages of others, each run with the library it was written for, and with this one instead.

Each program records what it sees, and the records are compared: there is no difference but what
``docs/stand-in.md`` says. The programs' server is this library's, in this process.
"""

import contextlib
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from support.certificates import authority, server_context
from support.proxies import tunnel
from support.scripted import scripted_server
from support.serving import serving

from syncws import Response
from syncws.sansio.headers import Headers

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = pathlib.Path(__file__).with_name("programs")
SOON = 20

#: Each program, the packages and commands that it needs, and what this library stands in for.
PACKAGES = {
    "socketio_both": ("flask_socketio socketio simple_websocket", "websocket,simple_websocket"),
    "openai_realtime": ("openai websockets", "websockets"),
    "selenium_bidi": ("selenium websocket chromium chromedriver", "websocket"),
    "slack_socket_mode": ("slack_sdk websocket", "websocket"),
    "streamlink_client": ("streamlink websocket", "websocket"),
    "yt_dlp_urls": ("yt_dlp websockets", "websockets"),
}


def handler(ws):
    """Do what the path says, once there is a message."""
    command, _, argument = ws.request.path.partition("?")[0].lstrip("/").partition("/")
    if command == "ping":
        ws.ping().wait(SOON)
        ws.send('{"type": "ponged"}')
    message = ws.recv(SOON)
    if command == "close":
        ws.close(int(argument.partition("/")[0]), "bye")
    elif command == "abort":
        ws.abort()
    elif command == "echo":
        while True:
            ws.send(message)
            message = ws.recv()


def refuse(ws, request):
    """Answer with the status that the path says."""
    command, _, argument = request.path.lstrip("/").partition("/")
    if command == "status":
        headers = Headers([("Content-Length", "4"), ("Location", "/elsewhere")])
        return Response(int(argument[:3]), "Refused", headers, b"body")
    return None


@pytest.fixture(scope="module")
def servers():
    """URLs of a server without and one with TLS, a file with its authority, a proxy's URL."""
    options = {"process_request": refuse, "origins": None, "max_size": None}
    with contextlib.ExitStack() as stack:
        plain = stack.enter_context(serving(handler, **options))
        secure = stack.enter_context(serving(handler, ssl=server_context(), **options))
        file = stack.enter_context(authority().cert_pem.tempfile())
        proxy = stack.enter_context(scripted_server(tunnel()))
        yield (
            f"ws://127.0.0.1:{plain.port}",
            f"wss://127.0.0.1:{secure.port}",
            file,
            f"http://127.0.0.1:{proxy.port}",
        )


def record(servers, program, *run):
    """Run a program; return what it has seen."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, *run, str(PROGRAMS / f"{program}.py"), *servers],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("program", PACKAGES)
def test_a_package_sees_no_difference(servers, program):
    needed, libraries = PACKAGES[program]
    for name in needed.split():
        if importlib.util.find_spec(name) is None and shutil.which(name) is None:
            pytest.skip(f"no {name}")
    theirs = record(servers, program)
    ours = record(servers, program, "-m", "syncws", "run", "--as", libraries)
    assert len(ours) == len(theirs)
    for expected, found in zip(theirs, ours):
        assert found == expected
