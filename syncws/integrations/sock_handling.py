"""How a view that has a connection ends, in web frameworks."""

from __future__ import annotations

from typing import Callable

from ..exceptions import ConnectionClosed
from ..sansio.close import CloseCode
from ..server.handling import is_end_of
from .wsgi import Gateway, WsgiConnection

__all__ = ["cut_reason", "run_view"]

#: Bytes of a close reason (RFC 6455 §5.5).
MAX_REASON = 123


def cut_reason(text: str) -> str:
    """Return as much of a text as fits into a close frame."""
    return text.encode(errors="replace")[:MAX_REASON].decode(errors="ignore")


def run_view(
    gateway: Gateway,
    ws: WsgiConnection,
    view: Callable[[WsgiConnection], object],
    find_refusal: Callable[[Exception], str | None],
    report: Callable[[Exception], str],
) -> None:
    """Call a view with its connection, and close that as the view ends.

    :exc:`ConnectionClosed` ends it quietly. The HTTP answer has been given by then, so an HTTP
    error closes with 1008 and its text; other exceptions close with 1011.

    Args:
        gateway: what has accepted the connection.
        ws: the connection.
        view: the view.
        find_refusal: returns the text of an exception that is an HTTP error of the framework.
        report: logs any other exception; returns the close reason.
    """

    def call(ws: WsgiConnection) -> None:
        try:
            view(ws)
        except ConnectionClosed as exc:
            if not is_end_of(ws, exc):
                ws.logger.warning("the handler ended as another connection was closed: %s", exc)
        except Exception as exc:
            refusal = find_refusal(exc)
            if refusal is not None:
                ws.close(CloseCode.POLICY_VIOLATION, cut_reason(refusal))
            else:
                ws.close(CloseCode.INTERNAL_ERROR, cut_reason(report(exc)))

    gateway.handle(ws, call)
