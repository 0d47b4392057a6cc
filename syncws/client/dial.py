"""From a name to a transport: addresses, TCP, Unix sockets, TLS."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

from ..threaded.deadline import Deadline, Latch
from ..threaded.transport import TlsTransport, Transport

if TYPE_CHECKING:
    import ssl as ssl_module

__all__ = ["adopt", "dial", "dial_unix", "start_tls"]


def adopt(sock: socket.socket) -> Transport:
    """Return the transport of a socket that is connected already.

    Raises:
        TypeError: it isn't a plain socket.
    """
    if not isinstance(sock, socket.socket):
        raise TypeError(f"sock= is a socket, not {type(sock).__name__}")
    if hasattr(sock, "do_handshake"):
        raise TypeError("sock= is the plain socket; TLS is for wss:// URIs and ssl=")
    _tune(sock)
    return Transport(sock)


def dial(
    host: str, port: int, source_address: tuple[str, int] | None, deadline: Deadline
) -> Transport:
    """Return a transport connected to the first address of a host that answers.

    Raises:
        TimeoutError: none did before the deadline.
        OSError: the host isn't known, or can't be reached.
    """
    try:
        addresses = _resolve(host, port, deadline)
        for index, (family, kind, proto, _, address) in enumerate(addresses):
            # They share the time: the first one may be where nobody ever answers.
            left = len(addresses) - index
            remaining = deadline.remaining()
            timeout = None if remaining is None else remaining / left
            try:
                return Transport(_connect(family, kind, proto, address, source_address, timeout))
            except OSError:
                if left == 1:
                    raise
    except (TimeoutError, socket.timeout) as exc:  # the same from Python 3.10 on
        raise TimeoutError(f"timed out while connecting to {host} port {port}") from exc
    except socket.gaierror:
        raise
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror, f"{host} port {port}") from exc
    raise AssertionError("a name that is known has an address")  # pragma: no cover


def dial_unix(path: str | os.PathLike[str], deadline: Deadline) -> socket.socket:
    """Return a socket connected to a Unix socket.

    Raises:
        TimeoutError: nobody accepted before the deadline.
        OSError: nobody listens there.
    """
    path = os.fspath(path)
    try:
        return _connect(socket.AF_UNIX, socket.SOCK_STREAM, 0, path, None, deadline.remaining())
    except (TimeoutError, socket.timeout) as exc:  # the same from Python 3.10 on
        raise TimeoutError(f"timed out while connecting to {path}") from exc
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror, path) from exc


def start_tls(
    transport: Transport,
    context: ssl_module.SSLContext | None,
    server_hostname: str,
    deadline: Deadline,
) -> TlsTransport:
    """Return the transport with TLS on top.

    Raises:
        TimeoutError: the server did not answer before the deadline.
        OSError: the handshake failed, or the certificate is wrong.
    """
    if context is None:
        import ssl

        context = ssl.create_default_context()
    tls = TlsTransport(transport, context, server_side=False, server_hostname=server_hostname)
    try:
        tls.handshake(deadline)
    except TimeoutError as exc:
        raise TimeoutError("timed out during the TLS handshake") from exc
    return tls


def _resolve(host: str, port: int, deadline: Deadline) -> list[Any]:
    """Return the addresses of a host; looking them up counts for the deadline."""
    with contextlib.suppress(socket.gaierror):  # it isn't an address, but a name
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    if host == "localhost":
        # Of this machine by definition (RFC 6761 §6.3): nobody is asked, so nothing can take long.
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    done = Latch()
    outcome: list[Any] = []

    def look_up() -> None:
        try:
            outcome.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as exc:
            outcome.append(exc)
        done.set()

    # The resolver can't be interrupted: it goes on in its thread when nobody waits any more.
    threading.Thread(target=look_up, name="syncws-resolver", daemon=True).start()
    if not done.wait(deadline.remaining()):
        raise TimeoutError(f"timed out while looking up {host}")
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return list(outcome[0])


def _connect(
    family: int,
    kind: int,
    proto: int,
    address: Any,
    source_address: tuple[str, int] | None,
    timeout: float | None,
) -> socket.socket:
    if timeout is not None and timeout <= 0:
        raise TimeoutError("no time is left")
    sock = socket.socket(family, kind, proto)
    try:
        sock.settimeout(timeout)
        if source_address is not None:
            sock.bind(source_address)
        sock.connect(address)
        _tune(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def _tune(sock: socket.socket) -> None:
    # Small frames go out at once, rather than wait for the answer to the previous one.
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):  # the server is gone already
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
