"""One run of a ``WebSocketApp``: its connections, one after another, and what happens on them."""

from __future__ import annotations

import inspect
import itertools
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable

from ...client.connecting import connect
from ...client.retry import USEFUL_DURATION, Pace, backoff, process_exception
from ...exceptions import ConnectionClosed, ProtocolError
from ...sansio.close import Close, CloseCode
from ...sansio.frames import Frame, Opcode
from ...sansio.uri import parse_uri
from ...server.callables import refuse_coroutine
from ...threaded.deadline import clock
from ...threaded.guarded_logger import GuardedLogger
from ...threaded.latch import Latch
from .attempt import Attempt
from .errors import (
    ServerClosed,
    WebSocketPayloadException,
    WebSocketTimeoutException,
    WrongArgument,
)
from .options import connect_arguments, parse_ping_payload
from .websocket import WebSocket, getdefaulttimeout

if TYPE_CHECKING:
    from ...aliases import BytesLike
    from .abnf import ABNF
    from .app import WebSocketApp
    from .frame_connection import FrameConnection

__all__ = ["Run", "RunSettings"]

logger = GuardedLogger(logging.getLogger("syncws.client"))

#: The names of the program's functions.
_CALLBACKS = (
    "on_open",
    "on_reconnect",
    "on_message",
    "on_data",
    "on_cont_message",
    "on_ping",
    "on_pong",
    "on_error",
    "on_close",
)


