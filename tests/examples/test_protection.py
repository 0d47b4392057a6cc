"""Examples of encryption, of who may come in, and of the way out; and of tests."""

import os
import shlex
import shutil
import subprocess
import sys

import pytest
from support.examples import (
    EXAMPLES,
    Programs,
    commands,
    interrupt,
    needs_signals,
    outcome,
    running_server,
    start,
)
from support.snippets import PATIENCE, ROOT


@needs_signals
def test_tls(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    (command,) = [line for line in commands("tls/README.md") if line.startswith("openssl ")]
    subprocess.run(shlex.split(command), cwd=tmp_path, check=True, capture_output=True)
    with running_server("tls/server.py", cwd=tmp_path) as uri:
        assert uri.startswith("wss://")
        output = outcome(start("tls/client.py", uri, cwd=tmp_path)).splitlines()
    assert output[0].replace("-", " ") == "not trusted by default: self signed certificate"
    assert output[1:] == [
        "received: a secret",
        "encrypted: True",
    ]


@needs_signals
def test_mutual_tls(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    for command in commands("mutual_tls/README.md"):
        if command.startswith("openssl "):
            subprocess.run(shlex.split(command), cwd=tmp_path, check=True, capture_output=True)
    with running_server("mutual_tls/server.py", cwd=tmp_path) as uri:
        assert outcome(start("mutual_tls/client.py", uri, cwd=tmp_path)).splitlines() == [
            "refused without a certificate",
            "ann said: hello",
            "the server is localhost",
        ]


@needs_signals
def test_auth():
    with running_server("auth/server.py") as uri:
        assert outcome(start("auth/client.py", uri)).splitlines() == [
            "refused: 401 This needs a user name and a password.",
            "refused: 401 User name or password is wrong.",
            "hello ann",
            "refused: 401 This needs a token.",
            "hello bob",
            "refused: 1008 wrong token",
            "hello bob",
        ]


@needs_signals
def test_proxy():
    with Programs() as programs:
        _, uri = programs.serve("echo/server.py")
        proxy, proxy_uri = programs.serve("proxy/proxy.py")
        lines = outcome(programs.start("proxy/client.py", uri, proxy_uri)).splitlines()
        assert lines[:2] == [
            "through the proxy: received: hello",
            "without a proxy: received: hello",
        ]
        assert lines[2].startswith("refused by the proxy: ")
        assert "502" in lines[2]
        assert interrupt(proxy).splitlines() == [
            f"CONNECT {uri[5:-1]} HTTP/1.1",
            "CONNECT localhost:1 HTTP/1.1",
        ]


def test_testing():
    (command,) = [line for line in commands("testing/README.md") if "pytest" in line]
    assert command.startswith("python -m pytest ")
    done = subprocess.run(
        [sys.executable, *command.split()[1:], "-p", "no:cacheprovider", "--rootdir", "."],
        cwd=EXAMPLES / "testing",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert "6 passed" in done.stdout, done.stdout + done.stderr
