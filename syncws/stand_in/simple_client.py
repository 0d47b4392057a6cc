"""simple-websocket's client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..client.connecting import connect
from ..exceptions import InvalidHandshake, InvalidStatus
from .simple_connection import SimpleConnection
from .simple_errors import ConnectionError as SimpleConnectionError

if TYPE_CHECKING:
    import ssl

    from ..threaded.connection import Connection

__all__ = ["Client"]


class Client(SimpleConnection):
    """A connection to a server.

    As in simple-websocket, the request has only the headers of the opening handshake and offers no
    compression; no proxy is used, no redirect is followed, and there is no time limit.

    Args:
        url: ``ws://`` or ``wss://``; ``http://`` and ``https://`` mean the same.
        subprotocols: what to offer, most wanted first; or one name.
        headers: additional headers: a dict, or a list of pairs.
        receive_bytes: kept, but not used, as are the two classes.
        ping_interval: seconds between pings; nothing, or 0, sends none.
        max_message_size: bytes that a message may have; nothing, or 0, is no limit.
        ssl_context: certificates and rules for ``wss://``.
        thread_class: has no meaning here.
        event_class: the same.

    Raises:
        ConnectionError: the server refused, or isn't a WebSocket server.
        OSError: it could not be reached.
    """

    is_server = False

    def __init__(
        self,
        url: str,
        subprotocols: str | Sequence[str] | None = None,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
        receive_bytes: int = 4096,
        ping_interval: float | None = None,
        max_message_size: int | None = None,
        ssl_context: ssl.SSLContext | None = None,
        thread_class: Any = None,
        event_class: Any = None,
    ) -> None:
        parts = urlsplit(url)
        self._secure = parts.scheme in ("https", "wss")
        self.host: str | None = parts.hostname
        self.port: int = parts.port or (443 if self._secure else 80)
        self.path: str = parts.path + ("?" + parts.query if parts.query else "")
        self.subprotocols: list[str] = (
            [subprotocols] if isinstance(subprotocols, str) else list(subprotocols or ())
        )
        self._uri = parts._replace(scheme="wss" if self._secure else "ws", fragment="").geturl()
        self._headers = headers if isinstance(headers, (dict, list)) else {}
        self._ssl = ssl_context
        super().__init__(receive_bytes, ping_interval, max_message_size)

    @classmethod
    def connect(cls, url: str, *args: Any, **kwargs: Any) -> Client:
        """Connect to a server; return the connection, open.

        Args:
            url: as for the class.
            args: the same.
            kwargs: the same.

        Raises what the class does.
        """
        return cls(url, *args, **kwargs)

    def _open(self) -> Connection:
        try:
            return connect(
                self._uri,
                ssl=self._ssl if self._secure else None,
                subprotocols=self.subprotocols or None,
                additional_headers=self._headers,
                user_agent_header=None,
                compression=None,
                proxy=None,
                max_redirects=0,
                open_timeout=None,
                **self._options(),
            )
        except InvalidStatus as exc:
            raise SimpleConnectionError(exc.response.status_code) from exc
        except InvalidHandshake as exc:
            raise SimpleConnectionError(400) from exc
