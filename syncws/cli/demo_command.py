"""``demo``: a page in the browser that talks to a server here."""

from __future__ import annotations

from typing import Any

from ..demo import DEFAULT_PORT, make_server
from .arguments import add_address, add_command
from .showing import complain, describe

__all__ = ["add_demo"]

DESCRIPTION = """\
Start a server that sends back what it gets, with a page to try it: type
something, and see how long it takes to come back. Ctrl-C stops it.
"""

EPILOG = """\
example:
  %(prog)s
"""


def add_demo(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "demo",
        "open a page in your browser that talks to a server here",
        DESCRIPTION,
        EPILOG,
    )
    add_address(parser, None, f"{DEFAULT_PORT}, or a free one if that is taken")
    parser.set_defaults(run=run_demo)


def run_demo(args: Any) -> int:
    """Serve the demo until Ctrl-C."""
    try:
        with make_server(args.host, args.port) as server:
            url = "http" + server.uri[len("ws") :]
            print(f"Open {url} in a browser; Ctrl-C stops it.", flush=True)
            server.serve_forever()
    except KeyboardInterrupt:
        pass  # just before serving, or again while it ended
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as exc:
        return complain(f"the demo can't start on {args.host}: {describe(exc)}")
    return 0
