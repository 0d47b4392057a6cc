"""A server for the time of a test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ..locks import make_rlock
from ..server.handling import is_end_of
from ..server.routing import Router
from ..server.server_connection import Handler, ServerConnection
from ..server.serving import serve
from ..server.threading_server import ThreadingServer
from ..server.url_maps import UrlMap

__all__ = ["running"]

#: Seconds that closing the server may take; handlers that go on longer are left behind.
CLOSE_TIMEOUT = 5.0


@contextlib.contextmanager
def running(
    handler: Handler | Router | UrlMap, *, reraise: bool = True, **options: Any
) -> Iterator[ThreadingServer]:
    """Run a server on a free port of the loopback interface, for the time of a ``with`` block.

    ::

        with running(echo) as server, connect(server.uri) as ws:
            ws.send("hello")
            assert ws.recv(timeout=5) == "hello"

    At the end of the block it is closed, within 5 seconds, and what a handler raised is
    raised, unless the block itself failed: a server only logs it, and goes on.

    Args:
        handler: as for :func:`~syncws.serve`.
        reraise: whether to raise what a handler raised.
        options: as for :func:`~syncws.serve`; ``host`` is ``"127.0.0.1"`` by default.

    Raises:
        BaseException: what a handler raised first.
        OSError: there is no free port.
        TypeError: an option has a wrong type, or isn't one.
        ValueError: an option has a wrong value.
    """
    if "sock" not in options:
        options.setdefault("host", "127.0.0.1")
    failures = Failures()
    server = serve(handler, **options)
    server.handler = failures.watch(server.handler)
    try:
        yield server.start()
    finally:
        server.close(timeout=CLOSE_TIMEOUT)
    if reraise:
        failures.check()


class Failures:
    """What handlers raise, while their server goes on. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = make_rlock()  # guards the list
        self._failures: list[BaseException] = []

    def watch(self, handler: Handler) -> Handler:
        """Return a handler that does the same, and notes what it raises."""

        def watched(ws: ServerConnection) -> Any:
            try:
                return handler(ws)
            except BaseException as exc:
                if not is_end_of(ws, exc):
                    with self._lock:
                        self._failures.append(exc)
                raise

        return watched

    def check(self) -> None:
        """Raise the first failure, if there is one."""
        with self._lock:
            failures = list(self._failures)
        if failures:
            raise failures[0]
