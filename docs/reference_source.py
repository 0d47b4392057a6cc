"""Sources of the package, read without importing them: names, definitions, signatures."""

from __future__ import annotations

import ast
import inspect
import pathlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = [
    "ROOT",
    "Found",
    "Module",
    "Package",
    "docstring_of",
    "enumeration",
    "fit",
    "is_enumeration",
    "is_property",
    "signature",
]

ROOT = pathlib.Path(__file__).resolve().parents[1]

#: Columns of a line of Python.
WIDTH = 100


class Found(NamedTuple):
    """Where something is defined."""

    module: Module
    node: Any  # the statement that defines it


class Module:
    """A module's source, and the names in it.

    Args:
        name: its dotted name.
        path: its file.
    """

    def __init__(self, name: str, path: pathlib.Path) -> None:
        self.name = name
        self.source = path.read_text(encoding="utf-8")
        self.lines = self.source.splitlines()
        self.tree = ast.parse(self.source)
        self.package = name if path.stem == "__init__" else name.rpartition(".")[0]
        self.names: dict[str, ast.stmt] = {}
        self.stars: list[str] = []
        for node in self._statements(self.tree.body):
            self._add(node)

    def _statements(self, body: list[ast.stmt]) -> Iterator[ast.stmt]:
        for node in body:
            if isinstance(node, ast.If):
                yield from self._statements(node.body)
            else:
                yield node

    def _add(self, node: ast.stmt) -> None:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            self.names.setdefault(node.name, node)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            self.names.setdefault(node.targets[0].id, node)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            self.names.setdefault(node.target.id, node)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.name == "*":
                    self.stars.append(self.absolute(node))
                else:
                    self.names.setdefault(alias.asname or alias.name, node)

    def absolute(self, node: ast.ImportFrom) -> str:
        """Return the name of the module that is imported from."""
        if not node.level:
            return node.module or ""
        parts = self.package.split(".")
        parts = parts[: len(parts) - node.level + 1]
        return ".".join([*parts, *([node.module] if node.module else [])])

    def exported(self) -> list[str]:
        """Return what the module is for: ``__all__``, or what it imports to have it."""
        node = self.names.get("__all__")
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List):
            return [ast.literal_eval(item) for item in node.value.elts]
        return [
            alias.name
            for node in self.tree.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
            if alias.asname == alias.name or alias.name == "*"
        ]

    def segment(self, node: ast.AST) -> str:
        """Return the source of a part of a statement, on one line."""
        return re.sub(r"\s+", " ", ast.get_source_segment(self.source, node) or "")

    def comment(self, node: ast.stmt) -> str:
        """Return what the ``#:`` lines above an assignment say."""
        lines: list[str] = []
        number = node.lineno - 2
        while number >= 0 and self.lines[number].startswith("#:"):
            lines.insert(0, self.lines[number][2:].strip())
            number -= 1
        return "\n".join(lines)


class Package:
    """The modules of the package, each read when it is asked for."""

    def __init__(self) -> None:
        self._modules: dict[str, Module] = {}

    def module(self, name: str) -> Module:
        """Return a module.

        Raises:
            LookupError: there is none of this name.
        """
        if name not in self._modules:
            path = ROOT.joinpath(*name.split("."))
            for file in (path.with_suffix(".py"), path / "__init__.py"):
                if file.is_file():
                    self._modules[name] = Module(name, file)
                    break
            else:
                raise LookupError(f"there is no module {name}")
        return self._modules[name]

    def find(self, module: Module, name: str) -> Found | None:
        """Return where a name of a module is defined; ``None`` if not in this package."""
        node = module.names.get(name)
        if isinstance(node, ast.ImportFrom):
            source = module.absolute(node)
            if source.partition(".")[0] != "syncws":
                return None
            original = next(a.name for a in node.names if (a.asname or a.name) == name)
            return self.find(self.module(source), original)
        if node is not None:
            return Found(module, node)
        found = (self.find(self.module(star), name) for star in module.stars)
        return next(filter(None, found), None)

    def bases(self, found: Found) -> list[Found]:
        """Return the classes of this package that a class is derived from directly."""
        names = [base.id for base in found.node.bases if isinstance(base, ast.Name)]
        bases = [self.find(found.module, name) for name in names]
        return [base for base in bases if base and isinstance(base.node, ast.ClassDef)]


def signature(module: Module, node: ast.FunctionDef, name: str, *, returns: bool = True) -> str:
    """Return how a function is called, with annotations and defaults as written."""
    arguments = list(parameters(module, node.args))
    if arguments and arguments[0] in ("self", "cls"):
        del arguments[0]
    end = f" -> {module.segment(node.returns)}" if returns and node.returns else ""
    return fit(name, arguments, end)


def fit(name: str, arguments: list[str], end: str = "") -> str:
    """Return a call on one line, or with a line for each argument."""
    line = f"{name}({', '.join(arguments)}){end}"
    if len(line) <= WIDTH - 4:
        return line
    return "\n".join([f"{name}(", *(f"    {argument}," for argument in arguments), f"){end}"])


def parameters(module: Module, arguments: ast.arguments) -> Iterator[str]:
    """Yield the parameters of a function."""
    positional = [*arguments.posonlyargs, *arguments.args]
    missing = len(positional) - len(arguments.defaults)
    defaults = [None] * missing + list(arguments.defaults)
    for number, (argument, default) in enumerate(zip(positional, defaults), 1):
        yield parameter(module, argument, default)
        if number == len(arguments.posonlyargs):
            yield "/"
    if arguments.vararg:
        yield f"*{parameter(module, arguments.vararg, None)}"
    elif arguments.kwonlyargs:
        yield "*"
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults):
        yield parameter(module, argument, default)
    if arguments.kwarg:
        yield f"**{parameter(module, arguments.kwarg, None)}"


def parameter(module: Module, argument: ast.arg, default: ast.expr | None) -> str:
    """Return a parameter with its annotation and default."""
    text = argument.arg
    if argument.annotation:
        text += f": {module.segment(argument.annotation)}"
    if default is None:
        return text
    return f"{text}{' = ' if argument.annotation else '='}{module.segment(default)}"


def is_enumeration(module: Module, node: ast.ClassDef) -> bool:
    """Tell whether a class is an enumeration."""
    return any(module.segment(base).startswith("enum.") for base in node.bases)


def is_property(node: ast.FunctionDef) -> bool:
    """Tell whether a method is read like an attribute."""
    return any(isinstance(each, ast.Name) and each.id == "property" for each in node.decorator_list)


def docstring_of(node: ast.FunctionDef | ast.ClassDef) -> str:
    """Return a docstring without its indentation."""
    return inspect.cleandoc(ast.get_docstring(node, clean=False) or "")


def enumeration(module: Module, node: ast.ClassDef) -> Iterator[str]:
    """Yield the members of an enumeration."""
    if not is_enumeration(module, node):
        return
    for each in node.body:
        if isinstance(each, ast.Assign):
            yield f"- `{module.segment(each)}`"
    yield ""
