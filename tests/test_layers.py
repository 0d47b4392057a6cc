"""The layers of the package, enforced by reading the import statements of every module.

A layer imports only what stands left of it, and siblings never import each other. What is
imported for annotations only, under `if TYPE_CHECKING:`, is exempt; imports inside functions
are not.
"""

import ast
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "syncws"

# From left to right, one layer a line. Its tuples are siblings. Within a tuple, a name may
# import the names before it; in the last one, any other name.
LAYERS = (
    (("version", "foreign", "exceptions", "aliases", "options", "locks", "accel"),),
    (("sansio",),),
    (("threaded",),),
    (("fallback",),),
    (("client",), ("server",), ("wiretap",)),
    (("pubsub",),),
    (("legacy",), ("styles",), ("integrations",)),
    (("stand_in",), ("testing",)),
    (("cli", "__init__", "__main__", "demo"),),
)
FREE = LAYERS[-1][0]

NEVER = {"asyncio"}
NEVER_IN_SANSIO = {
    "asyncio",
    "concurrent",
    "logging",
    "queue",
    "select",
    "selectors",
    "socket",
    "ssl",
    "threading",
    "time",
}
SOCKETS = {"socket", "_socket", "ssl", "_ssl"}
MAY_USE_SOCKETS = (
    "syncws.threaded.transport",
    "syncws.threaded.tls_transport",
    "syncws.threaded.tls_socket",
    "syncws.threaded.readiness",
    "syncws.threaded.wakeable_selector",
    "syncws.fallback",
    "syncws.client",
    "syncws.server",
    "syncws.styles.websocket_client.socket_functions",
    "syncws.demo.own_address",
    "syncws.integrations.takeover",
    "syncws.integrations.in_memory",
    "syncws.testing",
)

# Optional packages, and the one module that may import each.
OPTIONAL = {
    "django": "syncws.integrations.django",
    "flask": "syncws.integrations.flask",
    "python_socks": "syncws.client.socks",
    "redis": "syncws.pubsub.redis_clients",
    "werkzeug": "syncws.integrations.flask",
    "zlib_ng": "syncws.sansio.extensions.zlib_backend",
}


def is_type_checking(test):
    """Whether test is `TYPE_CHECKING` or `typing.TYPE_CHECKING`."""
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def is_not_type_checking(test):
    """Whether test is `not TYPE_CHECKING`."""
    negated = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
    return negated and is_type_checking(test.operand)


def running_nodes(node):
    """All nodes below node but those that only a type checker reads."""
    children = ast.iter_child_nodes(node)
    if isinstance(node, ast.If):
        if is_type_checking(node.test):
            children = node.orelse
        elif is_not_type_checking(node.test):
            children = node.body
    for child in children:
        yield child
        yield from running_nodes(child)


def imported_by_call(node):
    """The module of `__import__("name")` or `import_module("name")`, or None."""
    if not isinstance(node, ast.Call) or not node.args:
        return None
    name = getattr(node.func, "id", getattr(node.func, "attr", None))
    argument = node.args[0]
    if name in ("__import__", "import_module") and isinstance(argument, ast.Constant):
        return argument.value
    return None


def loading_nodes(tree):
    """All nodes that run while the module is imported: not those within functions."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    later = {
        below for node in ast.walk(tree) if isinstance(node, functions) for below in ast.walk(node)
    }
    return (node for node in running_nodes(tree) if node not in later)


def imports(source, module, *, is_package=False, nodes=running_nodes):
    """Yield (line, absolute dotted name) of each import in the source of module.

    `from a import b` gives `a.b`, whether b is a module or not.
    """
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in nodes(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = [*base, *(node.module.split(".") if node.module else [])]
            for alias in node.names:
                yield node.lineno, ".".join([*base, alias.name])
        elif imported_by_call(node) is not None:
            name = imported_by_call(node)
            if name.startswith("."):
                level = len(name) - len(name.lstrip("."))
                base = package[: len(package) - level + 1]
                name = ".".join([*base, name.lstrip(".")])
            yield node.lineno, name


def position(part):
    """(layer, group within it, index within that) of a module or package of syncws."""
    for i, layer in enumerate(LAYERS):
        for j, group in enumerate(layer):
            if part in group:
                return i, j, group.index(part)
    return None


def part_of(name):
    """The module or package right below syncws that an imported name lives in."""
    parts = name.split(".")
    if len(parts) > 1 and position(parts[1]) is not None:
        return parts[1]
    if len(parts) > 1 and (PACKAGE / parts[1]).is_dir():
        return parts[1]
    if len(parts) > 1 and (PACKAGE / f"{parts[1]}.py").exists():
        return parts[1]
    return "__init__"


def layer_violation(importer, imported):
    """What is wrong with one part of syncws importing another, or None."""
    if importer == imported:
        return None
    here, there = position(importer), position(imported)
    if here is None or there is None:
        return f"{imported if there is None else importer} stands in no layer: add it to LAYERS"
    if there[0] < here[0]:
        return None
    if there[:2] == here[:2] and (importer in FREE or there < here):
        return None
    return f"{importer} must not import {imported}"


def outside_violation(module, imported):
    """What is wrong with a module of syncws importing another package's module, or None."""
    top = imported.split(".")[0]
    if top in NEVER:
        return f"nothing imports {top}"
    if module.startswith("syncws.sansio") and top in NEVER_IN_SANSIO:
        return f"sansio must not import {top}"
    if top in SOCKETS:
        allowed = any(module == name or module.startswith(name + ".") for name in MAY_USE_SOCKETS)
        return None if allowed else f"only {', '.join(MAY_USE_SOCKETS)} import {top}"
    if top in OPTIONAL:
        return None if module == OPTIONAL[top] else f"only {OPTIONAL[top]} imports {top}"
    if sys.version_info >= (3, 10) and top not in sys.stdlib_module_names:
        return f"{top} is not in the standard library"
    return None


