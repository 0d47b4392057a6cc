"""The demo: a chat with rooms, and what its messages look like on the wire; on one port.

The page is at ``/``, its chat at ``/chat`` (see :mod:`~syncws.demo.chat`), the frames of a chat's
connection at ``/wire`` (see :mod:`~syncws.demo.tape`). WebSockets at all other paths, such as
``/`` and ``/echo``, get back what they send. Where WebSocket is forbidden plain HTTP does the same.

Several processes can serve it; they have the same rooms if they have a hub. Then there is no plain
HTTP: a session lives in one process, and its requests may reach any.
"""

from __future__ import annotations

import errno
from typing import Any, Callable, TypeVar
from urllib.parse import parse_qs

from ..sansio.http11 import Request, Response
from ..server.fallback import Fallback
from ..server.listeners import listen_for_processes
from ..server.routing import Router
from ..server.server_connection import ServerConnection
from ..server.serving import BACKLOG, ThreadingServer, serve
from .chat import Chat
from .own_address import find_own_address
from .pages import read_files, refuse_names, serve_files
from .tape import TapedConnection, create_connection

__all__ = [
    "DEFAULT_PORT",
    "echo",
    "find_network_url",
    "listen",
    "make_server",
    "make_sockets",
    "serve_on",
]

T = TypeVar("T")

DEFAULT_PORT = 8765

#: Somebody else has the port, or the system keeps it for itself.
TAKEN = (errno.EADDRINUSE, errno.EACCES)

#: Hosts that stand for all interfaces.
ALL_INTERFACES = ("", "0.0.0.0", "::")

#: Names that are this machine for every browser on it.
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")

#: The header that offers compression.
OFFERS = "Sec-WebSocket-Extensions"

#: A window has two connections.
MAX_CONNECTIONS = 400

#: The same of one address, which may be that of a whole network. A page has two.
MAX_CONNECTIONS_PER_ADDRESS = 100

#: The page has the script among its files, under the same policy as these.
BY_HTTP = Fallback(script=None)

#: Seconds after which a window that is closed, and doesn't answer, is gone for the others.
CLOSE_TIMEOUT = 2.0

#: Bytes that may wait for a window that doesn't read: what a room's history can have, and more.
WRITE_LIMIT = 1 << 20


def make_server(
    host: str = "localhost", port: int | None = None, chat: Chat | None = None
) -> ThreadingServer:
    """Return the demo's server, which listens already and accepts once it is started.

    Args:
        host: name or address to listen on. Requests for other names than this and
            ``localhost`` are refused; if it is all interfaces (``"0.0.0.0"``, ``"::"``), for
            names that aren't this machine's.
        port: port to listen on; ``None`` is 8765, or a free one if that is taken.
        chat: the chat.

    Raises:
        OSError: the address can't be listened on.
        ValueError: the host can't be one.
    """
    return find_port(port, lambda found: listen(host, found, chat))


def make_sockets(host: str, port: int | None, count: int) -> list[list[Any]]:
    """Return listening sockets for each of several processes; see :func:`make_server`.

    Raises:
        OSError: the address can't be listened on.
        ValueError: the host can't be one.
    """
    return find_port(port, lambda found: listen_for_processes(host, found, count, backlog=BACKLOG))


def find_port(port: int | None, listen: Callable[[int], T]) -> T:
    """Return what listens on this port; if it is ``None``, on the usual or a free one.

    Raises what that raises.
    """
    if port is not None:
        return listen(port)
    try:
        return listen(DEFAULT_PORT)
    except OSError as exc:
        if exc.errno not in TAKEN:
            raise
        return listen(0)


def listen(host: str, port: int, chat: Chat | None = None) -> ThreadingServer:
    """Return the demo's server on this port.

    Raises:
        OSError: the address can't be listened on.
        ValueError: the host can't be one.
    """
    return serve_on(host, chat or Chat(), host=host, port=port)


def serve_on(name: str, chat: Chat, **where: Any) -> ThreadingServer:
    """Return the demo's server.

    Args:
        name: the host that was asked for.
        chat: the chat.
        where: what :func:`~syncws.serve` takes for where to listen.

    Raises what :func:`listen` does.
    """
    everywhere = name in ALL_INTERFACES
    process_request = [serve_files(read_files()), prepare]
    if everywhere:
        process_request.insert(0, refuse_names)
    return serve(
        make_router(chat),
        **where,
        hosts=None if everywhere else [name, *LOCAL_HOSTS],
        process_request=process_request,
        create_connection=create_connection,
        fallback=BY_HTTP if chat.by_http else False,
        max_connections=MAX_CONNECTIONS,
        max_connections_per_address=MAX_CONNECTIONS_PER_ADDRESS,
        close_timeout=CLOSE_TIMEOUT,
        write_limit=WRITE_LIMIT,
    )


def find_network_url(server: ThreadingServer, host: str) -> str | None:
    """Return the page's URL for other machines, such as phones, in the network of this one.

    Args:
        server: the server.
        host: what it was made with; ``None`` is returned if that isn't all IPv4 interfaces.
    """
    if host not in ("", "0.0.0.0"):
        return None
    address = find_own_address()
    return None if address is None else f"http://{address}:{server.port}/"


def make_router(chat: Chat) -> Router:
    """Return which handler is for which path."""
    router = Router()
    router.route("/chat")(chat.handle)
    router.route("/wire")(chat.watch)
    router.route("/")(echo)
    router.route("/<path:anything>")(echo)
    return router


def echo(ws: ServerConnection, anything: str = "") -> None:
    """Send each message back."""
    for message in ws:
        ws.send(message)


def prepare(ws: ServerConnection, request: Request) -> Response | None:
    """Prepare a connection for what it is opened for: only the chat's are watched."""
    assert isinstance(ws, TapedConnection)
    # Not urlsplit(), which raises for some paths that anybody may ask for, such as "//[".
    path, _, query = request.path.partition("?")
    if path != "/chat":
        ws.tape.stop()
    # What wasn't offered isn't agreed on. The tape shows what came over the wire. What is sent
    # over /wire is sent by threads that send and receive for the chat: not compressed, for speed.
    plain = path == "/chat" and parse_qs(query).get("compress") != ["1"]
    if (plain or path == "/wire") and OFFERS in request.headers:
        del request.headers[OFFERS]
    return None
