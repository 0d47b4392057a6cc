"""``proxy``: stand between clients and a server, and show what they say."""

from __future__ import annotations

import logging
import sys
from typing import Any

from ..client.reaching import Route
from ..client.tls_options import make_context
from ..exceptions import InvalidURI
from ..sansio.uri import WebSocketURI, parse_uri
from ..server.accepting import Acceptor
from ..server.listeners import listen
from ..threaded.deadline import Deadline
from ..threaded.latch import Latch
from .arguments import add_address, add_command
from .exit_codes import OK, USAGE
from .relay import Relays
from .showing import complain, describe
from .terminating import as_interrupt
from .trace_lines import Tracer

__all__ = ["add_proxy"]

PORT = 8766

#: Connections that may wait to be accepted, and seconds to stop accepting.
BACKLOG = 128
STOP_TIMEOUT = 1.0

DESCRIPTION = """\
Stand between WebSocket clients and a server, and show each frame: its direction,
its fields, its bytes, and what they mean. Clients connect to the proxy instead of
the server; what they send is relayed as it is, but for the headers Host and Origin
of the request, which name the server instead of the proxy. Ctrl-C stops it.

  ->  from the client to the server (an arrow, where the terminal has them)
  <-  from the server to the client
"""

EPILOG = """\
examples:
  %(prog)s ws://localhost:8765/
  %(prog)s wss://example.com/chat --port 9000
then connect to the proxy, at the address that it prints:
  python -m syncws connect ws://localhost:8766/
"""


def add_proxy(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "proxy",
        "stand between a client and a server, and show the frames",
        DESCRIPTION,
        EPILOG,
    )
    parser.add_argument(
        "target", metavar="URI", help="the server, such as ws://localhost:8765/ or wss://..."
    )
    add_address(parser, PORT)
    parser.add_argument(
        "--insecure", action="store_true", help="don't check the server's certificate"
    )
    parser.add_argument(
        "--cafile", metavar="FILE", help="trust the authorities in this file, not the system's"
    )
    parser.set_defaults(run=run_proxy)


def run_proxy(args: Any) -> int:
    """Relay until Ctrl-C, or SIGTERM."""
    with as_interrupt():
        return _run_proxy(args)


def _run_proxy(args: Any) -> int:
    try:
        target = parse_uri(args.target)
        route = Route(ssl=_make_context(args, target))
        sockets = listen(args.host, args.port, backlog=BACKLOG, reuse_port=False, family=0)
    except InvalidURI as exc:
        return complain(str(exc), USAGE)
    except (OSError, ValueError) as exc:
        return complain(f"the proxy can't start on {args.host}: {describe(exc)}")
    relays = Relays(target, route, Tracer(sys.stdout), args.host)
    acceptor = Acceptor(sockets, relays.accepted, logging.getLogger("syncws.proxy"))
    try:
        acceptor.start()
        _announce(args.host, sockets[0].getsockname()[1], target)
        Latch().wait()
    except KeyboardInterrupt:
        pass
    finally:
        acceptor.stop(Deadline(STOP_TIMEOUT))
        relays.stop(Deadline(STOP_TIMEOUT))
    return OK


def _make_context(args: Any, target: WebSocketURI) -> Any:
    """Return the TLS context for the server; ``None`` for the default one.

    Raises:
        OSError: the file of authorities can't be read.
    """
    if not target.secure or not (args.insecure or args.cafile):
        return None
    # 0 is ssl.CERT_NONE.
    return make_context({"ca_certs": args.cafile, "cert_reqs": 0 if args.insecure else None})


def _announce(host: str, port: int, target: WebSocketURI) -> None:
    host = {"0.0.0.0": "localhost", "::": "::1"}.get(host, host)
    host = f"[{host}]" if ":" in host else host
    print(f"Relaying to {target.without_credentials()}; Ctrl-C stops it.")
    print(f"Connect to ws://{host}:{port}{target.resource_name}", flush=True)
