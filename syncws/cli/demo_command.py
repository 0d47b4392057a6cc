"""``demo``: a chat for browsers, which shows the frames on the wire."""

from __future__ import annotations

import contextlib
from typing import Any

from ..demo import DEFAULT_PORT, find_network_url, make_server, make_sockets, serve_on
from ..demo.chat import Chat
from ..exceptions import HubError
from ..server.threading_server import ThreadingServer
from .arguments import add_address, add_command
from .exit_codes import OK
from .hubs import (
    NOT_SHARED,
    add_hub,
    complain_of_hub,
    complain_of_prefix,
    find_hub,
    find_prefix,
    open_hub,
)
from .processes import add_processes, run_server, supervise
from .showing import complain, describe, note
from .terminating import as_interrupt

__all__ = ["add_demo"]

DESCRIPTION = """\
Start a chat with rooms, and open its page in two windows to talk to yourself.
The page also shows each frame of its connection, with its bytes explained. It can
do without WebSocket, by HTTP requests, which it shows as well; not if there are
several processes.
WebSockets at other paths, such as /echo, get back what they send. Ctrl-C stops it.
"""

EPILOG = """\
examples:
  %(prog)s
  %(prog)s --host 0.0.0.0     for phones and others in this network, too
  %(prog)s --processes 2 --hub redis://localhost:6379/0
"""


def add_demo(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "demo",
        "a chat for your browser, which shows the frames on the wire",
        DESCRIPTION,
        EPILOG,
    )
    add_address(parser, None, f"{DEFAULT_PORT}, or a free one if that is taken")
    add_hub(parser, "what shares the rooms with other processes")
    add_processes(parser)
    parser.set_defaults(run=run_demo)


def run_demo(args: Any) -> int:
    """Serve the demo until Ctrl-C, or SIGTERM."""
    url = find_hub(args.hub)
    if url is not None:
        hub = open_hub(args)  # to find out whether it can be one
        if isinstance(hub, int):
            return hub
        hub.close()
    elif args.prefix is not None:
        return complain_of_prefix()
    try:
        with as_interrupt():
            if args.processes is None or args.worker is not None:
                return _serve(args, url)
        if args.processes > 1 and url is None:
            note(NOT_SHARED)
        return supervise(args, make_sockets(args.host, args.port, args.processes))
    except KeyboardInterrupt:
        return OK  # just before serving, or again while it ended
    except BrokenPipeError:
        raise
    except HubError as exc:
        return complain_of_hub(exc)
    except (OSError, ValueError) as exc:
        return complain(f"the demo can't start on {args.host}: {describe(exc)}")


def _serve(args: Any, url: str | None) -> int:
    """Serve in this process.

    Raises:
        HubError: the hub can't be used.
        OSError: the address can't be listened on.
        ValueError: the host can't be one.
    """
    by_http = args.processes in (None, 1)  # a session's requests may reach any of several
    with args.worker or contextlib.nullcontext(), contextlib.ExitStack() as stack:
        chat = Chat(hub_url=url, prefix=find_prefix(args), by_http=by_http)
        stack.callback(chat.close)
        server = stack.enter_context(_make_server(args, chat))
        run_server(args, server, _announcement(args, server))
    return OK


def _make_server(args: Any, chat: Chat) -> ThreadingServer:
    if args.worker is None:
        return make_server(args.host, args.port, chat)
    return serve_on(args.host, chat, sock=args.worker.sockets)


def _announcement(args: Any, server: ThreadingServer) -> str:
    text = f"Open http{server.uri[len('ws') :]} in a browser; Ctrl-C stops it."
    network_url = find_network_url(server, args.host)
    if network_url is not None:
        text += f"\nOther machines in this network find it at {network_url}"
    return text
