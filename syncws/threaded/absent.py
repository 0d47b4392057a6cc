"""Names that programs written for other libraries look for: what to use instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, NoReturn, TypeVar

__all__ = ["CONNECTION_HINTS", "Base", "explain_absence"]

LOOP = "there is no event loop: threads do its work, and calls block"
BLOCKS = "send() blocks while the peer does not read; flow needs no other control"
READS = "the library reads by itself; use recv(), recv_streaming() or iterate"
HOOK = "it is a method to override in subclasses of the connections of syncws.legacy"
ADDRESS = "use remote_address or local_address"
SANS_IO = "without I/O there are ServerProtocol and ClientProtocol"

#: Attributes that connections don't have, and what to use instead.
CONNECTION_HINTS = {
    # Of an event loop.
    "loop": LOOP,
    "get_loop": LOOP,
    "pause_writing": BLOCKS,
    "resume_writing": BLOCKS,
    "drain": "send() blocks while the peer doesn't read; flush() waits for pings and pongs as well",
    "connection_made": HOOK,
    "connection_lost": HOOK,
    "data_received": f"{READS}; {SANS_IO}, with receive_data()",
    "eof_received": f"{READS}; {SANS_IO}, with receive_eof()",
    # Of the life of a connection.
    "connection_open": "it is no event; use state or open",
    "connection_closed_exc": "use close_exc",
    "close_connection": "use close(), or abort() to do without a closing handshake",
    "close_transport": "use abort()",
    "fail_connection": "use fail()",
    "wait_for_connection_lost": "use wait_closed(timeout)",
    "keepalive_ping": "pings are sent every ping_interval seconds; use ping() for one more",
    "abort_pings": "when the connection ends, wait() of a ping raises ConnectionClosed",
    "legacy_recv": "recv() raises ConnectionClosed at the end; iteration just ends",
    # Messages and frames.
    "transfer_data": READS,
    "read_message": READS,
    "read_data_frame": "use recv_streaming(); control frames are answered by the library",
    "read_frame": f"use recv_streaming(); {SANS_IO}, with receive_data()",
    "write_frame": "use send([...]), which sends a message in fragments",
    "write_frame_sync": "use send([...]), which sends a message in fragments",
    "write_close_frame": f"use close(code, reason); {SANS_IO}, with send_close()",
    # Addresses.
    "host": ADDRESS,
    "port": ADDRESS,
    # The opening handshake.
    "ws_handler": "the server has it: use server.handler",
    "ws_server": "use server",
    "handler": "it is the function that serve() is called with; use server.handler",
    "read_http_request": "use request; ServerProtocol.receive_data() parses one",
    "write_http_response": "use respond(status, text); ServerProtocol.send_response() sends it",
    "write_http_request": "use request; ClientProtocol.send_request() sends one",
    "read_http_response": "use response, of the connection or of InvalidStatus",
    "process_origin": "use protocol.process_origin(headers)",
    "process_extensions": "use protocol.process_extensions(headers)",
    "process_subprotocol": "use protocol.process_subprotocol(headers)",
    "select_subprotocol": "use select_subprotocol= of serve()",
}

Class = TypeVar("Class", bound=type)


class _Absent:
    """An attribute that isn't there, and says why; a subclass may have it all the same."""

    def __init__(self, name: str, hint: str) -> None:
        self._name = name
        self._hint = hint

    def __get__(self, instance: Any, owner: type) -> NoReturn:
        raise AttributeError(f"{owner.__name__} has no attribute {self._name!r}; {self._hint}")


#: The type of classes whose attributes are looked up, but not listed: dir() and all else that
#: lists the attributes of a class reads its ``__dict__``, and that of its bases.
_Unlisted: Any = type("_Unlisted", (type,), {"__dict__": property(lambda cls: {})})


class Base:
    """The base of a class that needs one for :func:`explain_absence`, and has no other."""


def explain_absence(hints: Mapping[str, str]) -> Callable[[Class], Class]:
    """Return a class decorator: asking for one of these attributes says what to use instead.

    ``hasattr()`` is false for them, and they are in no listing, help page or completion. A
    subclass may have any of them.

    A ``__getattr__`` would do the same, but it makes all other attributes slower, those of the
    hot path too: a call of a connection's method takes about 80 ns longer with Python 3.9, 3.11
    and 3.13 alike, which is 2 % of a small message's round trip. So they are descriptors, in a
    base class of their own that keeps them to itself.

    Args:
        hints: what to say, by name. The class must have a base other than ``object``, such as
            :class:`Base`, or Python can't give it one more.
    """
    absent = _Unlisted(
        "AbsentNames",
        (),
        {
            "__doc__": "Names of other libraries: asking for one says what to use instead.",
            "__module__": __name__,
            **{name: _Absent(name, hint) for name, hint in hints.items()},
        },
    )

    def decorate(cls: Class) -> Class:
        # Here and not in the class statement, where its type would become that of the class, and
        # programs could no longer combine it with an abstract class, which has another.
        bases: Any = (*cls.__bases__, absent)
        cls.__bases__ = bases
        return cls

    return decorate
