"""The HTTP request as handlers see it: with the attributes that Tornado's have."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, overload
from urllib.parse import parse_qsl

from ...sansio.headers import Headers
from ...sansio.hosts import parse_host
from ...threaded.deadline import clock

if TYPE_CHECKING:
    from ...sansio.http11 import Request
    from ...server.server_connection import ServerConnection

__all__ = ["WebHeaders", "WebRequest"]


class WebHeaders(Headers):
    """Headers of a request; the values of a name that occurs several times are joined by commas."""

    __slots__ = ()

    def __getitem__(self, name: str) -> str:
        """Return the value of a header.

        Raises:
            KeyError: there is no such header.
        """
        if name not in self:
            raise KeyError(name.lower())
        return ",".join(super().get_all(name))

    @overload
    def get_all(self, name: str) -> list[str]: ...
    @overload
    def get_all(self) -> Iterator[tuple[str, str]]: ...

    def get_all(self, name: str | None = None) -> list[str] | Iterator[tuple[str, str]]:
        """Return the values of a header, in order; without a name, all (name, value) pairs.

        Names are spelled like ``Content-Type``, whatever the client wrote.
        """
        if name is not None:
            return super().get_all(name)
        return (
            ("-".join(map(str.capitalize, key.split("-"))), value)
            for key, value in self.raw_items()
        )

    def get_list(self, name: str) -> list[str]:
        """Return the values of a header, in order; an empty list if there is none."""
        return self.get_all(name)


class WebRequest:
    """A request, in the parts that handlers ask for. Any thread may read it.

    Args:
        request: the request.
        connection: the connection that it came on.

    Attributes:
        method: its method.
        uri: path and query, as they were sent.
        path: the part of ``uri`` before the question mark.
        query: the part after it.
        version: of HTTP.
        headers: its headers.
        body: its body; of a request for a WebSocket it is empty.
        connection: the connection that it came on.
        remote_ip: the client's address; the one that trusted proxies report, if there are any.
        protocol: ``"http"`` or ``"https"``.
        host: the host that was asked for, perhaps with a port.
    """

    def __init__(self, request: Request, connection: ServerConnection) -> None:
        self.method: str = request.method
        self.uri: str = request.path
        self.path, _, self.query = request.path.partition("?")
        self.version: str = request.protocol
        self.headers: Headers = WebHeaders.from_parsed(request.headers.raw_items())
        self.body: bytes = request.body
        self.connection = connection
        address = connection.remote_address
        # Unix sockets have no address.
        self.remote_ip: str = address[0] if address and isinstance(address, tuple) else "0.0.0.0"
        self.protocol = "https" if connection.secure else "http"
        self.host: str = connection.requested_host or "127.0.0.1"
        self._start = clock()

    def __repr__(self) -> str:
        parts = [f"{name}={getattr(self, name)!r}" for name in ("method", "uri", "remote_ip")]
        return f"{type(self).__name__}({', '.join(parts)})"

    @functools.cached_property
    def host_name(self) -> str:
        """The host that was asked for, without a port, in lower case."""
        try:
            return parse_host(self.host)[0]
        except ValueError:
            return self.host.lower()

    @functools.cached_property
    def arguments(self) -> dict[str, list[bytes]]:
        """The arguments of the query: their values, percent-decoded, by name."""
        arguments: dict[str, list[bytes]] = {}
        # Latin-1 has a character for each byte, so that values are what was sent.
        for name, value in parse_qsl(self.query, keep_blank_values=True, encoding="latin-1"):
            name = name.encode("latin-1").decode("utf-8", "replace")
            arguments.setdefault(name, []).append(value.encode("latin-1"))
        return arguments

    @property
    def query_arguments(self) -> dict[str, list[bytes]]:
        """The same as ``arguments``, as there is no body that could have others."""
        return self.arguments

    @functools.cached_property
    def cookies(self) -> SimpleCookie:
        """The cookies that the client sent, by name; those that can't be read are left out."""
        cookies: SimpleCookie = SimpleCookie()
        for header in self.headers.get_all("Cookie"):
            for pair in header.split(";"):
                name, _, value = (part.strip() for part in pair.partition("="))
                # One by one: a malformed cookie would hide those that follow it.
                parsed: SimpleCookie = SimpleCookie()
                try:
                    parsed.load(pair.strip())
                    cookies[name] = parsed[name].value if name in parsed else value
                except CookieError:
                    continue
        return cookies

    def full_url(self) -> str:
        """Return the URL that was asked for."""
        return f"{self.protocol}://{self.host}{self.uri}"

    def request_time(self) -> float:
        """Return the seconds since the request came."""
        return clock() - self._start
