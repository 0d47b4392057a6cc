"""Programs that are run with this library in place of others, compared with `python`."""

import json
import pathlib
import signal
import sys
import textwrap
import zipapp

import pytest
from support.stand_ins import python

ROOT = pathlib.Path(__file__).resolve().parents[2]
RUN = ["-m", "syncws", "run", "--as", "websocket,simple_websocket"]

TELL = """
import json, os, signal, sys
main = sys.modules["__main__"]
assert main.__dict__ is globals()
print(json.dumps({
    "argv": sys.argv,
    "path": sys.path[0],
    "name": __name__,
    "file": __file__,
    "package": __package__,
    "spec": getattr(__spec__, "name", None),
    "loader": type(__loader__).__name__,
    "doc": __doc__,
    "names": sorted(name for name in globals() if name not in ("__cached__", "__annotations__")),
    "streams": [sys.stdin.errors, sys.stdout.errors, sys.stderr.errors],
    "handlers": [str(signal.getsignal(number)) for number in (2, 13, 15)],
}))
"""


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "__main__.py").write_text(f'"""A package."""\n{TELL}')
    (tmp_path / "scripts" / "script.py").write_text(f'"""A script."""\n{TELL}')
    (tmp_path / "scripts" / "module.py").write_text(TELL)
    (tmp_path / "link.py").symlink_to(tmp_path / "scripts" / "script.py")
    (tmp_path / "application").mkdir()
    (tmp_path / "application" / "__main__.py").write_text(TELL)
    zipapp.create_archive(tmp_path / "application", tmp_path / "archive.pyz")
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ["scripts/script.py", "-v", "--as", "x", "--", "-m"],
        ["link.py"],
        ["-m", "package", "--help", "--", "-x"],
        ["-m", "package.__main__"],
        ["application", "one"],
        ["archive.pyz"],
    ],
    ids=str,
)
def test_a_program_finds_the_process_as_python_makes_it(directory, arguments):
    expected = json.loads(python(*arguments, cwd=directory))
    assert json.loads(python(*RUN, *arguments, cwd=directory)) == expected


def write(directory, source):
    (directory / "program.py").write_text(textwrap.dedent(source))
    return "program.py"


def test_the_program_gets_this_library(tmp_path):
    program = write(
        tmp_path,
        """
        import websocket
        from simple_websocket import Server
        import syncws
        assert websocket.WebSocketApp is syncws.WebSocketApp
        print(Server.__module__)
        """,
    )
    assert python(*RUN, program, cwd=tmp_path) == "syncws.stand_in.simple_server\n"


TRACEBACKS = {
    "exception": "def f():\n    raise ValueError('wrong')\n\nf()\n",
    "cause": "try:\n    1 / 0\nexcept ZeroDivisionError as exc:\n    raise OSError('x') from exc\n",
    "syntax": "a b\n",
    "exit": "raise SystemExit('that is all')\n",
    "hook": (
        "import sys, traceback\n"
        "def hook(*args):\n"
        "    print([frame.name for frame in traceback.extract_tb(args[2])], file=sys.stderr)\n"
        "sys.excepthook = hook\n"
        "1 / 0\n"
    ),
}


@pytest.mark.parametrize("name", TRACEBACKS)
def test_an_exception_is_told_as_python_does(tmp_path, name):
    program = write(tmp_path, TRACEBACKS[name])
    expected = python(program, cwd=tmp_path, status=1)
    assert python(*RUN, program, cwd=tmp_path, status=1) == expected


def test_the_exit_status_is_the_programs(tmp_path):
    program = write(tmp_path, "import sys\nsys.exit(17)\n")
    python(*RUN, program, cwd=tmp_path, status=17)


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_as_it_ends_a_program(tmp_path, number):
    source = f"""
        import os, signal
        signal.signal(signal.SIGINT, signal.default_int_handler)  # not what the tests' parent has
        os.kill(os.getpid(), {int(number)})
        signal.pause()
    """
    program = write(tmp_path, source)
    expected = python(program, cwd=tmp_path, status=-number)
    assert python(*RUN, program, cwd=tmp_path, status=-number) == expected


def test_threads_and_exit_handlers_go_on_after_the_program(tmp_path):
    program = write(
        tmp_path,
        """
        import atexit, threading, __main__
        value = "still there"
        go = threading.Event()
        def late():
            go.wait(10)
            print(value, __main__.value)
        threading.Thread(target=late).start()
        atexit.register(lambda: print("at exit", __main__.value))
        go.set()
        """,
    )
    expected = python(program, cwd=tmp_path)
    assert python(*RUN, program, cwd=tmp_path) == expected


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["missing.py"], 2, "can't open file"),
        (["-m", "missing"], 1, "'missing'"),
        (["-m", "missing.one"], 1, "'missing'"),
        (["."], 1, "can't find '__main__' module in '.'"),
        ([], 2, "a script is missing, or -m and a module"),
    ],
    ids=str,
)
def test_what_is_not_there_is_told(tmp_path, arguments, status, text):
    errors = python(*RUN, *arguments, cwd=tmp_path, status=status)
    assert text in errors
    assert "Traceback" not in errors


def test_unknown_libraries_are_refused(tmp_path):
    errors = python("-m", "syncws", "run", "--as", "wsproto", "x.py", cwd=tmp_path, status=2)
    assert "'wsproto' is none of websocket, websockets, simple_websocket" in errors
    assert "required: --as" in python("-m", "syncws", "run", "x.py", cwd=tmp_path, status=2)