def violations(source, module, *, is_package=False):
    """A line of text for each import in source that the layers do not allow."""
    importer = module.split(".")[1] if "." in module else "__init__"
    found = []
    for line, name in imports(source, module, is_package=is_package):
        if name.split(".")[0] == "syncws":
            wrong = layer_violation(importer, part_of(name))
        else:
            wrong = outside_violation(module, name)
        if wrong:
            found.append(f"{module}:{line}: {wrong}")
    return found


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@pytest.mark.parametrize("module", MODULES)
def test_module_keeps_to_its_layer(module):
    path = MODULES[module]
    is_package = path.name == "__init__.py"
    found = violations(path.read_text(encoding="utf-8"), module, is_package=is_package)
    assert not found, "\n".join(found)


def test_there_are_modules_to_read():
    assert {"syncws", "syncws.exceptions"} <= set(MODULES)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        # A layer imports what stands left of it.
        ("syncws.sansio.frames", "from ..exceptions import ProtocolError"),
        ("syncws.sansio.frames", "from .. import accel"),
        ("syncws.sansio.frames", "import syncws.accel"),
        ("syncws.sansio.frames", "from . import close\nfrom .buffer import Buffer"),
        ("syncws.sansio.extensions.permessage_deflate", "from ..frames import Frame"),
        ("syncws.sansio.extensions.permessage_deflate", "from ...options import Limits"),
        ("syncws.options", "from .aliases import HeadersLike"),
        ("syncws.threaded.reader", "import threading, time, queue\nfrom ..sansio import frames"),
        ("syncws.threaded.transport", "import socket, ssl"),
        ("syncws.client.connecting", "import socket\nfrom ..threaded.connection import Connection"),
        (
            "syncws.styles.app",
            "from ..client.connecting import connect\nfrom ..server import serve",
        ),
        ("syncws.client.socks", "def dial():\n    from python_socks.sync import Proxy"),
        ("syncws.integrations.flask", "import flask, werkzeug.serving"),
        ("syncws.__main__", "from .cli import main"),
        ("syncws.cli", "from . import connect, demo\nfrom syncws.server.serving import serve"),
        ("syncws.demo.page", "from .. import cli"),
        # Imports for annotations are exempt.
        (
            "syncws.sansio.frames",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..client import connect",
        ),
        ("syncws.exceptions", "if typing.TYPE_CHECKING:\n    from .sansio.close import Close"),
        ("syncws.cli", "if not TYPE_CHECKING:\n    pass\nelse:\n    import asyncio"),
    ],
)
def test_checker_allows(module, source):
    assert violations(source, module) == []


