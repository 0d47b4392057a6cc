"""websocket-client's ``WebSocket``: an object that opens a connection, uses and closes it."""

from __future__ import annotations

import functools
import weakref
from types import TracebackType
from typing import Any, TypeVar, cast, overload

from ...client.connecting import connect
from ...client.dial import adopt as adopt_socket
from ...exceptions import ConcurrencyError, ProtocolError
from ...locks import make_rlock
from ...options import Options, check_limit
from ...sansio.client_protocol import ClientProtocol
from ...sansio.state import State
from ...threaded.lifecycle import is_exiting
from ...threaded.timekeeper import call_later
from ...threaded.tls_socket import TlsSocketTransport
from .abnf import ABNF, STATUS_NORMAL
from .client_socket import ClientSocket
from .errors import check_status, raise_as_known
from .frame_connection import FrameConnection
from .options import CLOSE_TIMEOUT, connect_arguments, parse_ping_payload, refuse
from .receiving import WebSocketReceiving
from .sending import WebSocketSending, parse_reason
from .tracing import trace_handshake

__all__ = ["WebSocket", "create_connection", "getdefaulttimeout", "setdefaulttimeout"]

#: Seconds to answer the server's close frame, if the object goes away just then.
ANSWER_TIMEOUT = 1.0

_default_timeout: float | None = None


def setdefaulttimeout(timeout: float | None) -> None:
    """Set the timeout of connections that are made without one; ``None`` waits forever.

    Args:
        timeout: seconds.

    Raises:
        ValueError: it is negative.
    """
    global _default_timeout
    check_limit(timeout, "timeout")
    _default_timeout = timeout


def getdefaulttimeout() -> float | None:
    """Return what :func:`setdefaulttimeout` has set."""
    return _default_timeout


