"""``connect``: talk to a server."""

from __future__ import annotations

import getpass
import sys
from typing import Any

from ..client.client_connection import ClientConnection
from ..client.connecting import connect
from ..client.tls_options import make_context
from ..exceptions import (
    InvalidHandshake,
    InvalidProxy,
    InvalidStatus,
    InvalidURI,
    ProxyError,
)
from ..sansio.fields import build_authorization_basic
from ..sansio.uri import WebSocketURI, parse_uri
from ..wiretap.tap import tapped
from .arguments import add_command, add_trace, header, positive, seconds
from .exit_codes import REFUSED, UNREACHABLE, USAGE
from .incoming import Incoming
from .piping import Piping
from .screen import Screen
from .session import Session
from .showing import complain, describe, escape, note, with_cause
from .trace_lines import Tracer

__all__ = ["add_connect"]

DESCRIPTION = """\
Connect to a WebSocket server.

In a terminal, each line that you type is sent as a text message, and messages
that come are printed above it: /help shows what else can be done.
In a pipe, each line of standard input is sent, and each message is printed to
standard output, on a line: text with control characters escaped, binary in
hexadecimal. At the end of input the connection is closed once the answers have
come. Everything else that is said goes to standard error.
"""

EPILOG = """\
exit status:
  0    the connection was closed normally
  1    it was closed with an error, or lost
  2    the arguments, or the input, can't be understood
  3    the server can't be reached: network, proxy, TLS, or it took too long
  4    the server refused, or isn't a WebSocket server
  130  Ctrl-C

examples:
  %(prog)s ws://localhost:8765/
  %(prog)s --trace ws://localhost:8765/
  %(prog)s --header "X-Room: blue" --subprotocol chat wss://example.com/
  echo hello | %(prog)s ws://localhost:8765/
  %(prog)s --once --quiet wss://example.com/price </dev/null
"""


def add_connect(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands, "connect", "talk to a WebSocket server, line by line", DESCRIPTION, EPILOG
    )
    parser.add_argument(
        "uri", metavar="URI", help="where to connect to, such as ws://localhost:8765/"
    )
    _add_request(parser.add_argument_group("what to ask for"))
    _add_network(parser.add_argument_group("how to get there"))
    _add_messages(parser.add_argument_group("messages"))
    parser.set_defaults(run=run_connect)


def _add_request(group: Any) -> None:
    group.add_argument(
        "--header",
        dest="headers",
        metavar="'NAME: VALUE'",
        type=header,
        action="append",
        default=[],
        help="send this header with the request; may be given several times",
    )
    group.add_argument(
        "--cookie",
        dest="cookies",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="send this cookie; may be given several times",
    )
    group.add_argument(
        "--auth",
        metavar="USER[:PASSWORD]",
        help="log in with HTTP Basic authentication; without a password it is asked for",
    )
    group.add_argument("--origin", help="say that a page of this origin connects")
    group.add_argument(
        "--subprotocol",
        dest="subprotocols",
        metavar="NAME",
        action="append",
        help="offer this subprotocol; may be given several times, most wanted first",
    )
    group.add_argument(
        "--no-compression", action="store_true", help="don't offer to compress messages"
    )


def _add_network(group: Any) -> None:
    group.add_argument(
        "--proxy",
        metavar="URL",
        help="go by this proxy, or by 'none' (default: what the environment says)",
    )
    group.add_argument(
        "--insecure",
        action="store_true",
        help="don't check the server's certificate: anybody may listen, or answer in its place",
    )
    group.add_argument(
        "--cafile", metavar="FILE", help="trust the authorities in this file, not the system's"
    )
    group.add_argument(
        "--connect-timeout",
        metavar="SECONDS",
        type=seconds,
        default=10.0,
        help="time that connecting may take (default: 10)",
    )
    group.add_argument(
        "--ping-interval",
        metavar="SECONDS",
        type=seconds,
        default=20.0,
        help="time between pings that find out whether the server is there; 0: none (default: 20)",
    )


def _add_messages(group: Any) -> None:
    group.add_argument(
        "--json", action="store_true", help="print messages that are JSON in several lines"
    )
    group.add_argument(
        "--hex",
        action="store_true",
        help="lines are bytes in hexadecimal, such as 00 ff, and sent as binary messages",
    )
    group.add_argument(
        "--count",
        metavar="N",
        type=positive,
        help="close after N messages have come, whatever the input",
    )
    group.add_argument(
        "--once", dest="count", action="store_const", const=1, help="the same as --count 1"
    )
    group.add_argument(
        "--quiet", action="store_true", help="print messages and errors, and nothing else"
    )
    add_trace(group)


def run_connect(args: Any) -> int:
    """Connect, and talk until the connection is closed; return the exit status."""
    if not (_is_terminal(sys.stdin) and _is_terminal(sys.stdout)):
        tracer = Tracer(sys.stderr) if args.trace else None
        ws = _open(args, tracer)
        return ws if isinstance(ws, int) else _pipe(args, ws)
    with Screen() as screen:
        # On the same terminal, what is traced must not destroy the line that is typed.
        stream: Any = screen if _is_terminal(sys.stderr) else sys.stderr
        ws = _open(args, Tracer(stream) if args.trace else None)
        return ws if isinstance(ws, int) else _talk(args, ws, screen)


