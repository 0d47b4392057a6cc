"""A server that follows a script, for tests of clients."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable

from ..exceptions import InvalidHandshake
from ..locks import make_rlock
from ..sansio.handshake import accept_value
from ..sansio.headers import Headers, HeadersLike
from ..sansio.http11 import Request, Response
from ..sansio.http_parser import RequestParser
from ..sansio.plain_responses import build_response
from ..sansio.state import Role
from ..server.callables import refuse_coroutine
from ..threaded.deadline import Deadline
from ..threaded.interpreters import IS_MAIN
from .link import READ_SIZE, Stopped
from .peer import Peer, replace_headers

if TYPE_CHECKING:
    import ssl

__all__ = ["Script", "ScriptedServer", "ServerPeer", "scripted_server"]

#: Seconds after the test's end that scripts have to finish what they wait for.
GRACE = 1.0

#: Seconds for a thread to notice that its socket was shut down.
KILL_TIMEOUT = 5.0


class ServerPeer(Peer):
    """The server's end of a connection, in the hands of a script."""

    _role = Role.SERVER
    _swallows = False  # it reads until the test is over

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Shake hands by TLS, before anything else; for clients of ``tls_uri``.

        Args:
            context: the certificate and rules, as for ``serve(ssl=)``.
        """
        self._sock = context.wrap_socket(
            self._sock, server_side=True, do_handshake_on_connect=False
        )
        self._sock.settimeout(self.timeout)
        try:
            self._sock.do_handshake()
        except OSError as exc:
            self._fail(f"expected a TLS handshake, but it failed: {exc}", exc)

    def read_request(self) -> Request:
        """Wait for the opening handshake's request, and return it, without answering it."""
        if self.request is not None:
            return self.request
        parser = RequestParser()
        deadline = Deadline(self.timeout)
        request = None
        while request is None:
            data = self._read(deadline, "a request")
            try:
                request = parser.receive_data(data) if data else parser.receive_eof()
            except EOFError as exc:
                self._fail(f"expected a request, got the end: {exc}", exc)
            except (InvalidHandshake, ValueError) as exc:
                self._fail(f"expected a request, got {data[:100]!r}: {exc}", exc)
        self._receive(parser.trailing)
        self.request = request
        self._note(f"< {request.method} {request.path}")
        return request

    def accept(self, *, subprotocol: str | None = None, headers: HeadersLike | None = None) -> None:
        """Accept the opening handshake, after reading its request if that wasn't done.

        Args:
            subprotocol: what is agreed on, whether it was offered or not.
            headers: added to the response, in place of ours of the same names:
                ``{"Sec-WebSocket-Accept": "wrong"}``.
        """
        key = self.read_request().headers.get("Sec-WebSocket-Key", "")
        response = Response(101, "Switching Protocols", Headers())
        response.headers["Upgrade"] = "websocket"
        response.headers["Connection"] = "Upgrade"
        response.headers["Sec-WebSocket-Accept"] = accept_value(key)
        if subprotocol is not None:
            response.headers["Sec-WebSocket-Protocol"] = subprotocol
        replace_headers(response.headers, Headers(headers or ()))
        self._respond(response)
        self._is_open = True

    def refuse(
        self, status: int = 403, body: str | bytes = "", headers: HeadersLike | None = None
    ) -> None:
        """Answer the opening handshake with plain HTTP, and end the connection.

        Args:
            status: the HTTP status.
            body: the body; a str is sent as UTF-8.
            headers: further headers, such as ``{"Retry-After": "1"}`` or, for a redirect,
                ``{"Location": uri}``.
        """
        self.read_request()
        self._respond(build_response(status, body, headers))
        self.cut()

    def stall(self) -> None:
        """Do nothing until the test is over: read nothing, send nothing, close nothing.

        What the client sends fills the kernel's buffers, and blocks it then; see
        ``buffer_size``.
        """
        self._note("* stalls")
        self._pause(None)

    def _read_away_until_stopped(self) -> None:
        while not self._stopping.is_set() and self._sock.recv(READ_SIZE):
            pass

    def swallow(self) -> None:
        """Read all that comes, and answer nothing, until the client or the test ends."""
        self._note("* swallows what comes")
        self._swallows = True
        with contextlib.suppress(ConnectionError):
            self._sock.settimeout(None)
            self._read_away_until_stopped()
        if self._stopping.is_set():
            raise Stopped

    def _stop(self) -> None:
        """End delays and stalls, now and from now on: the test is over."""
        super()._stop()
        if self._swallows:
            self._shut_down()

    def _finish(self) -> None:
        """End the connection, unless it has ended, as a server does when its handler returns."""
        if self._is_open and not self._gone:
            self.close()
        self.cut()

    def _open(self) -> None:
        self.accept()

    def _respond(self, response: Response) -> None:
        self.response = response
        self._note(f"> HTTP {response.status_code}")
        self._write(response.serialize())


#: What a server does to one connection.
Script = Callable[[ServerPeer], Any]


