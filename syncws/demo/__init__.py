"""The demo: a server that echoes, and a page to try it with, on one port.

A plain GET is answered by the server's own ``process_request``; a WebSocket may be opened at
any path. The page may run only the script that it came with, named by its hash.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import importlib.resources
import re

from ..sansio.http11 import Request, Response
from ..server.callables import ProcessRequest
from ..server.serve import ThreadingServer, serve
from ..server.upgrade import ServerConnection

__all__ = ["DEFAULT_PORT", "make_server"]

DEFAULT_PORT = 8765

#: Somebody else has the port, or the system keeps it for itself.
TAKEN = (errno.EADDRINUSE, errno.EACCES)

NO_SNIFFING = ("X-Content-Type-Options", "nosniff")


def make_server(host: str = "localhost", port: int | None = None) -> ThreadingServer:
    """Return the demo's server, which listens already and accepts once it is started.

    Args:
        host: name or address to listen on.
        port: port to listen on; ``None`` is 8765, or a free one if that is taken.

    Raises:
        OSError: the address can't be listened on.
    """
    process_request = page_server(read_page())
    if port is not None:
        return serve(echo, host, port, process_request=process_request)
    try:
        return serve(echo, host, DEFAULT_PORT, process_request=process_request)
    except OSError as exc:
        if exc.errno not in TAKEN:
            raise
        return serve(echo, host, 0, process_request=process_request)


def echo(ws: ServerConnection) -> None:
    """Send each message back."""
    for message in ws:
        ws.send(message)


def read_page() -> str:
    """Return the page's HTML."""
    page = importlib.resources.files(__name__).joinpath("page.html")
    return page.read_text(encoding="utf-8")


def page_server(page: str) -> ProcessRequest:
    """Return a ``process_request`` function that serves a page at ``/``."""
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Security-Policy", content_security_policy(page)),
        ("Cache-Control", "no-store"),
        ("Referrer-Policy", "no-referrer"),
        # Isolated from other sites, a page gets a finer clock.
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Embedder-Policy", "require-corp"),
        NO_SNIFFING,
    ]

    def process_request(ws: ServerConnection, request: Request) -> Response | None:
        if "websocket" in ",".join(request.headers.get_all("Upgrade")).lower():
            return None
        if request.method not in ("GET", "HEAD"):
            refusal = [("Allow", "GET, HEAD"), NO_SNIFFING]
            return ws.respond(405, "There are only pages to GET here.\n", refusal)
        if request.path.partition("?")[0] != "/":
            return ws.respond(404, "There is nothing here. The page is at /\n", [NO_SNIFFING])
        return ws.respond(200, page, headers)

    return process_request


def content_security_policy(page: str) -> str:
    """Return a policy that lets a page run what is written in it, and connect to its origin."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {inline_source(page, 'script')}",
            f"style-src {inline_source(page, 'style')}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def inline_source(page: str, tag: str) -> str:
    """Return the hashes of the page's inline elements with this tag, as policies name them."""
    elements = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    digests = (hashlib.sha256(element.encode()).digest() for element in elements)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
