"""Programs in their own interpreters, where this library stands in for others."""

import os
import pathlib
import subprocess
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parents[2]


def python(*arguments, cwd=None, status=0, **kwargs):
    """Run Python with these arguments; return its output, or its errors."""
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
    """Run a program to its end; return its output, or fail with its errors."""
    return python("-W", "error", "-c", textwrap.dedent(source), *arguments, cwd=cwd)


def run_as(libraries, source, *arguments, **kwargs):
    """The same after install_as() for these libraries, separated by spaces."""
    first = f"import syncws\nsyncws.install_as(*{libraries.split()!r})\n"
    return run(first + textwrap.dedent(source), *arguments, **kwargs)
