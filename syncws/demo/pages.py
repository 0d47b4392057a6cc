"""The demo's page and its files, over plain HTTP; and who may ask for them."""

from __future__ import annotations

import importlib.resources
import ipaddress
import platform
from typing import NamedTuple

from ..sansio.hosts import parse_host
from ..sansio.http11 import Request, Response
from ..server.routing import is_upgrade
from ..server.server_connection import ProcessRequest, ServerConnection

__all__ = ["POLICY", "is_own_host", "read_files", "refuse_names", "serve_files"]

#: The page may load and run what comes from here, and connect to here; nothing else.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)

NO_SNIFFING = ("X-Content-Type-Options", "nosniff")

HEADERS = [
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", POLICY),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    NO_SNIFFING,
]

TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}


class File(NamedTuple):
    """What is answered to a request for one path."""

    body: bytes
    content_type: str


def read_files() -> dict[str, File]:
    """Return the files of the page by their paths; the page itself is at ``/``."""
    files = {}
    script = importlib.resources.files("syncws") / "browser" / "syncws.js"
    for entry in (*importlib.resources.files(__package__).iterdir(), script):
        content_type = TYPES.get(entry.name.rpartition(".")[2])
        if content_type is not None:
            path = "/" if entry.name == "page.html" else f"/{entry.name}"
            files[path] = File(entry.read_bytes(), content_type)
    return files


def serve_files(files: dict[str, File]) -> ProcessRequest:
    """Return a ``process_request`` function that answers what doesn't ask for a WebSocket."""

    def process_request(ws: ServerConnection, request: Request) -> Response | None:
        if is_upgrade(request):
            return None
        if request.method not in ("GET", "HEAD"):
            refusal = [("Allow", "GET, HEAD"), NO_SNIFFING]
            return ws.respond(405, "There are only pages to GET here.\n", refusal)
        file = files.get(request.path.partition("?")[0])
        if file is None:
            return ws.respond(404, "There is nothing here. The page is at /\n", [NO_SNIFFING])
        return ws.respond(200, file.body, [("Content-Type", file.content_type), *HEADERS])

    return process_request


def refuse_names(ws: ServerConnection, request: Request) -> Response | None:
    """Refuse requests for names that others may have pointed here (DNS rebinding).

    For servers on all interfaces: by which addresses they are reached they can't know, but a
    page from elsewhere has a name, not an address.
    """
    if is_own_host(ws.requested_host or ""):
        return None
    text = "This server goes by its addresses and the name of its machine only.\n"
    return ws.respond(421, text, [NO_SNIFFING])


def is_own_host(value: str) -> bool:
    """Tell whether a ``Host`` header has an address, ``localhost`` or this machine's name."""
    try:
        host, _ = parse_host(value)
    except ValueError:
        return False
    machine = platform.node().lower()
    names = {"localhost", machine, machine.partition(".")[0]}
    if host in names or host.removesuffix(".local") in names:
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
