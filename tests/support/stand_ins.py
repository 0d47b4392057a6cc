"""Programs in interpreters of their own, where this library stands in for others."""

import os
import pathlib
import subprocess
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parents[2]


def python(*arguments, cwd=None, status=0, **kwargs):
    """Run Python with these arguments; return what it printed, or what it complained of."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
        **kwargs,
    )
    assert done.returncode == status, done.stderr
    return done.stderr if status else done.stdout


def run(source, *arguments, cwd=None):
    """Run a program until it ends; return what it printed, or fail with what it complained of."""
    return python("-W", "error", "-c", textwrap.dedent(source), *arguments, cwd=cwd)


def run_as(libraries, source, *arguments, **kwargs):
    """The same after install_as() with these libraries, with spaces between."""
    first = f"import syncws\nsyncws.install_as(*{libraries.split()!r})\n"
    return run(first + textwrap.dedent(source), *arguments, **kwargs)