class WebSocket(WebSocketSending, WebSocketReceiving):
    """A client's connection with websocket-client's methods.

    All methods may be called from any thread, several at once. Incoming data is read, and pings are
    answered, even while the program does something else. As a context manager it closes at the end
    of the block; iterating over it calls ``recv()`` until that raises.

    Args:
        get_mask_key: not supported: masking keys must be unpredictable.
        sockopt: arguments of :meth:`socket.socket.setsockopt`, for each call of it; made when it is
            connected, before the opening handshake.
        sslopt: TLS: ``ca_certs``, ``ca_cert_path``, ``ca_cert_data``, ``cert_reqs``,
            ``check_hostname``, ``certfile``, ``keyfile``, ``password``, ``cert_chain``,
            ``ciphers``, ``ecdh_curve``, ``ssl_version``; or ``context``; and ``server_hostname``.
            Anything else raises :exc:`TypeError`. Where it names no authorities, the variable
            ``WEBSOCKET_CLIENT_CA_BUNDLE`` may: a file or a folder.
        fire_cont_frame: whether each fragment of a fragmented message is received by itself.
        enable_multithread: no effect: several threads may always use it.
        skip_utf8_validation: no effect: text is always checked, which costs next to nothing.
        dispatcher: not supported: there is no event loop.

    Raises:
        TypeError: what isn't supported is given.
    """

    def __init__(
        self,
        get_mask_key: Any = None,
        sockopt: Any = None,
        sslopt: dict[str, Any] | None = None,
        fire_cont_frame: bool = False,
        enable_multithread: bool = True,
        skip_utf8_validation: bool = False,
        dispatcher: Any = None,
        **_: Any,
    ) -> None:
        refuse(get_mask_key=get_mask_key, dispatcher=dispatcher)
        super().__init__(sockopt, sslopt)
        self._fire_cont_frame = fire_cont_frame
        # Held while a connection takes the place of another. Re-entrant, for signal handlers, and
        # as a socket that the program has set becomes one.
        self._connecting = make_rlock()

    # --- connecting ---

    def connect(self, url: str, **options: Any) -> None:
        """Connect to a server. Blocks until the connection is open; a previous one is cut then.

        Args:
            url: ``ws://`` or ``wss://``; user and password in it are sent as Basic credentials.
            **options: ``header``: a dict, or a list of ``"Name: value"``; ``cookie``; ``origin``,
                by default that of the URL; ``suppress_origin`` sends none; ``host``: value of the
                Host header; ``connection``: no effect, if it asks for an upgrade;
                ``subprotocols``; ``timeout``, as of :meth:`settimeout`;
                ``redirect_limit``, 3 by default; ``socket``: one that is connected, without TLS;
                ``http_proxy_host``, ``http_proxy_port``, ``http_proxy_auth``, ``proxy_type``:
                a proxy, by default that of the variable ``http_proxy``, for ``wss://``
                ``https_proxy``; ``http_no_proxy``: hosts that are reached without a proxy, by
                default those of ``no_proxy``; ``http_proxy_timeout``: seconds for all of the
                opening, if there is no ``timeout``. Further ones are those of
                :func:`syncws.connect`, such as
                ``max_size``, ``compression`` and ``ping_interval``, which are off here by default.

        Raises:
            WebSocketTimeoutException: it took longer than the timeout; 10 seconds without one.
            WebSocketBadStatusException: the server refused.
            WebSocketProxyException: the proxy refused.
            WebSocketAddressException: the host isn't known.
            WebSocketException: it isn't a WebSocket server, or the URL isn't one of them.
            OSError: the server could not be reached, or its certificate is wrong.
            TypeError, ValueError: an option isn't supported, or wrong; the text says what to use.
        """
        if options.get("timeout") is not None:
            self.settimeout(options["timeout"])
        self.adopt(self.open_connection(url, options), replace=True)

    def open_connection(self, url: str, options: dict[str, Any]) -> FrameConnection:
        """Return a connection for :meth:`adopt`; raises what :meth:`connect` does."""
        payload = options.pop("ping_payload", None)
        arguments = connect_arguments(
            url, self.sock_opt.sslopt, {"timeout": self.sock_opt.timeout, **options}
        )
        create = functools.partial(
            FrameConnection,
            sockopt=self.sock_opt.sockopt,
            takes_fragments=self._fire_cont_frame,
            ping_payload=None if payload is None else parse_ping_payload(payload),
        )
        try:
            connection = cast(FrameConnection, connect(url, create_connection=create, **arguments))
        except Exception as exc:
            raise_as_known(exc)
        trace_handshake(connection)
        return connection

    def adopt(self, connection: FrameConnection, *, replace: bool = False) -> None:
        """Use a connection from now on, in place of one that is closed.

        Args:
            connection: the new one.
            replace: whether to cut an open one, rather than the new one.

        Raises:
            ConcurrencyError: there is an open one; the other one is cut.
        """
        with self._connecting:
            present = self._connection
            if replace and present is not None:
                present.abort()
            if replace or present is None or not present.open:
                self._forget()
                self._controls.clear()
                self._fragments = []
                self._closed_here = False
                self._sock = ClientSocket(self, connection, self._controls)
                self._finalizer = weakref.finalize(self, _drop, connection)
                # At exit, open connections are closed anyway.
                self._finalizer.atexit = False  # type: ignore[misc]  # it is a property
                self._connection = connection
                return
        connection.abort()
        raise ConcurrencyError("it is connected already; close it first")

    def _use_given_sock(self) -> None:
        """Make a connection of the socket that the program set, unless another thread did."""
        with self._connecting:
            if self._given_sock is not None:
                self.adopt(self._take_over(self._given_sock), replace=True)
                self._given_sock = None

    def _take_over(self, sock: Any) -> FrameConnection:
        protocol = ClientProtocol("ws://localhost/", state=State.OPEN, max_size=None)
        has_tls = hasattr(type(sock), "do_handshake")  # of its class: mocks have any attribute
        connection = FrameConnection(
            TlsSocketTransport(sock) if has_tls else adopt_socket(sock),
            protocol,
            options=Options(ping_interval=None, close_timeout=CLOSE_TIMEOUT),
            sockopt=self.sock_opt.sockopt,
            takes_fragments=self._fire_cont_frame,
        )
        connection.begin()
        return connection

    # --- closing ---

    def close(
        self,
        status: int = STATUS_NORMAL,
        reason: str | bytes = b"",
        timeout: float | None = 3,
    ) -> None:
        """Close the connection, and wait for the server's close frame.

        Idempotent; any thread may call it, and those that are in other calls are woken. What had
        been received can still be received.

        Args:
            status: the close code.
            reason: at most 123 bytes in UTF-8.
            timeout: seconds that it may take; ``None`` waits forever.

        Raises:
            ProtocolError: code or reason can't be sent; the connection stays as it is.
            ValueError: the code isn't in 0..65535.
        """
        if self._given_sock is not None:
            self._use_given_sock()
        connection = self._connection
        if connection is None:
            return
        if not connection.closed:
            check_status(status)
            text = parse_reason(reason)
            if connection.open:
                self._closed_here = True
            self.close_frame = None
            try:
                connection.close_within(status, text, timeout)
            except ProtocolError as exc:
                self._closed_here = False
                raise_as_known(exc)
            answer = connection.protocol.close_rcvd
            if answer is not None:
                self.close_frame = ABNF(1, 0, 0, 0, ABNF.OPCODE_CLOSE, 0, answer.serialize())
        self._forget_sock()

    def shutdown(self) -> None:
        """Cut the connection, and forget it. Returns at once; threads in other calls are woken."""
        given, self._given_sock = self._given_sock, None
        if given is not None:
            given.close()
        connection, self._connection = self._connection, None
        self._forget()
        if connection is not None:
            connection.abort()

    def abort(self) -> None:
        """Cut the connection. Returns at once; threads in other calls are woken."""
        if self._given_sock is not None:
            self._use_given_sock()
        connection = self._connection
        if connection is not None:
            connection.abort()

    def _forget(self) -> None:
        """Let go of what belongs to the connection so far."""
        self._forget_sock()
        finalizer, self._finalizer = self._finalizer, None
        if finalizer is not None:
            finalizer.detach()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        connection = self._connection
        if connection is not None:
            connection.__exit__(exc_type, exc, traceback)
            self._forget_sock()


