"""The examples in web frameworks, run as their READMEs say."""

import os
import subprocess
import sys

import pytest
from support.flask_servers import TROUBLE, running
from support.pairs import SOON
from support.snippets import ROOT

EXAMPLES = ROOT / "examples"


def run_example(*args, cwd=None):
    """What a program prints that ends by itself."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *args],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=2 * SOON,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


def serving_example(name, how):
    return running((EXAMPLES / name).read_text(encoding="utf-8"), how)


def test_flask():
    pytest.importorskip("flask")
    with serving_example("flask/server.py", "python") as server:
        output = run_example(EXAMPLES / "flask/client.py", f"localhost:{server.port}")
        assert output == "before the login: 401\nann: hello\n"
        assert TROUBLE.findall(server.output) == []


def test_flask_without_a_network():
    pytest.importorskip("flask")
    output = run_example(
        *["-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", "test_server.py"],
        cwd=EXAMPLES / "flask",
    )
    assert "2 passed" in output


@pytest.mark.parametrize("how", ["runserver", "gunicorn"])
def test_django(how):
    pytest.importorskip("django")
    if how == "gunicorn":
        pytest.importorskip("gunicorn")
    with serving_example("django/project.py", how) as server:
        output = run_example(EXAMPLES / "django/client.py", f"localhost:{server.port}")
        assert output == "hello, ann; visits: 1\nann: is there anybody?\n"
        assert TROUBLE.findall(server.output) == []
