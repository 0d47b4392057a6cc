"""What ended a connection, without the frames that it passed."""

from __future__ import annotations

from ..exceptions import InvalidHandshake

__all__ = ["drop_frames"]


def drop_frames(exc: BaseException | None) -> None:
    """Drop the frames of an exception that a connection keeps, and of what caused it.

    The frames have the connection, which would become garbage in a circle. Only for what the
    library or the network has raised, and nobody raises again: what a program or its signal
    handlers raise stays as it is.
    """
    while exc is not None:
        exc.__traceback__ = None
        if type(exc) is InvalidHandshake:  # its cause is the program's
            return
        exc.__context__ = None  # what the caller was dealing with
        exc = exc.__cause__