def _drop(connection: FrameConnection) -> None:
    """Cut a connection whose ``WebSocket`` is gone: soon, if it is closing, else at once."""
    if not (connection.closed or is_exiting()):
        # Not here: objects are freed at any point of any thread, with any lock held. The timekeeper
        # is running, as it looks after open connections, so no thread has to be started.
        is_closing = connection.protocol.state is State.CLOSING  # its close frame is on its way
        call_later(ANSWER_TIMEOUT if is_closing else 0, connection.abort)


Self = TypeVar("Self", bound=WebSocket)
W = TypeVar("W", bound=WebSocket)


@overload
def create_connection(
    url: str, timeout: float | None = None, *, class_: type[W], **options: Any
) -> W: ...
@overload
def create_connection(url: str, timeout: float | None, class_: type[W], **options: Any) -> W: ...
@overload
def create_connection(url: str, timeout: float | None = None, **options: Any) -> WebSocket: ...


def create_connection(
    url: str,
    timeout: float | None = None,
    class_: type[WebSocket] = WebSocket,
    **options: Any,
) -> WebSocket:
    """Connect to a server, and return the open connection.

    Args:
        url: ``ws://`` or ``wss://``.
        timeout: seconds that connecting, and each call after that, may take; by default what
            :func:`setdefaulttimeout` has set.
        class_: what to make: a subclass of :class:`WebSocket`.
        **options: those of :class:`WebSocket` and of :meth:`WebSocket.connect`.

    Raises what :meth:`WebSocket.connect` does.
    """
    own: dict[str, Any] = {  # all of them, as subclasses may require them
        "sockopt": None,
        "sslopt": None,
        "fire_cont_frame": False,
        "enable_multithread": True,
        "skip_utf8_validation": False,
    }
    own = {name: options.pop(name, value) for name, value in own.items()}
    ws = class_(**own, **options)
    ws.settimeout(_default_timeout if timeout is None else timeout)
    ws.connect(url, **options)
    return ws
