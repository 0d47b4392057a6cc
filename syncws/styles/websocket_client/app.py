"""websocket-client's ``WebSocketApp``: a client that calls functions of the program's."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable, Union

from ...aliases import BytesLike
from ...exceptions import ConcurrencyError, ProtocolError, WebSocketException
from ...locks import make_rlock
from ...options import check_limit
from ...sansio.close import Close, is_sendable
from .abnf import ABNF, STATUS_NORMAL
from .app_run import Run, RunSettings
from .errors import NotConnected, WebSocketProtocolException, check_status
from .options import refuse
from .sending import parse_reason

if TYPE_CHECKING:
    import socket as socket_module

    from .websocket import WebSocket

__all__ = ["WebSocketApp", "set_reconnect"]

Callback = Union[Callable[..., Any], None]
Header = Union[Mapping[str, Any], list[str], None]

_reconnect: float = 0


def set_reconnect(interval: float) -> None:
    """Set the ``reconnect`` of runs that don't give it: seconds, or 0 for none."""
    global _reconnect
    check_limit(interval, "reconnect")
    _reconnect = interval


class WebSocketApp:
    """A client that calls the program's functions as things happen.

    :meth:`run_forever` connects, and calls them in its thread, one at a time, each with the
    application first. All methods may be called from any thread, and from these functions.

    ==================== ========================================== ============================
    function             called                                     with, after the application
    ==================== ========================================== ============================
    ``on_open``          once the first connection is open
    ``on_reconnect``     once another one is; without it
                         ``on_open`` is called again
    ``on_data``          for each message, before the next one      data, opcode, fin flag
    ``on_message``       for each message                           str or bytes
    ``on_cont_message``  for each fragment of a fragmented          bytes, fin flag
                         message, even the first; the message
                         then doesn't go to ``on_message``
    ``on_ping``          for each ping; it is answered already      bytes
    ``on_pong``          for each pong                              bytes
    ``on_error``         when it can't connect, each time; when     an exception
                         a connection breaks; when the server
                         closes; when one of these functions
                         raised something
    ``on_close``         once, at the end of each run               code, reason
    ==================== ========================================== ============================

    What a function raises is given to ``on_error``, or logged with its traceback. The run goes on,
    unless ``on_error`` then raises as well; at other times, what it raises is logged. If the
    function that gives the headers raises, that is a failure to connect.

    ``on_close`` is called with code and reason of the server's close frame, and with ``None`` and
    ``None`` if there was none (the connection was cut, or never opened) or it had no code; an empty
    reason is ``None``. Before that ``on_error`` is told that the server closes, unless the run is
    to reconnect: with a ``WebSocketConnectionClosedException`` whose ``status_code`` and
    ``reason`` are these. That is no failure: the run returns ``False``.

    Arguments that differ from websocket-client's, do nothing, or are refused:

    ======================== ==========================================================
    ``keep_running``         no effect, as there; the attribute ends a run when set to
                             ``False``
    ``get_mask_key``         refused: masking keys must be unpredictable
    ``socket``               plain, also for ``wss://``; not together with ``reconnect``
    ``dispatcher``           refused: give each run a thread of its own instead
    ``skip_utf8_validation`` refused: text is always checked, and ``on_message`` gets str
    ``suppress_host``        refused: HTTP/1.1 has to have a Host header
    ``http_proxy_timeout``   limits all of the opening; there is one deadline for it
    ``sslopt``               what it can't have raises an error instead of being ignored
    ``reconnect``            also ``True``: random delays that grow to a minute
    others                   those of :func:`syncws.connect` are passed on to it
    ======================== ==========================================================

    Args:
        url: ``ws://`` or ``wss://``.
        header: added to the request: a dict, a list of ``"Name: value"``, or a function that
            returns one of them, called for each connection.
        on_open: see above, and all that follow.
        cookie: value of the Cookie header.
        subprotocols: what to offer, most wanted first.
        socket: a connected socket to use instead of making one.

    Attributes:
        sock: the :class:`~.websocket.WebSocket` during a run, else ``None``.
        has_errored: whether something went wrong in the last run, or goes wrong in this one.
        last_close_frame: the server's answer to :meth:`close`, in the last run; else ``None``.

    Raises:
        TypeError: what isn't supported is given.
    """

    def __init__(
        self,
        url: str,
        header: Header | Callable[[], Header] = None,
        on_open: Callback = None,
        on_reconnect: Callback = None,
        on_message: Callback = None,
        on_error: Callback = None,
        on_close: Callback = None,
        on_ping: Callback = None,
        on_pong: Callback = None,
        on_cont_message: Callback = None,
        keep_running: bool = True,
        get_mask_key: Callback = None,
        cookie: str | None = None,
        subprotocols: list[str] | None = None,
        on_data: Callback = None,
        socket: socket_module.socket | None = None,
    ) -> None:
        refuse(get_mask_key=get_mask_key)
        self.url = url
        self.header = header
        self.cookie = cookie
        self.subprotocols = subprotocols
        self.prepared_socket = socket
        self.on_open = on_open
        self.on_reconnect = on_reconnect
        self.on_message = on_message
        self.on_data = on_data
        self.on_error = on_error
        self.on_close = on_close
        self.on_ping = on_ping
        self.on_pong = on_pong
        self.on_cont_message = on_cont_message
        self.sock: WebSocket | None = None
        self.has_errored: bool = False
        self.last_close_frame: ABNF | None = None
        # Guards the two below. Re-entrant, because a signal handler may close.
        self._lock = make_rlock()
        self._run: Run | None = None
        self._own_sock: WebSocket | None = None  # what a run has set as ``sock``
        # The thread that closed it before its first run; 0 once it has run.
        self._closed_by: int | None = None

    def run_forever(
        self,
        sockopt: Any = None,
        sslopt: dict[str, Any] | None = None,
        ping_interval: float = 0,
        ping_timeout: float | None = None,
        ping_payload: str | BytesLike = "",
        http_proxy_host: str | None = None,
        http_proxy_port: int | str | None = None,
        http_no_proxy: list[str] | None = None,
        http_proxy_auth: tuple[str, str] | None = None,
        http_proxy_timeout: float | None = None,
        skip_utf8_validation: bool = False,
        host: str | None = None,
        origin: str | None = None,
        dispatcher: Any = None,
        suppress_origin: bool = False,
        suppress_host: bool = False,
        proxy_type: str | None = None,
        reconnect: float | None = None,
        **options: Any,
    ) -> bool:
        """Connect, and call the program's functions until the connection is closed.

        Blocks until then. Any thread may call it, but one at a time: once :meth:`close` has been
        called, or the previous call has returned, the next may begin. Connecting may take what
        :func:`~syncws.styles.setdefaulttimeout` has set, or else 10 seconds. It may be called again
        after it has ended. Ctrl-C in the main thread ends it: the connection is closed within half
        a second, ``on_error`` gets the :exc:`KeyboardInterrupt`, and the call returns normally, as
        in websocket-client; :exc:`SystemExit` is raised again.

        Args:
            sockopt: arguments of :meth:`socket.socket.setsockopt`, for each call of it.
            sslopt: TLS, as of :class:`~.websocket.WebSocket`.
            ping_interval: seconds between pings; 0 sends none.
            ping_timeout: seconds in which the pong must come, less than ``ping_interval``, after
                which the connection is given up as dead; ``on_error`` gets a
                :exc:`WebSocketTimeoutException`.
            ping_payload: at most 125 bytes.
            http_proxy_host: a proxy; by default that of the environment.
            http_proxy_port: its port.
            http_no_proxy: hosts that are reached without a proxy.
            http_proxy_auth: user name and password for it.
            http_proxy_timeout: seconds for all of the opening, if no timeout is set.
            skip_utf8_validation: refused.
            host: value of the Host header.
            origin: value of the Origin header; by default that of the URL.
            dispatcher: refused.
            suppress_origin: send no Origin.
            suppress_host: refused.
            proxy_type: ``"http"``, ``"https"``, ``"socks4"``, ``"socks4a"``, ``"socks5"`` or
                ``"socks5h"``.
            reconnect: connect again when the connection is lost, or can't be opened, until
                :meth:`close`: after this many seconds, or after random delays if it is ``True``. A
                failure that would repeat, such as 404 or a wrong certificate, ends the run.
            **options: further arguments of :func:`syncws.connect`, such as ``max_size``.

        Returns:
            ``False`` if the program or the server closed the connection, ``True`` if something
            went wrong.

        Raises:
            ConcurrencyError: it is already running.
            WebSocketException: the program has set ``sock``.
            InvalidURI: the URL isn't one of a WebSocket server.
            TypeError, ValueError: an argument isn't supported, or wrong; the text says what to use.
                Or a function is a coroutine function or a generator, which nothing would run.
        """
        refuse(dispatcher=dispatcher, suppress_host=suppress_host)
        if skip_utf8_validation:
            raise TypeError("skip_utf8_validation= isn't supported: text is always checked")
        options.update(
            http_proxy_host=http_proxy_host,
            http_proxy_port=http_proxy_port,
            http_no_proxy=http_no_proxy,
            http_proxy_auth=http_proxy_auth,
            http_proxy_timeout=http_proxy_timeout,
            host=host,
            origin=origin,
            suppress_origin=suppress_origin,
            proxy_type=proxy_type,
            cookie=self.cookie,
            subprotocols=self.subprotocols,
            socket=self.prepared_socket,
        )
        settings = RunSettings(
            sockopt=sockopt,
            sslopt=sslopt,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            ping_payload=ping_payload,
            reconnect=_reconnect if reconnect is None else reconnect,
            options=options,
        )
        run = Run(self, settings)
        try:
            with self._lock:
                if self._run is not None and not self._run.stopped:
                    raise ConcurrencyError("run_forever() runs already, perhaps in another thread")
                if self.sock is not None and self.sock is not self._own_sock:
                    raise WebSocketException("socket is already opened")
                # A thread may be started for the run, and close() come before it gets here. In
                # the thread that runs it can only be about what was before.
                if self._closed_by not in (None, 0, threading.get_ident()):
                    run.stop()
                self._closed_by = 0
                run.begun = True
                self._run = run  # one before may still be in a function of the program's
            self.has_errored = False
            self.last_close_frame = None
            run.run()
        finally:
            if self._run is run:
                self._run = None  # on_close may run it again
            if run.begun:
                run.finish()
        return run.has_errored

    # --- from any thread ---

    def send(self, data: str | BytesLike, opcode: int = ABNF.OPCODE_TEXT) -> None:
        """Send a message. Blocks until the kernel has taken it.

        Args:
            data: a ``str``, or bytes; these are UTF-8 if they are sent as text.
            opcode: one of ``ABNF.OPCODE_...``.

        Raises:
            WebSocketConnectionClosedException: there is no open connection: not yet, or no longer.
            WebSocketTimeoutException: it was not sent within the default timeout.
            TypeError: the data can't be sent; nothing was.
        """
        sock = self.sock
        if sock is None:
            raise NotConnected("the connection isn't open: run_forever() doesn't run")
        sock.send(data, opcode)

    def send_text(self, text_data: str) -> None:
        """Send a text message; as :meth:`send`."""
        self.send(text_data, ABNF.OPCODE_TEXT)

    def send_bytes(self, data: BytesLike) -> None:
        """Send a binary message; as :meth:`send`."""
        self.send(data, ABNF.OPCODE_BINARY)

    def close(
        self,
        status: int = STATUS_NORMAL,
        reason: str | bytes = b"",
        timeout: float | None = 3,
    ) -> None:
        """Close the connection and end the run, even while it connects or waits to reconnect.

        Blocks until the connection is closed; ``on_close`` may be called after that, but ``sock``
        is ``None`` already. Idempotent.
        Another thread may call it before :meth:`run_forever` has begun for the first time; that run
        then ends at once. Messages that were received but not handed out yet are dropped.

        Args:
            status: the close code.
            reason: at most 123 bytes in UTF-8.
            timeout: seconds that the server has to answer; ``None`` waits forever.

        Raises:
            ProtocolError: code or reason can't be sent; the run goes on.
        """
        check_status(status)
        text = parse_reason(reason)
        if not is_sendable(status):
            raise WebSocketProtocolException(f"close code {status} can't be sent")
        try:
            Close(status, text).serialize()
        except ProtocolError as exc:  # the reason is too long
            raise WebSocketProtocolException(str(exc)) from exc
        with self._lock:
            run = self._run
            if run is None and self._closed_by is None:
                self._closed_by = threading.get_ident()
        if run is not None:
            run.stop()
            run.close(status=status, reason=text, timeout=timeout)
            self.last_close_frame = run.close_frame or self.last_close_frame
            run.release()

    def ready(self) -> bool:
        """Tell whether there is an open connection."""
        sock = self.sock
        return sock is not None and sock.connected

    @property
    def keep_running(self) -> bool:
        """Whether it is running and not closed. Setting it to ``False`` ends the run."""
        run = self._run
        return run is not None and not run.stopped

    @keep_running.setter
    def keep_running(self, value: bool) -> None:
        run = self._run
        if run is not None and not value:
            run.stop()
            run.begin_close()

    @property
    def last_ping_tm(self) -> float:
        """When the last ping was sent, as :func:`time.time` gives it; 0 before the first."""
        connection = None if self.sock is None else self.sock._connection
        return 0.0 if connection is None else connection.last_ping_at

    @property
    def last_pong_tm(self) -> float:
        """When the last pong came; 0 before the first."""
        connection = None if self.sock is None else self.sock._connection
        return 0.0 if connection is None else connection.last_pong_at
