"""``serve``: a server to try clients with."""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any, Callable

from ..demo.line_chat import LineChat
from ..server.certificates import as_context
from ..server.server_connection import ServerConnection
from ..server.serving import ThreadingServer, serve
from ..wiretap.tap import Observe, tapped
from .arguments import add_address, add_command, add_trace
from .exit_codes import OK, USAGE
from .showing import complain, describe
from .terminating import as_interrupt, stopping
from .trace_lines import Tracer

__all__ = ["add_serve"]

PORT = 8765

#: An origin, which has no path (RFC 6454 §6.2).
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#@]+", re.IGNORECASE)

DESCRIPTION = """\
Start a WebSocket server to try clients with. Ctrl-C or SIGTERM stops it.

  echo  sends each message back
  chat  sends each text to all others, with a name; '/name NAME' chooses it,
        which is typed as '//name NAME' in the connect command
"""

EPILOG = """\
By default only this machine can connect, and of pages in browsers only those that
this server's own address served; --origins lets others in.

examples:
  %(prog)s echo
  %(prog)s chat --host 0.0.0.0
  %(prog)s echo --trace --port 9000
  %(prog)s echo --origins https://example.com,http://localhost:5173
  %(prog)s echo --cert cert.pem --key key.pem
"""


def add_serve(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(commands, "serve", "start a server: echo, or chat", DESCRIPTION, EPILOG)
    parser.add_argument(
        "what", nargs="?", choices=("echo", "chat"), default="echo", help="(default: echo)"
    )
    add_address(parser, PORT)
    parser.add_argument(
        "--origins",
        type=origins,
        metavar="ORIGIN[,ORIGIN...]",
        help="origins of pages that may connect, or 'any'",
    )
    parser.add_argument("--cert", metavar="FILE", help="certificate for wss://, with its chain")
    parser.add_argument("--key", metavar="FILE", help="the certificate's key, if it isn't in there")
    add_trace(parser)
    parser.set_defaults(run=run_serve)


def origins(text: str) -> list[str]:
    """Return origins that an argument lists.

    Raises:
        ArgumentTypeError: one isn't an origin.
    """
    found = [each.strip() for each in text.split(",")]
    for each in found:
        if found != ["any"] and not ORIGIN.fullmatch(each):
            raise argparse.ArgumentTypeError(f"{each!r} isn't an origin such as http://localhost")
    return found


def echo(ws: ServerConnection) -> None:
    """Send each message back."""
    for message in ws:
        ws.send(message)


def run_serve(args: Any) -> int:
    """Serve until Ctrl-C, or SIGTERM."""
    if args.key is not None and args.cert is None:
        return complain("--key is the key of a certificate: give --cert, too", USAGE)
    try:
        with as_interrupt(), _make_server(args) as server, stopping(server):
            _announce(args, server)
            server.serve_forever()
    except KeyboardInterrupt:
        pass  # just before serving, or again while it ended
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as exc:
        return complain(f"the server can't start on {args.host}: {describe(exc)}")
    return OK


def _make_server(args: Any) -> ThreadingServer:
    """Return the server, which listens.

    Raises:
        OSError: the address can't be listened on, or a file of the certificate can't be read.
        ValueError: an argument is wrong.
    """
    options: dict[str, Any] = {}
    if args.origins is not None:
        # Programs that aren't browsers send no origin; they may connect, as by default.
        options["origins"] = None if args.origins == ["any"] else [*args.origins, None]
    if args.cert is not None:
        options["ssl"] = as_context({"certfile": args.cert, "keyfile": args.key})
    if args.trace:
        options["create_connection"] = tapped(ServerConnection, make_observers(Tracer(sys.stdout)))
    handler = LineChat() if args.what == "chat" else echo
    return serve(handler, args.host, args.port, **options)


def make_observers(tracer: Tracer) -> Callable[[ServerConnection], Observe]:
    """Return what makes an observer for each connection, by its number."""
    return lambda ws: tracer.observer(f"#{ws.number} ")


def _announce(args: Any, server: ThreadingServer) -> None:
    insecure = " --insecure" if args.cert is not None else ""
    print(f"Serving {args.what} on {server.uri}; Ctrl-C stops it.", flush=True)
    print(f"Connect with: python -m syncws connect{insecure} {server.uri}", flush=True)