def scripted_server(
    *scripts: Script, timeout: float = 5.0, buffer_size: int | None = None
) -> ScriptedServer:
    """Return a server that does to each connection what a function says; for a ``with`` block.

    ::

        def script(peer):
            peer.expect("hello")
            peer.send_part("goodbye", 3)
            peer.cut()

        with scripted_server(script) as server:
            run_my_client(server.uri)

    The functions are called with a :class:`ServerPeer`, each in a thread of its own: the first
    one with the first connection, and so on. After the last one the server stops listening. When
    a function returns, its connection is closed properly.

    Leaving the block ends delays and stalls at once, gives scripts that wait for something one
    more second, and raises what went wrong in a script; or an AssertionError if there were
    fewer connections than scripts. If the block itself raises, its exception is raised, with the
    script's failure as the last of its causes.

    Args:
        scripts: the functions.
        timeout: seconds that each step may wait for the client.
        buffer_size: bytes that the kernel holds for a peer that doesn't read, roughly; by
            default it may be megabytes until a client that sends notices anything.

    Raises:
        OSError: there is no free port.
        TypeError: there is no script, or one can't be called.
    """
    return ScriptedServer(scripts, timeout, buffer_size)


class ScriptedServer:
    """Listens on a free port of the loopback interface; see :func:`scripted_server`.

    Attributes:
        port: where it listens.
        uri: the same, for :func:`~syncws.connect`.
        tls_uri: the same with ``wss://``, for scripts that begin with ``start_tls()``; the host is
            ``localhost``, as certificates for tests have it.
    """

    def __init__(
        self, scripts: tuple[Script, ...], timeout: float, buffer_size: int | None = None
    ) -> None:
        if not scripts:
            raise TypeError("a scripted server needs a script: a function of a peer")
        for script in scripts:
            refuse_coroutine(script, "a script")
        self._scripts = scripts
        self._timeout = timeout
        self._lock = make_rlock()  # guards the three below
        self._peers: list[ServerPeer] = []
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []
        self._waker: Any = None  # address of the socket that ends the wait for a client
        self._listener = socket.socket()
        try:
            if buffer_size is not None:  # connections inherit it
                self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_size)
            self._listener.bind(("127.0.0.1", 0))
            self._listener.listen()
        except BaseException:
            self._listener.close()
            raise
        self.port: int = self._listener.getsockname()[1]
        self.uri: str = f"ws://127.0.0.1:{self.port}/"
        self.tls_uri: str = f"wss://localhost:{self.port}/"

    def check(self) -> None:
        """Raise what went wrong in a script so far, the first failure; return if nothing did."""
        with self._lock:
            failures = list(self._failures)
        if failures:
            raise failures[0]

    def __enter__(self) -> ScriptedServer:
        accepting = threading.Thread(target=self._accept, name="syncws-scripted", daemon=IS_MAIN)
        self._accepting = accepting
        accepting.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()
        if exc is None:
            self.check()
            if len(self._peers) < len(self._scripts):
                raise AssertionError(
                    f"expected a connection for each script, {len(self._scripts)} in all; "
                    f"{len(self._peers)} came"
                )
        elif self._failures:
            _add_cause(exc, self._failures[0])

    def _stop(self) -> None:
        """End everything: stalls at once, other waits after a second."""
        with socket.socket() as waker:
            waker.bind(("127.0.0.1", 0))
            self._waker = waker.getsockname()
            with contextlib.suppress(OSError):  # nobody listens any more
                waker.connect(("127.0.0.1", self.port))
            self._accepting.join(KILL_TIMEOUT)
        deadline = Deadline(GRACE)
        for peer in self._peers:
            peer._stop()
        for thread in self._threads:
            thread.join(deadline.remaining())
        for peer in self._peers:
            peer._kill()
        for thread in self._threads:
            thread.join(KILL_TIMEOUT)

    # --- in threads ---

    def _accept(self) -> None:
        """Give each script its connection."""
        with self._listener:
            for number, script in enumerate(self._scripts, 1):
                sock, address = self._listener.accept()
                if address == self._waker:
                    sock.close()
                    return
                peer = ServerPeer(sock, self._timeout, f"connection {number}: ")
                thread = threading.Thread(
                    target=self._run, args=(script, peer), name="syncws-script", daemon=IS_MAIN
                )
                with self._lock:
                    self._peers.append(peer)
                    self._threads.append(thread)
                thread.start()

    def _run(self, script: Script, peer: ServerPeer) -> None:
        try:
            script(peer)
            with contextlib.suppress(AssertionError):  # its last step was done
                peer._finish()
        except Stopped:
            pass
        except BaseException as exc:
            with self._lock:
                self._failures.append(exc)
        finally:
            peer.cut()


def _add_cause(exc: BaseException, failure: BaseException) -> None:
    """Show a script's failure along with the test's, which it may well have caused."""
    while exc is not failure:
        deeper = exc.__cause__ or exc.__context__
        if deeper is None:
            exc.__cause__ = failure
            return
        exc = deeper
