"""What the server logs, and the attributes that its records have, for programs that read logs.

There is one record when a connection opens, one when it is closed, and one when it is refused;
where many are refused, only one now and then, with their number. All texts are safe to print:
control characters that a client sent are escaped. Besides the text a record has these attributes:

``ws_event``
    ``"open"``, ``"close"``, ``"refusal"`` or ``"refusals"`` (several more of one kind).
``websocket``
    The connection, where there is one. Other records about the connection have it as well.
``ws_number``
    Of "open" and "close": the connection's ``number``, by which the two are matched.
``ws_remote_address``
    Of all but "refusals": who it is, as ``remote_address`` says.
``ws_path``
    Of "open" and "refusal": the path without the query; ``None`` if there was no request.
``ws_subprotocol``, ``ws_username``
    Of "open": what the connection's attributes of that name say.
``ws_code``, ``ws_reason``
    Of "close": code and reason of the first close frame; 1006 and ``""`` without any.
``ws_closed_by``
    Of "close": who sent that, ``"local"`` or ``"remote"``; ``None`` without any.
``ws_duration``
    Of "close": seconds since it opened.
``ws_messages_received``, ``ws_messages_sent``, ``ws_bytes_received``, ``ws_bytes_sent``
    Of "close": what was sent over it, as ``stats`` says.
``ws_refusal``
    Of "refusal" and "refusals": the reason, a key of ``ServerStats.refusals``.
``ws_status``
    Of "refusal": the HTTP status that it was answered with, or ``None``.
``ws_count``
    Of "refusals": how many more there were since the last record of that reason.

A :class:`logging.LoggerAdapter` given as ``logger=`` replaces all these by its own attributes,
unless it is told to merge them (``merge_extra``, from Python 3.13 on).
"""

from __future__ import annotations

from typing import Any

from ..foreign import escape
from .server_connection import ServerConnection

__all__ = ["log_close", "log_open"]

_BY = {"local": "by us", "remote": "by the client"}


def log_open(connection: ServerConnection) -> None:
    """Log that a connection has opened."""
    # Without the query, which may have a secret.
    path = None if connection.path is None else connection.path.partition("?")[0]
    address = connection.remote_address
    fields = {
        "ws_event": "open",
        "ws_number": connection.number,
        "ws_remote_address": address,
        "ws_path": path,
        "ws_subprotocol": connection.subprotocol,
        "ws_username": None if connection.username is None else escape(connection.username),
    }
    message = "connection %d open: %s from %s"
    connection.logger.info(message, connection.number, path, address, extra=fields)


def log_close(connection: ServerConnection, duration: float) -> None:
    """Log that a connection is closed, ``duration`` seconds after it opened."""
    stats = connection.stats
    closed_by, code, reason = _describe_end(connection)
    fields: dict[str, Any] = {
        "ws_event": "close",
        "ws_number": connection.number,
        "ws_remote_address": connection.remote_address,
        "ws_code": code,
        "ws_reason": escape(reason),
        "ws_closed_by": closed_by,
        "ws_duration": duration,
        "ws_messages_received": stats.messages_received,
        "ws_messages_sent": stats.messages_sent,
        "ws_bytes_received": stats.bytes_received,
        "ws_bytes_sent": stats.bytes_sent,
    }
    cause = connection.protocol.parser_exc
    if closed_by is None:
        how = f"lost ({escape(str(cause))})" if cause is not None else "cut off"
    else:
        # The reason as a literal: it may be the client's, with line breaks in it.
        how = f"closed {_BY[closed_by]} with {code}{f' {reason!r}' if reason else ''}"
    connection.logger.info(
        "connection %d %s after %.3f s; received %d messages, %d bytes; sent %d messages, %d bytes",
        connection.number,
        how,
        duration,
        stats.messages_received,
        stats.bytes_received,
        stats.messages_sent,
        stats.bytes_sent,
        extra=fields,
    )


def _describe_end(connection: ServerConnection) -> tuple[str | None, int, str]:
    """Return who closed first, and the code and reason of that close frame."""
    protocol = connection.protocol
    received, sent = protocol.close_rcvd, protocol.close_sent
    if received is not None and (sent is None or protocol.close_rcvd_then_sent):
        return "remote", int(received.code), received.reason
    if sent is not None:
        return "local", int(sent.code), sent.reason
    return None, 1006, ""