@pytest.mark.parametrize(
    ("module", "source", "reason"),
    [
        # To the right.
        ("syncws.exceptions", "from .sansio.close import Close", "must not import sansio"),
        ("syncws.exceptions", "from . import options", "must not import options"),
        ("syncws.sansio.frames", "from ..threaded.inbox import Inbox", "must not import threaded"),
        ("syncws.sansio.frames", "from .. import threaded", "must not import threaded"),
        ("syncws.sansio.frames", "import syncws.server.serving", "must not import server"),
        ("syncws.threaded.reader", "from syncws import client", "must not import client"),
        ("syncws.server.serving", "from ..pubsub import hub", "must not import pubsub"),
        (
            "syncws.styles.app",
            "from syncws import connect",
            "must not import __init__",
        ),
        ("syncws.styles.app", "import syncws", "must not import __init__"),
        ("syncws.styles.app", "from .. import cli", "must not import cli"),
        # Between siblings.
        ("syncws.client.connecting", "from ..server import auth", "must not import server"),
        ("syncws.server.auth", "from ..client.proxy import proxy", "must not import client"),
        ("syncws.pubsub.hub", "from ..styles import app", "must not import styles"),
        # Wherever the statement stands.
        (
            "syncws.sansio.frames",
            "def f():\n    if x:\n        from ..client import connect",
            "frames:3: sansio must not import client",
        ),
        ("syncws.sansio.uri", "try:\n    pass\nfinally:\n    import ssl", "import ssl"),
        (
            "syncws.sansio.uri",
            "if TYPE_CHECKING:\n    import socket\nelse:\n    import time",
            "uri:4: sansio must not import time",
        ),
        ("syncws.sansio.uri", "if not TYPE_CHECKING:\n    import time", "import time"),
        ("syncws.sansio.uri", "if TYPE_CHECKING or x:\n    import time", "import time"),
        ("syncws.sansio.uri", "import importlib\nimportlib.import_module('queue')", "queue"),
        ("syncws.sansio.uri", "import_module('..client', __package__)", "must not import client"),
        # From outside the package.
        *[
            ("syncws.sansio.uri", f"import {name}", f"import.* {name}")
            for name in sorted(NEVER_IN_SANSIO)
        ],
        ("syncws.sansio.uri", "from concurrent.futures import Future", "import concurrent"),
        ("syncws.threaded.reader", "import socket", "import socket"),
        ("syncws.threaded.reader", "from ssl import SSLError", "import ssl"),
        ("syncws.threaded.transports", "import socket", "import socket"),
        ("syncws.styles.app", "def f():\n    import ssl", "import ssl"),
        ("syncws.server.serving", "import asyncio.events", "nothing imports asyncio"),
        ("syncws.cli", "from asyncio import run", "nothing imports asyncio"),
        ("syncws.server.serving", "import flask", "only syncws.integrations.flask"),
        # Of no layer.
        ("syncws.helpers.text", "from .. import exceptions", "helpers stands in no layer"),
    ],
)
def test_checker_refuses(module, source, reason):
    found = violations(source, module)
    assert len(found) == 1
    assert re.search(reason, found[0])


@pytest.mark.skipif(sys.version_info < (3, 10), reason="no sys.stdlib_module_names")
def test_checker_refuses_other_packages():
    assert violations("import attr", "syncws.options") == [
        "syncws.options:1: attr is not in the standard library"
    ]


def test_checker_resolves_relative_imports_of_a_package():
    source = "from . import pure\nfrom .pure import mask\nfrom .. import client"
    assert violations(source, "syncws.accel", is_package=True) == [
        "syncws.accel:3: accel must not import client"
    ]
    assert violations("from .client import connect", "syncws", is_package=True) == []


# --- circles ---

# A connection knows the server that accepted it; all else in that room looks one way.
SERVER_BACK = ("syncws.server.server_connection", "syncws.server.threading_server")


def module_of(name):
    """The module that an imported name is, or is in."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name


def graph(nodes, package="syncws"):
    """The modules of a package that each of its modules imports."""
    found = {}
    for module, path in MODULES.items():
        if not f"{module}.".startswith(f"{package}."):
            continue
        source, is_package = path.read_text(encoding="utf-8"), path.name == "__init__.py"
        names = imports(source, module, is_package=is_package, nodes=nodes)
        found[module] = {module_of(name) for _, name in names} - {module}
    return {module: targets & set(found) for module, targets in found.items()}


def circle(edges):
    """The modules from which one comes to a circle; none if there is no circle."""
    left = dict(edges)
    while True:
        ends = {module for module, targets in left.items() if not targets & set(left)}
        if not ends:
            break
        left = {module: targets for module, targets in left.items() if module not in ends}
    return sorted(left)


def test_no_module_needs_itself_to_be_imported():
    assert circle(graph(loading_nodes)) == []


def test_the_rooms_of_the_server_look_one_way():
    # What is imported for annotations only, and within functions, counts here.
    edges = graph(ast.walk, "syncws.server")
    assert len(edges) > 20
    origin, target = SERVER_BACK
    assert target in edges[origin]
    edges[origin].discard(target)
    assert circle(edges) == []


def test_circles_are_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]


def test_imports_within_functions_come_later():
    source = "import a\ndef f():\n    import b\nclass C:\n    import c\n"
    found = [name for _, name in imports(source, "syncws.x", nodes=loading_nodes)]
    assert found == ["a", "c"]
