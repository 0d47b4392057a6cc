"""simple-websocket's server: a request of a WSGI application becomes a connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..exceptions import InvalidHandshake
from ..integrations.wsgi import Gateway
from .simple_connection import SimpleConnection
from .simple_errors import ConnectionError as SimpleConnectionError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from ..threaded.connection import Connection

__all__ = ["Offer", "Server"]


@dataclass(frozen=True)
class Offer:
    """What a client asks for, for :meth:`Server.choose_subprotocol`.

    Attributes:
        host: the Host header.
        target: path and query.
        subprotocols: the subprotocols that it offers, in its order.
    """

    host: str
    target: str
    subprotocols: list[str]


class Server(SimpleConnection):
    """A WebSocket that began as a request to a WSGI application.

    :mod:`syncws.integrations.wsgi` says which WSGI servers it can be taken over from, and how. All
    origins are accepted, and any number of connections, as in simple-websocket.

    Args:
        environ: the request's environ.
        subprotocols: the subprotocols that can be agreed on, or a single one.
        receive_bytes: kept, but not used, as are the three classes.
        ping_interval: seconds between pings; nothing, or 0, sends none.
        max_message_size: bytes that a message may have; nothing, or 0, is no limit.
        thread_class: has no meaning here.
        event_class: the same.
        selector_class: the same.

    Attributes:
        environ: the request's environ.
        mode: the WSGI server, as far as programs for simple-websocket ask: ``"werkzeug"``,
            ``"gunicorn"``, ``"eventlet"``, ``"gevent"``, or ``"unknown"``.

    Raises:
        ConnectionError: it isn't a request for a WebSocket, or an invalid one.
        RuntimeError: nothing can be taken over from this WSGI server.
    """

    is_server = True

    def __init__(
        self,
        environ: WSGIEnvironment,
        subprotocols: str | Sequence[str] | None = None,
        receive_bytes: int = 4096,
        ping_interval: float | None = None,
        max_message_size: int | None = None,
        thread_class: Any = None,
        event_class: Any = None,
        selector_class: Any = None,
    ) -> None:
        self.environ = environ
        self.subprotocols: list[str] = _as_list(subprotocols)
        self.mode: str = _find_mode(environ)
        super().__init__(receive_bytes, ping_interval, max_message_size)

    @classmethod
    def accept(cls, environ: WSGIEnvironment, *args: Any, **kwargs: Any) -> Server:
        """Take over a request's connection; return it, open.

        Args:
            environ: the request's environ.
            args: as for the class.
            kwargs: as for the class.

        Raises what the class does.
        """
        return cls(environ, *args, **kwargs)

    def choose_subprotocol(self, request: Any) -> str | None:
        """Return the first of the client's subprotocols that is one of ours, or ``None``.

        Subclasses may choose otherwise.

        Args:
            request: has the attribute ``subprotocols``: what the client offers.
        """
        return next((name for name in request.subprotocols if name in self.subprotocols), None)

    @property
    def _waits_for_end(self) -> bool:  # type: ignore[override]
        """Whether the server could still write into what is left of the connection."""
        return self.mode == "gevent" or self.environ.get("wsgi.url_scheme") == "https"

    def _open(self) -> Connection:
        def choose(ws: Any, offered: Sequence[str]) -> str | None:
            request = ws.request
            host = request.headers.get("Host", "")
            return self.choose_subprotocol(Offer(host, request.path, list(offered)))

        gateway = Gateway(
            origins=None,
            max_connections=None,
            select_subprotocol=choose,
            **self._options(),
        )
        try:
            return gateway.accept(self.environ)
        except InvalidHandshake as exc:
            status = None if exc.response is None else exc.response.status_code
            raise SimpleConnectionError(status) from exc


def _as_list(subprotocols: str | Sequence[str] | None) -> list[str]:
    """Return the names of subprotocols."""
    return [subprotocols] if isinstance(subprotocols, str) else list(subprotocols or ())


def _find_mode(environ: Mapping[str, Any]) -> str:
    """Return simple-websocket's name of the WSGI server, by what it looks for."""
    for mode, key in (
        ("werkzeug", "werkzeug.socket"),
        ("gunicorn", "gunicorn.socket"),
        ("eventlet", "eventlet.input"),
    ):
        if key in environ:
            return mode
    return "gevent" if environ.get("SERVER_SOFTWARE", "").startswith("gevent") else "unknown"
