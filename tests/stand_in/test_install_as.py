"""Other libraries' names give this one, in all the ways in which programs import them."""

import importlib
import pkgutil

import pytest
from support.stand_ins import run, run_as

import syncws
from syncws.stand_in.installing import LIBRARIES

ALL = "websocket websockets simple_websocket"


def test_each_library_is_this_one_under_its_name():
    run_as(
        ALL,
        """
        import websocket, websockets, simple_websocket
        from syncws import styles
        assert websocket.WebSocketApp is styles.WebSocketApp
        assert websocket.create_connection is styles.create_connection
        assert websockets.ConnectionClosed is syncws.ConnectionClosed
        from syncws.stand_in.simple_server import Server
        assert simple_websocket.Server is Server
        assert repr(websocket) == "<module 'websocket' (syncws)>"
        """,
    )


def test_submodules_are_imported_in_every_way():
    run_as(
        ALL,
        """
        import importlib, importlib.util
        import websockets.sync.client as first
        from websockets.sync import client as second
        third = importlib.import_module("websockets.sync.client")
        assert first is second is third is importlib.import_module(".client", "websockets.sync")
        import websockets
        assert websockets.sync.client is first
        assert first.ClientConnection is syncws.ClientConnection
        for name in ("websockets", "websockets.sync", "websockets.sync.client", "websocket._app"):
            spec = importlib.util.find_spec(name)
            assert spec.name == name
            module = importlib.import_module(name)
            assert module.__spec__ is spec and module.__name__ == name
            assert module.__package__ == (name if hasattr(module, "__path__") else spec.parent)
            assert (module.__spec__.submodule_search_locations is None) == (
                not hasattr(module, "__path__")
            )
        assert importlib.import_module("websockets").__path__ == []
        """,
    )


def test_all_names_of_all_modules_are_found_or_not_said_to_be_there():
    run_as(
        ALL,
        """
        import importlib
        from syncws.stand_in.installing import LIBRARIES
        for library in LIBRARIES.values():
            for name in library.modules:
                module = importlib.import_module(name)
                names = {}
                exec(f"from {name} import *", names)
                assert set(module.__all__) <= set(names)
                assert set(module.__all__) <= set(dir(module))
                if library.name != "websocket":
                    missing = set(library.modules[name]) - set(module.__all__) - {"__version__"}
                    assert not missing, (name, missing)
        """,
    )


def test_nothing_is_loaded_twice():
    run_as(
        ALL,
        """
        import pickle, sys
        from websockets.exceptions import ConnectionClosed, ConnectionClosedOK
        from websockets.frames import Close
        import websockets, websocket, websocket._exceptions
        assert ConnectionClosed is websockets.ConnectionClosed is syncws.ConnectionClosed
        try:
            raise syncws.ConnectionClosedOK(Close(1000, ""), Close(1000, ""), True)
        except ConnectionClosed as exc:
            copy = pickle.loads(pickle.dumps(exc))
        assert type(copy) is ConnectionClosedOK
        error = websocket.WebSocketTimeoutException
        assert error is websocket._exceptions.WebSocketTimeoutException
        names = [name for name, module in sys.modules.items() if module.__name__ != name]
        assert [name for name in names if name.startswith(("syncws", "websocket"))] == []
        """,
    )


def test_versions_are_those_of_the_api():
    run_as(
        ALL,
        """
        import websocket, websockets, websockets.version
        assert websocket.__version__ == "1.9.0"
        assert websockets.__version__ == websockets.version.version == "17.4"
        """,
    )


def test_metadata_is_left_alone():
    pytest.importorskip("websockets")
    found = run_as("websockets", "import importlib.metadata as m; print(m.version('websockets'))")
    assert found == run("import importlib.metadata as m; print(m.version('websockets'))")


def test_a_module_that_is_not_there_says_who_stands_in():
    run_as(
        ALL,
        """
        try:
            import websockets.speedups
        except ModuleNotFoundError as exc:
            assert exc.name == "websockets.speedups"
            assert "syncws stands in for websockets" in str(exc)
        else:
            raise AssertionError
        import websocket
        try:
            websocket.nothing
        except AttributeError as exc:
            assert "syncws stands in for websocket-client" in str(exc)
        else:
            raise AssertionError
        try:
            from websocket import nothing
        except ImportError as exc:
            assert exc.name == "websocket"
        else:
            raise AssertionError
        """,
    )


def test_reloading_gives_the_same_names():
    run_as(
        ALL,
        """
        import importlib, sys
        import websockets.exceptions as module
        module.ConnectionClosed = None
        assert importlib.reload(module) is module
        assert module.ConnectionClosed is syncws.ConnectionClosed
        del sys.modules["websockets.exceptions"]
        from websockets.exceptions import ConnectionClosed
        assert ConnectionClosed is syncws.ConnectionClosed
        """,
    )


