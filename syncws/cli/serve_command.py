"""``serve``: a handler of one's own, or a server to try clients with."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from typing import Any, Callable

from ..demo.line_chat import LineChat
from ..pubsub.hub import Hub
from ..server.certificates import as_context
from ..server.listeners import listen_for_processes
from ..server.server_connection import ServerConnection
from ..server.serving import BACKLOG, ThreadingServer, serve
from ..wiretap.tap import Observe, tapped
from .arguments import add_address, add_command, add_trace
from .exit_codes import OK, USAGE
from .hubs import NOT_SHARED, add_hub, open_own_hub
from .processes import add_processes, run_server, supervise
from .showing import complain, describe, note
from .targets import TargetError, find_target, is_target
from .terminating import as_interrupt
from .trace_lines import Tracer

__all__ = ["add_serve"]

PORT = 8765

#: An origin, which has no path (RFC 6454 §6.2).
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#@]+", re.IGNORECASE)

NO_FALLBACK = (
    "--fallback needs one process: a session lives in one, and its requests may reach any of"
    " several; start servers on ports of their own, behind a proxy that keeps a client with one"
)

DESCRIPTION = """\
Start a WebSocket server: for a handler of yours, or one to try clients with.
Ctrl-C or SIGTERM stops it.

  MODULE:HANDLER  a function that is called with each connection, a Router, or a
                  map of werkzeug's; the module may be in the current directory
  echo            sends each message back
  chat            sends each text to all others, with a name; '/name NAME' chooses
                  it, which is typed as '//name NAME' in the connect command
"""

EPILOG = """\
By default only this machine can connect, and of pages in browsers only those that
this server's own address served; --origins lets others in.

examples:
  %(prog)s echo
  %(prog)s chat --host 0.0.0.0
  %(prog)s myapp:handler --processes 4 --hub redis://localhost:6379/0
  %(prog)s echo --trace --port 9000
  %(prog)s echo --fallback
  %(prog)s echo --origins https://example.com,http://localhost:5173
  %(prog)s echo --cert cert.pem --key key.pem
"""


def add_serve(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands, "serve", "start a server: yours, echo, or chat", DESCRIPTION, EPILOG
    )
    parser.add_argument(
        "what",
        nargs="?",
        type=what,
        metavar="echo|chat|MODULE:HANDLER",
        default="echo",
        help="what to serve (default: echo)",
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
    parser.add_argument(
        "--fallback",
        action="store_true",
        help="serve clients by plain HTTP as well, where WebSocket doesn't get through;"
        " their script is at /syncws.js",
    )
    add_trace(parser)
    add_hub(parser, "what shares ws.group(NAME) with other processes")
    add_processes(parser)
    parser.set_defaults(run=run_serve)


def what(text: str) -> str:
    """Return what to serve.

    Raises:
        ArgumentTypeError: it can't be anything.
    """
    if text not in ("echo", "chat") and not is_target(text):
        raise argparse.ArgumentTypeError(f"{text!r} is neither echo, chat nor MODULE:HANDLER")
    return text


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
    for name in ("hub", "prefix"):
        if getattr(args, name) is not None and not is_target(args.what):
            problem = f"--{name} is for a handler of yours: {args.what} has no use for it"
            return complain(problem, USAGE)
    if args.fallback and (args.processes or 1) > 1:
        return complain(NO_FALLBACK, USAGE)
    hub: Hub | None = None
    if is_target(args.what):
        found = open_own_hub(args, ask=args.worker is None)
        if isinstance(found, int):
            return found
        hub = found
    try:
        with as_interrupt(), contextlib.nullcontext() if hub is None else hub:
            if args.processes is None or args.worker is not None:
                return _serve(args, hub)
        return _supervise(args, hub is not None)
    except KeyboardInterrupt:
        return OK  # just before serving, or again while it ended
    except BrokenPipeError:
        raise
    except TargetError as exc:
        return complain(str(exc), USAGE)
    except (OSError, ValueError) as exc:
        return complain(f"the server can't start on {args.host}: {describe(exc)}")


def _serve(args: Any, hub: Hub | None) -> int:
    """Serve in this process.

    Raises:
        OSError: the address can't be listened on, or a file of the certificate can't be read.
        TargetError: there is no such handler.
        ValueError: an argument is wrong.
    """
    worker = args.worker or contextlib.nullcontext()
    with worker, _make_server(args, hub) as server:
        run_server(args, server, _announcement(args, server))
    return OK


def _supervise(args: Any, shares_rooms: bool) -> int:
    """Serve by processes of their own.

    Raises:
        OSError: the address can't be listened on.
    """
    if args.processes > 1 and args.what != "echo" and not shares_rooms:
        note(NOT_SHARED)
    sockets = listen_for_processes(args.host, args.port, args.processes, backlog=BACKLOG)
    return supervise(args, sockets)


def _make_server(args: Any, hub: Hub | None) -> ThreadingServer:
    """Return the server, which listens.

    Raises what :func:`_serve` does.
    """
    options: dict[str, Any] = {"hub": hub, "fallback": args.fallback}
    if args.origins is not None:
        # Programs that aren't browsers send no origin; they may connect, as by default.
        options["origins"] = None if args.origins == ["any"] else [*args.origins, None]
    if args.cert is not None:
        options["ssl"] = as_context({"certfile": args.cert, "keyfile": args.key})
    if args.trace:
        process = "" if args.worker is None else f"{os.getpid()}"
        observers = make_observers(Tracer(sys.stdout), process)
        options["create_connection"] = tapped(ServerConnection, observers)
    if is_target(args.what):
        handler = find_target(args.what)
    else:
        handler = LineChat() if args.what == "chat" else echo
    if args.worker is not None:
        return serve(handler, sock=args.worker.sockets, **options)
    return serve(handler, args.host, args.port, **options)


def make_observers(tracer: Tracer, process: str = "") -> Callable[[ServerConnection], Observe]:
    """Return what makes an observer for each connection, by its number.

    Args:
        tracer: what they write to.
        process: tells this process's connections from those of others.
    """
    return lambda ws: tracer.observer(f"{process}#{ws.number} ")


def _announcement(args: Any, server: ThreadingServer) -> str:
    insecure = " --insecure" if args.cert is not None else ""
    by = "" if args.processes is None else f" by {args.processes} processes"
    too = ""
    if args.fallback:
        too = f"\nPages find the script for plain HTTP at http{server.uri[len('ws') :]}syncws.js"
    return (
        f"Serving {args.what} on {server.uri}{by}; Ctrl-C stops it.\n"
        f"Connect with: python -m syncws connect{insecure} {server.uri}{too}"
    )