def _is_terminal(stream: Any) -> bool:
    return stream is not None and stream.isatty()


def _pipe(args: Any, ws: ClientConnection) -> int:
    if _is_terminal(sys.stdin) and not args.quiet:
        note("Connected. Each line that you type is sent; Ctrl-C ends it.")
    incoming = Incoming(ws, _write, note, **_settings(args))
    with ws:
        return Piping(ws, incoming, as_hex=args.hex, waits=args.count is not None).run()


def _talk(args: Any, ws: ClientConnection, screen: Screen) -> int:
    if not args.quiet:
        chosen = f" (subprotocol {ws.subprotocol})" if ws.subprotocol else ""
        note(f"Connected{chosen}. Each line that you type is sent; /help tells more.")
    incoming = Incoming(
        ws,
        lambda text: screen.print(f"< {text}"),
        lambda text: screen.print(escape(text)),
        **_settings(args),
    )
    return Session(ws, incoming, screen, as_hex=args.hex).run()


def _settings(args: Any) -> dict[str, Any]:
    return {"as_json": args.json, "count": args.count, "quiet": args.quiet}


def _write(text: str) -> None:
    print(text, flush=True)


# --- opening ---------------------------------------------------------------------


def _open(args: Any, tracer: Tracer | None) -> ClientConnection | int:
    """Return an open connection, or the exit status after saying what is wrong."""
    try:
        uri = parse_uri(args.uri)
        options = _options(args, uri)
    except OSError as exc:
        return complain(f"can't read {args.cafile}: {describe(exc)}", USAGE)
    except (InvalidURI, ValueError) as exc:
        return complain(str(exc), USAGE)
    if args.insecure:
        note("Warning: the server's certificate isn't checked.")
    if tracer is not None:
        options["create_connection"] = tapped(ClientConnection, lambda ws: tracer.observer())
    try:
        return connect(uri, **options)
    except OSError as exc:
        where = exc.filename or f"{uri.host} port {uri.port}"  # a proxy, perhaps
        return complain(f"can't connect to {where}: {_explain(exc)}", UNREACHABLE)
    except (ImportError, ProxyError) as exc:
        return complain(str(exc), UNREACHABLE)
    except InvalidStatus as exc:
        response = exc.response
        reason = f" {response.reason_phrase}" if response.reason_phrase else ""
        return complain(f"{exc}{reason}", REFUSED)
    except InvalidHandshake as exc:
        return complain(f"the opening handshake failed: {with_cause(exc)}", REFUSED)
    except (InvalidProxy, ValueError) as exc:
        return complain(str(exc), USAGE)


def _options(args: Any, uri: WebSocketURI) -> dict[str, Any]:
    """Return the arguments of :func:`~syncws.connect`.

    Raises:
        OSError: the file of authorities can't be read.
        ValueError: an argument contradicts another, or is wrong.
    """
    options: dict[str, Any] = {
        "additional_headers": _headers(args),
        "origin": args.origin,
        "subprotocols": args.subprotocols,
        "proxy": None if args.proxy == "none" else args.proxy or True,
        "open_timeout": args.connect_timeout,
        "ping_interval": args.ping_interval or None,
    }
    if args.no_compression:
        options["compression"] = None
    if args.insecure and args.cafile is not None:
        raise ValueError("--cafile says whom to trust, and --insecure trusts all: give one")
    if args.insecure or args.cafile is not None:
        if not uri.secure:
            raise ValueError("--insecure and --cafile are for wss:// URIs, and this one is ws://")
        options["ssl"] = make_context(
            # 0 is ssl.CERT_NONE.
            {"ca_certs": args.cafile, "cert_reqs": 0 if args.insecure else None}
        )
    return options


def _headers(args: Any) -> list[tuple[str, str]]:
    """Return the additional headers of the request.

    Raises:
        ValueError: there is no password, and nobody to ask for it; or the user can't be sent.
    """
    headers = list(args.headers)
    if args.cookies:
        headers.append(("Cookie", "; ".join(args.cookies)))
    if args.auth is not None:
        user, colon, password = args.auth.partition(":")
        if not colon:
            if not _is_terminal(sys.stdin):
                raise ValueError("--auth has no password, and there is no terminal to ask for it")
            try:
                password = getpass.getpass(f"Password of {user}: ")
            except EOFError:
                raise ValueError("no password was typed") from None
        headers.append(("Authorization", build_authorization_basic(user, password)))
    return headers


def _explain(exc: OSError) -> str:
    """Return what went wrong, and what to do about a certificate that isn't trusted."""
    reason = getattr(exc, "verify_message", None)
    if reason is None:
        return describe(exc)
    return (
        f"its certificate isn't trusted: {str(reason).rstrip('.')}; --cafile FILE trusts an"
        " authority of your own, --insecure doesn't check"
    )
