"""``demo``: a chat for browsers, which shows the frames on the wire."""

from __future__ import annotations

from typing import Any

from ..demo import DEFAULT_PORT, find_network_url, make_server
from .arguments import add_address, add_command
from .showing import complain, describe
from .terminating import as_interrupt, stopping

__all__ = ["add_demo"]

DESCRIPTION = """\
Start a chat with rooms, and open its page in two windows to talk to yourself.
The page also shows each frame of its connection, with its bytes explained.
WebSockets at other paths, such as /echo, get back what they send. Ctrl-C stops it.
"""

EPILOG = """\
examples:
  %(prog)s
  %(prog)s --host 0.0.0.0     for phones and others in this network, too
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
    parser.set_defaults(run=run_demo)


def run_demo(args: Any) -> int:
    """Serve the demo until Ctrl-C, or SIGTERM."""
    try:
        with as_interrupt(), make_server(args.host, args.port) as server, stopping(server):
            url = "http" + server.uri[len("ws") :]
            print(f"Open {url} in a browser; Ctrl-C stops it.", flush=True)
            network_url = find_network_url(server, args.host)
            if network_url is not None:
                print(f"Other machines in this network find it at {network_url}", flush=True)
            server.serve_forever()
    except KeyboardInterrupt:
        pass  # just before serving, or again while it ended
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as exc:
        return complain(f"the demo can't start on {args.host}: {describe(exc)}")
    return 0