def test_modules_that_were_thrown_out_are_attributes_again():
    run_as(
        ALL,
        """
        import sys
        for name in list(sys.modules):
            if name.partition(".")[0] in ("websocket", "websockets"):
                del sys.modules[name]
        import websocket, websockets
        assert websocket._exceptions.WebSocketException is websocket.WebSocketException
        assert websockets.exceptions.ConnectionClosed is syncws.ConnectionClosed
        assert websockets.sync.client.ClientConnection is syncws.ClientConnection
        """,
    )


def test_names_are_where_programs_import_them_from_although_others_define_them():
    run_as(
        ALL,
        """
        from websockets.sync.client import Connection, ClientProtocol, Headers, USER_AGENT, connect
        from websockets.sync.server import Connection as Same, Request, Response, ServerProtocol
        from websockets.sync.connection import CloseCode, ConnectionClosedOK, State
        from websockets.asyncio.client import process_exception
        from websockets.legacy.client import Connect
        from websockets.legacy.server import Serve
        assert Connection is Same
        assert process_exception(ValueError()) is not None
        """,
    )


def test_an_abstract_class_may_stand_beside_an_asynchronous_one():
    run_as(
        "websockets",
        """
        import abc
        from websockets.legacy.server import WebSocketServerProtocol

        class Handler(abc.ABC, WebSocketServerProtocol):
            @abc.abstractmethod
            def handle(self): ...

        assert issubclass(Handler, WebSocketServerProtocol)
        assert not isinstance(5, WebSocketServerProtocol)
        """,
    )


def test_names_can_be_replaced_as_tests_do():
    run_as(
        "websockets",
        """
        from unittest import mock
        import websockets.sync.client
        with mock.patch("websockets.sync.client.connect", return_value=42):
            assert websockets.sync.client.connect("ws://localhost") == 42
        assert websockets.sync.client.connect.__module__.startswith("syncws.")
        """,
    )


# --- what is refused -------------------------------------------------------------


@pytest.mark.parametrize("module", ["websockets", "websockets.exceptions"])
def test_an_imported_original_is_refused(module):
    pytest.importorskip("websockets")
    run(
        f"""
        import sys
        import {module}
        import syncws
        before = dict(sys.modules)
        try:
            syncws.install_as("websocket", "websockets")
        except RuntimeError as exc:
            assert "'websockets' is imported already, from " in str(exc)
        else:
            raise AssertionError
        assert "websocket" not in sys.modules  # all or none
        assert sys.modules["websockets"] is before["websockets"]
        assert not any(type(finder).__module__.startswith("syncws") for finder in sys.meta_path)
        """
    )


def test_what_is_installed_already_stays():
    run(
        """
        import sys, syncws
        first = syncws.install_as("websocket")
        import websocket
        second = syncws.install_as("websocket", "websockets", "websocket")
        assert first.libraries == ("websocket",) and second.libraries == ("websockets",)
        assert sys.modules["websocket"] is websocket
        assert syncws.install_as("websockets").libraries == ()
        """
    )


def test_unknown_names_are_refused_with_those_that_are_known():
    with pytest.raises(ValueError, match=r"'websocket-client'.*'websocket' .of websocket-client"):
        syncws.install_as("websockets", "websocket-client")
    with pytest.raises(ValueError, match="'websockets'"):
        syncws.install_as()


# --- a block ---------------------------------------------------------------------


def test_a_block_puts_back_what_was():
    run(
        """
        import sys, syncws
        syncws.styles, syncws.install_as  # loaded before
        sys.modules["websocket"] = None  # its import was blocked
        path, before = list(sys.meta_path), set(sys.modules)
        with syncws.install_as("websocket", "simple_websocket"):
            from websocket import WebSocketApp
            with syncws.install_as("websocket"):  # nothing new, so nothing is undone
                pass
            import websocket._app
            assert websocket._app.WebSocketApp is WebSocketApp is syncws.WebSocketApp
        assert sys.modules["websocket"] is None
        assert sys.meta_path == path
        left = set(sys.modules) - before
        assert not [name for name in left if name.startswith(("websocket", "simple_"))]
        assert websocket._app.set_reconnect is syncws.styles.set_reconnect  # who has it keeps it
        """
    )


def test_a_block_undoes_once():
    run(
        """
        import sys, syncws
        stand_in = syncws.install_as("websocket")
        with stand_in:
            pass
        syncws.install_as("websocket")
        with stand_in:
            pass
        assert "websocket" in sys.modules
        """
    )


