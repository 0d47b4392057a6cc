"""``run``: a program that imports other libraries, on this one."""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import pkgutil
import sys
import types
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader, SourcelessFileLoader
from typing import Any, Callable

from ..stand_in.installing import LIBRARIES, install_as
from .arguments import add_command
from .exit_codes import CLOSED, USAGE
from .showing import complain

__all__ = ["add_run", "is_safe"]

DESCRIPTION = f"""\
Run a Python program, as 'python SCRIPT' or 'python -m MODULE' does, in which this
library stands in for others that it imports: {", ".join(LIBRARIES)}.
"""

EPILOG = """\
examples:
  %(prog)s --as websocket client.py --verbose
  %(prog)s --as websockets,simple_websocket -m flask --app server run
"""


#: Our own ``__main__``, whose names are still in use while another one is in its place.
_keep: list[types.ModuleType] = []


def add_run(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands, "run", "a program that imports other libraries, on this one", DESCRIPTION, EPILOG
    )
    parser.usage = "%(prog)s --as LIBRARY[,LIBRARY...] (SCRIPT | -m MODULE) [ARGUMENT...]"
    parser.add_argument(
        "--as",
        dest="libraries",
        type=library_names,
        required=True,
        metavar="LIBRARY",
        help="what the program imports; several with commas between",
    )
    parser.add_argument("-m", dest="is_module", action="store_true", help="run a module")
    parser.add_argument(
        "program",
        nargs=argparse.REMAINDER,
        metavar="SCRIPT",
        help="the program, which may be a directory or an archive, and its arguments",
    )
    parser.set_defaults(run=run_program, parser=parser)


def library_names(text: str) -> list[str]:
    """Return the libraries that an argument names.

    Raises:
        ArgumentTypeError: one isn't known.
    """
    names = text.split(",")
    for name in names:
        if name not in LIBRARIES:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(LIBRARIES)}")
    return names


@dataclass(frozen=True)
class Program:
    """A program before it runs.

    Attributes:
        name: its ``sys.argv[0]``.
        directory: what is first in ``sys.path``.
        path: its file.
        loader: what has loaded it.
        spec: that of a module; ``None`` for a script.
        is_path: whether it is found by the directory itself, which is one, or an archive.
        load: returns its code.
    """

    name: str
    directory: str
    path: str | None
    loader: Any
    spec: ModuleSpec | None
    is_path: bool
    load: Callable[[], Any]


class NotFound(Exception):
    """There is no such program; has the text, and the exit status that Python has then."""


def run_program(args: Any) -> int:
    """Run a program, and return 0 once it has ended; or raise what it raises."""
    arguments = args.program[1:] if args.program[:1] == ["--"] else args.program
    if not arguments:
        args.parser.error("a script is missing, or -m and a module")
    try:
        program = (_find_module if args.is_module else _find_script)(arguments[0])
    except NotFound as exc:
        text, status = exc.args
        complain(text)
        return int(status)
    install_as(*args.libraries)
    sys.argv = [program.name, *arguments[1:]]
    _set_path(program)
    _execute(program)
    return 0


def _find_script(path: str) -> Program:
    """Return a program by its path.

    Raises:
        NotFound: there is none.
    """
    if pkgutil.get_importer(path) is not None:  # a directory, or an archive
        place = os.path.abspath(path)
        spec = PathFinder.find_spec("__main__", [place])
        if spec is None:
            raise NotFound(f"can't find '__main__' module in {path!r}", CLOSED)
        return _from_spec(spec, path, place, is_path=True)
    file = os.path.abspath(path)
    try:
        with io.open_code(file) as stream:
            source = stream.read()
    except OSError as exc:
        raise NotFound(f"can't open file {file!r}: {exc.strerror}", USAGE) from None
    directory = os.path.dirname(os.path.realpath(file))
    if file.endswith(".pyc"):
        compiled = SourcelessFileLoader("__main__", file)
        load: Callable[[], Any] = lambda: compiled.get_code("__main__")  # noqa: E731
        return Program(path, directory, file, compiled, None, False, load)
    loader = SourceFileLoader("__main__", file)
    return Program(
        path, directory, file, loader, None, False, lambda: loader.source_to_code(source, file)
    )


def _find_module(name: str) -> Program:
    """Return a program by the name of its module.

    Raises:
        NotFound: there is none.
    """
    directory = os.getcwd()
    if not is_safe():
        sys.path[0] = directory  # packages are looked for there as well
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            name += ".__main__"
            spec = importlib.util.find_spec(name)
    except (ImportError, ValueError) as exc:
        raise NotFound(f"can't find module {name!r}: {exc}", CLOSED) from None
    if spec is None or not hasattr(spec.loader, "get_code"):
        raise NotFound(f"no module named {name!r} can be run", CLOSED)
    return _from_spec(spec, spec.origin or name, directory, is_path=False)


def _from_spec(spec: ModuleSpec, name: str, directory: str, *, is_path: bool) -> Program:
    """Return a program that the import system has found."""
    loader: Any = spec.loader
    return Program(
        name, directory, spec.origin, loader, spec, is_path, lambda: loader.get_code(spec.name)
    )


def is_safe() -> bool:
    """Tell whether Python was told to put nothing in front of ``sys.path``."""
    return bool(sys.flags.isolated or getattr(sys.flags, "safe_path", False))


def _set_path(program: Program) -> None:
    """Put the program's directory where ours is."""
    if not is_safe():
        sys.path[0] = program.directory
    elif program.is_path:
        sys.path.insert(0, program.directory)


def _execute(program: Program) -> None:
    """Run a program as ``__main__``."""
    try:
        code = program.load()
    except Exception as exc:  # it isn't Python
        _show_alone(exc, None)
        raise
    main = types.ModuleType("__main__")
    main.__dict__.update(
        __builtins__=__builtins__,
        __cached__=None if program.spec is None else program.spec.cached,
        __file__=program.path,
        __loader__=program.loader,
        __package__=None if program.spec is None else program.spec.parent,
        __spec__=program.spec,
    )
    _keep.append(sys.modules["__main__"])
    sys.modules["__main__"] = main
    try:
        exec(code, main.__dict__)
    except SystemExit:
        raise
    except BaseException as exc:
        traceback = exc.__traceback__
        _show_alone(exc, None if traceback is None else traceback.tb_next)
        raise


def _show_alone(exc: BaseException, traceback: types.TracebackType | None) -> None:
    """Let the traceback of an exception that ends the process begin in the program."""
    show = sys.excepthook

    def excepthook(kind: Any, value: Any, found: types.TracebackType | None) -> None:
        if value is exc:
            value.__traceback__ = found = traceback
        show(kind, value, found)

    sys.excepthook = excepthook
