"""Names of Tornado, and of tutorials about it, that aren't here: what to use instead."""

from __future__ import annotations

__all__ = ["HINTS", "explain"]

LOOP = "there is no event loop"

HINTS = {
    "WebSocketRequestHandler": "use WebSocketHandler",
    "WebSocketClient": "use WebSocketApp, or connect() of syncws",
    "WebSocketClientConnection": "use connect() of syncws",
    "websocket_connect": "use connect() of syncws; recv() is its read_message()",
    "HTTPServer": "use Application.listen()",
    "IOLoop": f"{LOOP}: run_forever() waits, and any thread may call write_message()",
    "PeriodicCallback": f"{LOOP}: use a thread that waits on a threading.Event with a timeout",
    "StaticFileHandler": "leave files to a web server",
    "coroutine": f"{LOOP}: drop it, and yield",
}


def explain(module: str, name: str) -> AttributeError:
    """Return the exception for a name that isn't in a module."""
    text = f"module {module!r} has no attribute {name!r}"
    return AttributeError(f"{text}; {HINTS[name]}" if name in HINTS else text)