def test_threads_that_install_at_once_get_the_same():
    run(
        """
        import sys, threading, syncws
        from concurrent.futures import ThreadPoolExecutor
        barrier = threading.Barrier(8)
        def install(_):
            barrier.wait(10)
            return syncws.install_as("websockets").libraries, sys.modules["websockets"]
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(install, range(8)))
        assert sorted(libraries for libraries, _ in results) == [()] * 7 + [("websockets",)]
        assert len({id(module) for _, module in results}) == 1
        """
    )


# --- the asynchronous API --------------------------------------------------------


def test_the_asynchronous_api_can_be_imported_and_says_on_use_what_this_is():
    run_as(
        ALL,
        """
        import asyncio
        import websockets, websockets.legacy.client, websockets.trio.client
        from websockets.asyncio.client import ClientConnection, connect
        from simple_websocket import AioClient, AioServer

        class Mine(connect):  # programs inherit, and annotate
            def method(self) -> "ClientConnection | None": ...

        async def use_with():
            async with websockets.connect("ws://localhost"):
                pass

        async def use_await():
            await connect("ws://localhost")

        async def use_for():
            async for ws in websockets.legacy.client.connect("ws://localhost"):
                pass

        async def use_trio():
            async with websockets.trio.client.connect("ws://localhost"):
                pass

        async def use_subclass():
            async with Mine("ws://localhost"):
                pass

        async def use_serve():
            async with websockets.serve(None, "localhost", 0):
                pass

        for use in (use_with, use_await, use_for, use_trio, use_subclass, use_serve):
            try:
                asyncio.run(use())
            except NotImplementedError as exc:
                assert "syncws" in str(exc) and "synchronous library" in str(exc)
                assert "use websockets.sync." in str(exc)
            else:
                raise AssertionError(use)
        for name in ("connect", "accept"):
            try:
                getattr(AioClient if name == "connect" else AioServer, name)
            except AttributeError as exc:
                assert "synchronous library" in str(exc)
            else:
                raise AssertionError(name)
        assert not isinstance(1, websockets.ClientConnection)
        try:
            with websockets.connect("ws://localhost"):
                pass
        except NotImplementedError as exc:
            assert "websockets.sync.client.connect()" in str(exc)
        else:
            raise AssertionError
        """,
    )


# --- completeness ----------------------------------------------------------------

#: Modules of websockets that only it uses itself.
INTERNAL = {
    "websockets.__main__",
    "websockets.cli",
    "websockets.imports",
    "websockets.speedups",
    "websockets.streams",
    "websockets.sync.messages",
    "websockets.sync.utils",
}

#: The same in each of the packages of its asynchronous half.
INTERNAL_ASYNCHRONOUS = {
    *["async_timeout", "compatibility", "framing", "handshake", "http", "messages", "utils"]
}

#: Names that are internal, though they are public there.
INTERNAL_NAMES = {"get_socket_name"}


def modules_of(package):
    return [package.__name__] + [
        found.name for found in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    ]


@pytest.mark.interop
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_all_public_names_of_websockets_are_there():
    websockets = pytest.importorskip("websockets")
    if int(websockets.__version__.partition(".")[0]) < 15:
        pytest.skip("names that are no more")
    ours = LIBRARIES["websockets"].modules
    for name in set(modules_of(websockets)) - INTERNAL:
        half, _, last = name.partition(".")[2].rpartition(".")
        if half in ("asyncio", "legacy", "trio") and last in INTERNAL_ASYNCHRONOUS:
            continue
        if name.startswith("websockets.trio"):  # trio may be missing
            assert name in ours
            continue
        theirs = importlib.import_module(name)
        assert name in ours, name
        missing = set(getattr(theirs, "__all__", ())) - set(ours[name]) - INTERNAL_NAMES
        assert not missing, (name, missing)


@pytest.mark.interop
def test_all_public_names_of_simple_websocket_are_there():
    simple_websocket = pytest.importorskip("simple_websocket")
    ours = LIBRARIES["simple_websocket"].modules
    for name in modules_of(simple_websocket):
        theirs = importlib.import_module(name)
        defined = {
            key
            for key, value in vars(theirs).items()
            if isinstance(value, type) and value.__module__.startswith("simple_websocket")
        }
        assert not defined - set(ours[name]) - {"AioBase"}, name


@pytest.mark.interop
def test_all_modules_of_websocket_client_are_there():
    websocket = pytest.importorskip("websocket")
    theirs = {
        name
        for name in modules_of(websocket)
        if not name.startswith("websocket.tests") and name != "websocket._wsdump"
    }
    # The dispatchers are the inside of run_forever().
    assert theirs - set(LIBRARIES["websocket"].modules) <= {"websocket._dispatcher"}
