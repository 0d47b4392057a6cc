"""A tunnel to the server through a SOCKS proxy, with the optional package python-socks.

The package speaks SOCKS; sockets, names and time are ours, so that one deadline covers everything.
"""

from __future__ import annotations

from typing import Any, cast

from ..exceptions import ProxyError
from ..threaded.deadline import Deadline
from ..threaded.transport import Transport
from .dial import dial
from .proxy import Proxy
from .resolver import resolve

__all__ = ["dial_socks"]


class _Stream:
    """What python-socks takes for the socket that is connected to the proxy."""

    def __init__(self, transport: Transport, deadline: Deadline) -> None:
        self._transport = transport
        self._deadline = deadline
        self.buffer = b""

    def connect(self, *_: Any, **__: Any) -> _Stream:
        return self

    def recv(self, size: int) -> bytes:
        data = self.buffer or self._transport.recv(self._deadline)
        self.buffer = data[size:]
        return data[:size]

    def sendall(self, data: bytes) -> None:
        self._transport.send_all(data, self._deadline)

    def close(self) -> None:
        """Do nothing: whoever made the transport closes it."""


def dial_socks(
    proxy: Proxy,
    host: str,
    port: int,
    source_address: tuple[str, int] | None,
    deadline: Deadline,
) -> Transport:
    """Return a transport that is connected to a host and port through a SOCKS proxy.

    With ``socks4`` and ``socks5`` names are looked up here, and each address is tried; with
    ``socks4a`` and ``socks5h`` the proxy looks them up.

    Raises:
        ProxyError: the proxy refused, or what it said isn't valid.
        TimeoutError: it did not answer before the deadline.
        OSError: it can't be reached.
        ImportError: python-socks isn't installed.
    """
    _import()  # before anything is sent
    if proxy.scheme in ("socks4a", "socks5h"):
        hosts = [host]
    else:
        hosts = [str(address[0]) for *_, address in resolve(host, port, deadline)]
    if "4" in proxy.scheme:
        hosts = [each for each in hosts if ":" not in each]
    if not hosts:
        raise ProxyError(f"{host} has no IPv4 address, and SOCKS4 knows no other")
    for index, each in enumerate(hosts):
        transport = dial(proxy.host, proxy.port, source_address, deadline, what="proxy ")
        try:
            _connect(transport, proxy, each, port, deadline)
            return transport
        except ProxyError:
            transport.close()
            if index == len(hosts) - 1:
                raise
        except BaseException:
            transport.close()
            raise
    raise AssertionError("the last host returns or raises")  # pragma: no cover


def _import() -> Any:
    try:
        import python_socks
        import python_socks.sync
    except ImportError as exc:
        raise ImportError(
            "SOCKS proxies need the package python-socks: pip install 'syncws[socks]'"
        ) from exc
    return python_socks


def _connect(transport: Transport, proxy: Proxy, host: str, port: int, deadline: Deadline) -> None:
    """Have the proxy connect to a host."""
    python_socks = _import()
    kind = python_socks.ProxyType.SOCKS4 if "4" in proxy.scheme else python_socks.ProxyType.SOCKS5
    stream = _Stream(transport, deadline)
    speaker = python_socks.sync.Proxy(
        kind,
        proxy.host,
        proxy.port,
        proxy.username or None,
        proxy.password,
        rdns=True,
        forward=cast(Any, stream),
    )
    try:
        speaker.connect(host, port)
    except Exception as exc:  # errors of the package, of its parser, and of the socket
        if deadline.expired:
            raise TimeoutError("timed out while waiting for the SOCKS proxy") from exc
        raise ProxyError(
            f"the SOCKS proxy did not connect us to {host} port {port}: {exc}"
        ) from exc
    if stream.buffer:
        # The client speaks first, in TLS as in HTTP: this can't be from the server.
        raise ProxyError(f"the SOCKS proxy sent {len(stream.buffer)} bytes after its response")
