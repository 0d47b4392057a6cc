"""WebSocket connections to a WSGI application in the same process, without a network: for tests.

The application runs in a thread of its own, as it does under a server, and gets one end of a
pair of sockets; :func:`~syncws.connect` has the other one.
"""

from __future__ import annotations

import contextlib
import functools
import io
import socket
import sys
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from ..aliases import LoggerLike
from ..client.client_connection import AdditionalHeaders, ClientConnection
from ..client.connecting import connect
from ..options import Options
from ..sansio.client_protocol import ClientProtocol
from ..sansio.http11 import Request
from ..sansio.http_parser import RequestParser
from ..threaded.interpreters import IS_MAIN
from ..threaded.transport import Transport
from ..version import __version__
from .answering import IO_TIMEOUT, Answering, WsgiApplication
from .wsgi_request import add_headers
from .wsgi_servers import GIVEN

__all__ = ["InMemoryConnection", "WsgiApplication", "connect_wsgi"]

#: In the environ: a list for exceptions that an integration catches and a test is to see.
FAILURES = "syncws.failures"

#: Bytes that are read at once.
READ_SIZE = 1 << 16


def connect_wsgi(
    application: WsgiApplication,
    uri: str = "/",
    *,
    headers: AdditionalHeaders = None,
    environ: Mapping[str, Any] | None = None,
    **options: Any,
) -> InMemoryConnection:
    """Open a connection to a WSGI application without a network, and return it.

    ::

        with connect_wsgi(application, "/echo") as ws:
            ws.send("hello")
            assert ws.recv(timeout=5) == "hello"

    The application runs in a thread, which ends with the connection: ``close()`` waits for
    it, and raises what the application has raised. Blocks until the connection is open, at
    most ``open_timeout`` seconds (10).

    Args:
        application: any WSGI application that accepts WebSockets by
            ``syncws.integrations``.
        uri: path and query; or a whole URI, ``ws://`` or ``wss://``, which says what the host
            is; ``wss://`` has the application think that TLS was used.
        headers: added to the request.
        environ: what the application finds in its environ, as far as the request doesn't say:
            ``REMOTE_ADDR``, ``SCRIPT_NAME`` and so on.
        options: of :func:`~syncws.connect`: ``subprotocols``, ``origin``, ``cookies``,
            ``compression``, times and limits.

    Raises:
        InvalidStatus: the application answered with plain HTTP; has the response.
        InvalidHandshake: its answer isn't one to an opening handshake.
        TimeoutError: it did not answer in time.
        BaseException: what the application raised before it answered.
        TypeError: an option has a wrong type, or isn't one.
        ValueError: an option has a wrong value.
    """
    uri, scheme = _complete_uri(uri)
    local, remote = socket.socketpair()
    call = ApplicationCall(application, remote, {"wsgi.url_scheme": scheme, **(environ or {})})
    call.start()
    create: Any = functools.partial(InMemoryConnection, call=call)
    try:
        connection = connect(
            uri,
            sock=local,
            proxy=None,
            additional_headers=headers,
            create_connection=create,
            **options,
        )
    except BaseException as exc:
        local.close()
        if not isinstance(exc, TimeoutError):
            call.join(IO_TIMEOUT)
        failure = call.take_failure()
        if failure is not None:
            raise failure from None  # it is why there was no answer
        raise
    assert isinstance(connection, InMemoryConnection)
    return connection


