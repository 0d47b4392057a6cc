"""Names are where programs import them from, and are those of ``websockets``."""

import importlib.util
import inspect
import pkgutil
import subprocess
import sys

import pytest
import websockets

import syncws
import syncws.client
import syncws.server

CLIENT = ["connect", "unix_connect", "reconnect", "unix_reconnect", "ClientConnection"]
SERVER = [
    "serve",
    "unix_serve",
    "ServerConnection",
    "ThreadingServer",
    "Server",
    "basic_auth",
    "broadcast",
    "Router",
    "route",
    "unix_route",
]

#: What ``websockets`` has and we don't, and why.
ELSEWHERE = {
    "lazy_import": "its own machinery for loading names late",
    "framing": "a module of its asynchronous implementation, until version 16",
    "handshake": "a module of its asynchronous implementation, until version 16",
}

#: What its synchronous modules have and our packages don't, and why.
OLDER = {
    "WebSocketServer": "the name of Server until version 14; syncws.legacy has one of that name",
}

WITH_NAMES = [("client", name) for name in CLIENT] + [("server", name) for name in SERVER]

# Every module of both packages, before the names are looked at.
IMPORT_ALL = """
import importlib, pkgutil, sys
import syncws.client, syncws.server
for package in (syncws.client, syncws.server):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
import syncws, types
for package, name in {names!r}:
    found = getattr(getattr(syncws, package), name)
    assert callable(found), (package, name, found)
    assert found is getattr(syncws, name), (package, name)
"""


@pytest.mark.parametrize(("package", "name"), WITH_NAMES)
def test_a_package_gives_the_thing_and_never_a_module(package, name):
    module = importlib.import_module(f"syncws.{package}")
    found = getattr(module, name)
    assert found is getattr(syncws, name)
    assert inspect.isclass(found) or inspect.isfunction(found)
    assert name in module.__all__
    assert name in syncws.__all__


@pytest.mark.parametrize("package", ["client", "server"])
def test_no_module_has_the_name_of_something_that_its_package_exports(package):
    module = importlib.import_module(f"syncws.{package}")
    modules = {found.name for found in pkgutil.iter_modules(module.__path__)}
    assert len(modules) > 10
    assert modules.isdisjoint(module.__all__)


def test_what_was_imported_before_makes_no_difference():
    program = IMPORT_ALL.format(names=WITH_NAMES)
    subprocess.run([sys.executable, "-c", program], check=True, timeout=50)


def test_the_server_has_the_name_of_websockets_too():
    assert syncws.Server is syncws.server.Server is syncws.ThreadingServer


def public(module):
    """Return what a module of ``websockets`` offers, also what it loads late and deprecates."""
    names = {name for name in dir(module) if not name.startswith("_")}
    modules = {name for name in names if importlib.util.find_spec(f"{module.__name__}.{name}")}
    names -= modules | {"TYPE_CHECKING", "annotations"}
    return sorted(names | set(module.__all__))


@pytest.mark.parametrize("name", public(websockets))
def test_syncws_has_what_websockets_exports(name):
    assert hasattr(syncws, name) != (name in ELSEWHERE)


@pytest.mark.parametrize("name", sorted(websockets.__all__))
def test_syncws_exports_what_websockets_exports(name):
    assert name in {*syncws.__all__, *syncws._LAZY, *ELSEWHERE}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("client", syncws.client), ("server", syncws.server), ("router", syncws.server)],
)
def test_the_packages_export_what_those_of_websockets_do(theirs, ours):
    module = pytest.importorskip(f"websockets.sync.{theirs}")  # some are new in version 15
    assert set(module.__all__) - set(OLDER) <= set(ours.__all__)


@pytest.mark.parametrize("name", syncws.__all__)
def test_everything_that_is_listed_is_there(name):
    assert getattr(syncws, name) is not None
    assert name in dir(syncws)