@dataclass(frozen=True)
class RunSettings:
    """Arguments of :meth:`~.app.WebSocketApp.run_forever`."""

    sockopt: Any = None
    sslopt: dict[str, Any] | None = None
    ping_interval: float = 0
    ping_timeout: float | None = None
    ping_payload: str | BytesLike = ""
    reconnect: float = 0
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what can't be, naming it."""
        for name in ("ping_interval", "reconnect"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise WrongArgument(f"{name} can't be negative, got {value!r}")
        if self.ping_timeout is not None and not self.ping_timeout > 0:
            raise WrongArgument(f"ping_timeout must be more than 0, got {self.ping_timeout!r}")
        if self.ping_timeout and self.ping_interval and self.ping_interval <= self.ping_timeout:
            raise WrongArgument(
                f"ping_interval={self.ping_interval!r} must be more than"
                f" ping_timeout={self.ping_timeout!r}"
            )
        parse_ping_payload(self.ping_payload)
        if self.reconnect and self.options.get("socket") is not None:
            raise ValueError("a socket is good for one connection: reconnect= is not for it")

    def pace(self) -> Pace:
        """Return the delays between connections."""
        if self.reconnect is True:
            return Pace(backoff, None)
        return Pace(lambda: itertools.repeat(float(self.reconnect)), None)


class Run:
    """One run. :meth:`run` and :meth:`finish` belong to one thread, the rest to any.

    Args:
        app: whose run it is.
        settings: arguments of :meth:`~.app.WebSocketApp.run_forever`.

    Attributes:
        begun: whether it is, or was, the application's current run.
        stopped: whether it is to end.
        has_errored: whether something went wrong.

    Raises what :meth:`~.app.WebSocketApp.run_forever` does.
    """

    def __init__(self, app: WebSocketApp, settings: RunSettings) -> None:
        self._app = app
        self._settings = settings
        self.begun = False
        self.stopped: bool = False
        self.has_errored: bool = False
        self._sock: WebSocket | None = None
        # What the run waits for; replaced before it looks at ``stopped``.
        self._latch = Latch()
        self._was_open = False
        self._header_error: Exception | None = None
        interval = settings.ping_interval or None
        self._options = {
            "ping_interval": interval,
            "ping_timeout": settings.ping_timeout if interval else None,
            **settings.options,
        }
        # What is wrong is to be raised here, rather than count as a failure to connect.
        for name in _CALLBACKS:
            function = getattr(app, name)
            if function is not None:
                refuse_coroutine(function, name)
        header = None if callable(app.header) else app.header
        options = {**self._options, "header": header}
        arguments = connect_arguments(app.url, settings.sslopt, options)
        inspect.signature(connect).bind(app.url, **arguments)
        self._where = parse_uri(app.url).without_credentials()

    # --- any thread ---

    def stop(self) -> None:
        """Make the run end; a wait ends now. Idempotent."""
        self.stopped = True
        self._latch.set()

    def close(self, **kwargs: Any) -> None:
        """Close the connection, if there is one."""
        sock = self._sock
        if sock is not None:
            sock.close(**kwargs)

    @property
    def close_frame(self) -> ABNF | None:
        """The server's answer to our close frame, if there is one."""
        sock = self._sock
        return None if sock is None else sock.close_frame

    def release(self) -> None:
        """Take the connection from the application: programs wait for that. Idempotent."""
        app = self._app
        if app.sock is self._sock:  # another thread may have begun the next run
            app.sock = None
        if app._own_sock is self._sock:
            app._own_sock = None

    def begin_close(self) -> None:
        """Start to close the connection, if there is one."""
        connection = self._connection
        if connection is not None:
            connection.begin_close(CloseCode.NORMAL_CLOSURE, "")

    @property
    def _connection(self) -> FrameConnection | None:
        sock = self._sock
        return None if sock is None else sock._connection

    # --- the thread that runs ---

    def run(self) -> None:
        """Run to the end.

        Raises:
            BaseException: one that a function of the program or a signal handler raised, and that
                is neither an :exc:`Exception` nor :exc:`KeyboardInterrupt`.
        """
        try:
            self._connect_and_receive()
        except BaseException as exc:  # Ctrl-C, as a rule
            if self._connection is not None:
                self._connection.close_quickly()
            self.release()
            self._sock = None  # on_close isn't told how the server has answered
            self._report(exc)
            if not isinstance(exc, KeyboardInterrupt):
                raise

    def finish(self) -> None:
        """Tell the program how the last connection was closed."""
        self.stopped = True
        connection = self._connection
        self.release()
        self._sock = None
        close = None if connection is None else connection.protocol.close_rcvd
        args: tuple[Any, Any] = None, None
        if close is not None and close.code != CloseCode.NO_STATUS_RCVD:
            args = int(close.code), close.reason or None
        try:
            self._call(self._app.on_close, *args)
        except Exception:
            assert self._app.on_error is not None
            logger.exception("%s of the WebSocketApp failed", _name(self._app.on_error))

    def _connect_and_receive(self) -> None:
        """Connect and use the connection; repeatedly, if asked to."""
        pace = self._settings.pace()
        while not self.stopped:
            began = clock()
            try:
                connection = self._connect()
            except Exception as exc:
                if self.stopped:
                    return
                is_final = not self._settings.reconnect or not self._may_pass(exc)
                self._report(exc, is_final=is_final)
                if is_final:
                    return
                delay = pace.after_failure(exc)
            else:
                if connection is not None:
                    self._use(connection)
                if connection is None or not self._settings.reconnect:
                    return
                if connection.stats.messages_received or clock() - began >= USEFUL_DURATION:
                    pace.reset()
                delay = pace.after_useless()
            self._pause(delay)

    def _may_pass(self, exc: Exception) -> bool:
        """Tell whether connecting may succeed next time."""
        return exc is self._header_error or process_exception(exc) is None

    def _pause(self, delay: float) -> None:
        if not self.stopped:
            logger.info("connecting to %s again in %.1f s", self._where, delay)
            self._wait(Latch(), delay)

    def _wait(self, latch: Latch, timeout: float | None = None) -> None:
        """Wait until the latch is set, the time is over or the run is to end."""
        self._latch = latch
        if not self.stopped:  # otherwise stop() may have set the one before
            latch.wait(timeout)

    def _connect(self) -> FrameConnection | None:
        """Return an open connection; ``None`` if the run is to end before there is one.

        Raises:
            Exception: it can't be opened, or the function that gives the headers raised this.
        """
        app, settings = self._app, self._settings
        sock = WebSocket(
            sockopt=settings.sockopt,
            sslopt=settings.sslopt,
            fire_cont_frame=app.on_cont_message is not None,
        )
        sock.settimeout(getdefaulttimeout())
        app.sock = app._own_sock = self._sock = sock
        options = {**self._options, "header": self._header(), "ping_payload": settings.ping_payload}
        opened = Latch()
        attempt = Attempt(lambda: sock.open_connection(app.url, options), opened)
        try:
            attempt.start()
            self._wait(opened)
            connection = attempt.connection()
            if connection is None:
                attempt.abandon()
            else:
                sock.adopt(connection)
        except BaseException:
            attempt.abandon()
            raise
        return connection

    def _header(self) -> Any:
        header = self._app.header
        if not callable(header):
            return header
        try:
            return header()
        except Exception as exc:
            self._header_error = exc
            raise

    def _use(self, connection: FrameConnection) -> None:
        """Call the program's functions until the connection is closed, or ``on_error`` fails."""
        sock = self._sock
        assert sock is not None
        if self.stopped:  # close() may have come when there was nothing to close yet
            sock.close()
            return
        try:
            self._receive(sock)
        except Exception as exc:  # raised by on_error, when told what another function had raised
            self._report(exc)
            self.release()
            self._sock = None
            sock.close()

    def _receive(self, sock: WebSocket) -> None:
        app = self._app
        again, self._was_open = self._was_open, True
        self._call(app.on_reconnect if again and app.on_reconnect else app.on_open)
        while True:
            try:
                item = sock.next_item()
            except ConnectionClosed as exc:
                self._lost(exc)
                return
            if self.stopped:
                continue  # the program wants nothing more; the server's close frame follows
            if app.sock is not sock:  # the program has taken it away
                self.stop()
                sock.shutdown()
                return
            if isinstance(item, Frame):
                if item.opcode is Opcode.CLOSE:
                    self._server_closed(item)
                self._dispatch_frame(item)
            else:
                opcode = Opcode.TEXT if isinstance(item, str) else Opcode.BINARY
                if app.on_data is not None:
                    self._call(app.on_data, item, int(opcode), True)
                self._call(app.on_message, item)

    def _dispatch_frame(self, frame: Frame) -> None:
        app = self._app
        if frame.opcode is Opcode.PING:
            self._call(app.on_ping, frame.data)
        elif frame.opcode is Opcode.PONG:
            self._call(app.on_pong, frame.data)
        elif frame.opcode < Opcode.CLOSE:
            self._call(app.on_data, frame.data, int(frame.opcode), frame.fin)
            self._call(app.on_cont_message, frame.data, frame.fin)

    def _server_closed(self, frame: Frame) -> None:
        """Tell ``on_error``, where programs reconnect, that the server is closing."""
        if self._app.on_error is not None and not self._settings.reconnect:
            close = Close.parse(frame.data)
            self._call_last(self._app.on_error, ServerClosed(close if frame.data else None))

    def _lost(self, exc: ConnectionClosed) -> None:
        """Report the end of a connection, unless it was closed properly."""
        broken = isinstance(exc, (ProtocolError, WebSocketPayloadException))
        if self.stopped or not (broken or exc.rcvd is None):
            return
        if isinstance(exc.__cause__, TimeoutError):
            # What programs look for; a number is that of TCP's own time limit.
            is_tcp = getattr(exc.__cause__, "errno", None) is not None
            timeout = WebSocketTimeoutException(
                "Connection timed out" if is_tcp else "ping/pong timed out"
            )
            timeout.__cause__ = exc
            self._report(timeout, is_final=not self._settings.reconnect)
        else:
            self._report(exc, is_final=not self._settings.reconnect)

    # --- the program's functions ---

    def _call(self, function: Callable[..., Any] | None, *args: Any) -> None:
        """Call one of the program's functions, if there is one; report what it raises.

        Raises:
            Exception: ``on_error`` raised it when told.
        """
        if function is None:
            return
        try:
            function(self._app, *args)
        except Exception as exc:
            if self._app.on_error is not None:
                self._app.on_error(self._app, exc)
            else:
                logger.error("%s of the WebSocketApp failed", _name(function), exc_info=exc)

    def _report(self, exc: BaseException, *, is_final: bool = True) -> None:
        """Tell the program, or else the log, what went wrong with a connection.

        Args:
            exc: what went wrong.
            is_final: whether it ends the run.
        """
        self.has_errored = True
        if self._app._run in (self, None):  # and not the next one
            self._app.has_errored = True
        if self._app.on_error is not None:
            self._call_last(self._app.on_error, exc)
        elif exc is self._header_error:
            name = _name(self._app.header)
            logger.error("%s of the WebSocketApp failed", name, exc_info=self._header_error)
        elif isinstance(exc, Exception):
            level = logging.ERROR if is_final else logging.INFO
            logger.log(level, "the connection to %s failed: %s", self._where, exc)

    def _call_last(self, function: Callable[..., Any] | None, *args: Any) -> None:
        """Call a function whose exceptions can only be logged."""
        if function is None:
            return
        try:
            function(self._app, *args)
        except Exception:
            logger.exception("%s of the WebSocketApp failed", _name(function))


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", function))