class InMemoryConnection(ClientConnection):
    """A client's connection to an application that runs in a thread of this process.

    Args:
        sock: a connected socket, or a transport; the connection owns it from now on.
        protocol: the codec, before the opening handshake.
        call: the application.
        options: limits and times.
        logger: where to log.
    """

    def __init__(
        self,
        sock: socket.socket | Transport,
        protocol: ClientProtocol,
        *,
        call: ApplicationCall,
        options: Options | None = None,
        logger: LoggerLike | None = None,
    ) -> None:
        super().__init__(sock, protocol, options=options, logger=logger)
        self._call = call

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Close the connection, and wait until the application has ended.

        Blocks at most ``close_timeout`` seconds for each of the two. Idempotent; what the
        application raised is raised once. Any thread may call it.

        Args:
            code: the close code; ``None`` sends none.
            reason: at most 123 bytes in UTF-8.

        Raises:
            BaseException: what the application raised.
            ProtocolError: code or reason can't be sent; the connection stays as it is.
            TimeoutError: the application goes on although the connection is closed.
        """
        super().close(code, reason)
        timeout = self.options.close_timeout
        if not self._call.join(timeout):
            raise TimeoutError(
                f"the application is still running {timeout:g} s after the connection was closed"
            )
        failure = self._call.take_failure()
        if failure is not None:
            raise failure


class ApplicationCall:
    """One request to an application, in a thread of its own.

    Args:
        application: the application.
        sock: where the request comes from; closed at the end, unless the application has it.
        environ: what goes into its environ.
    """

    def __init__(
        self, application: WsgiApplication, sock: socket.socket, environ: Mapping[str, Any]
    ) -> None:
        self._answering = Answering(application, sock)
        self._sock = sock
        self._environ = dict(environ)
        # Set by the thread before it ends; taken by others after that.
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="syncws-application", daemon=IS_MAIN)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self, timeout: float | None) -> bool:
        """Block until the application has ended; return whether it has."""
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def take_failure(self) -> BaseException | None:
        """Return what the application raised, once."""
        failure, self._failure = self._failure, None
        return failure

    # --- in the thread ---

    def _run(self) -> None:
        try:
            request = self._read_request()
            if request is not None:
                self._environ = build_environ(request, self._sock, self._environ)
                failures = self._environ[FAILURES] = []
                self._answering.run(self._environ)
                self._failure = next(iter(failures), None)
        except BaseException as exc:
            self._failure = exc
        finally:
            if not self._answering.is_taken:
                self._sock.close()

    def _read_request(self) -> Request | None:
        """Return the request; ``None`` if there won't be one."""
        self._sock.settimeout(IO_TIMEOUT)
        parser = RequestParser(max_header_size=None)  # it is the test's own client
        request = None
        with contextlib.suppress(OSError):  # the client had a reason to go
            while request is None:
                data = self._sock.recv(READ_SIZE)
                if not data:
                    return None
                request = parser.receive_data(data)
            self._sock.settimeout(None)
        return request


def build_environ(request: Request, sock: socket.socket, more: Mapping[str, Any]) -> dict[str, Any]:
    """Return the environ of a request (PEP 3333); ``more`` is what the request doesn't say."""
    path, _, query = request.path.partition("?")
    host, _, port = request.headers.get("Host", "localhost").partition(":")
    secure = more.get("wsgi.url_scheme") == "https"
    environ = {
        "REMOTE_ADDR": "127.0.0.1",
        "SCRIPT_NAME": "",
        "SERVER_NAME": host,
        "SERVER_PORT": port or ("443" if secure else "80"),
        "SERVER_SOFTWARE": f"syncws/{__version__}",
        "wsgi.version": (1, 0),
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        **more,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REQUEST_METHOD": request.method,
        "REQUEST_URI": request.path,
        "RAW_URI": request.path,
        "QUERY_STRING": query,
        GIVEN: sock,
    }
    name = unquote_to_bytes(path).decode("latin-1")
    if f"{name}/".startswith(f"{environ['SCRIPT_NAME']}/"):
        name = name[len(environ["SCRIPT_NAME"]) :]
    environ["PATH_INFO"] = name
    add_headers(environ, request.headers)
    return environ


def _complete_uri(uri: str) -> tuple[str, str]:
    """Return a ``ws://`` URI for a path or URI, and the scheme that the application sees."""
    if uri.startswith("/"):
        return f"ws://localhost{uri}", "http"
    scheme, separator, rest = uri.partition("://")
    if scheme.lower() == "wss" and separator:
        return f"ws://{rest}", "https"
    return uri, "http"
