"""Parsing what handshakes need of HTTP/1.1 (RFC 9112).

A parser is fed bytes as they come. It goes from step to step, each of which takes a part of
the message from the buffer once that is complete. What a step refuses depends on the bytes
alone, never on how they were split.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Callable, NoReturn

from ..accel import split_head
from ..accel.header_lines import HEADER_LINE
from ..exceptions import (
    HeaderLineTooLong,
    InvalidProtocol,
    InvalidState,
    RequestLineTooLong,
    SecurityError,
    StatusLineTooLong,
    TooManyHeaders,
)
from .buffer import ReceiveBuffer
from .header_limits import MAX_HEADER_SIZE, header_limits, too_many_bytes
from .headers import TOKEN, Headers
from .http11 import Request, Response

if TYPE_CHECKING:
    from .request_body import RequestBody

__all__ = [
    "MAX_BODY_SIZE",
    "MAX_INTERIM_RESPONSES",
    "MAX_METHOD_LENGTH",
    "MAX_NUM_HEADERS",
    "RequestParser",
    "ResponseParser",
]

#: Header lines in a message, and as many trailer lines after a chunked body.
MAX_NUM_HEADERS = 128

#: Characters in a method; registered ones have up to 17.
MAX_METHOD_LENGTH = 20

#: Bytes of a response's body that are kept.
MAX_BODY_SIZE = 2**20

#: Responses with a status of 1xx other than 101 that may come before the real one.
MAX_INTERIM_RESPONSES = 16

#: RFC 9112 §3: method and target; §2.3: version.
_REQUEST_LINE = re.compile(rf"({TOKEN.pattern}) ([!-~]+) (HTTP/[0-9]\.[0-9])")

#: RFC 9112 §4; the space before an empty reason is often left out.
_STATUS_LINE = re.compile(r"(HTTP/[0-9]\.[0-9]) ([1-9][0-9]{2})(?: ([\t -~\x80-\xff]*))?")

#: RFC 9112 §7.1; extensions (§7.1.1) are ignored.
_CHUNK_SIZE = re.compile(r"([0-9A-Fa-f]{1,16})[ \t]*(?:;[\t -~\x80-\xff]*)?")

#: RFC 9110 §8.6, at most 19 digits.
_LENGTH = re.compile(r"[0-9]{1,19}")

#: RFC 9112 §3.2.2. User info isn't allowed (RFC 9110 §4.2.4).
_ABSOLUTE_TARGET = re.compile(r"(?:https?|wss?)://([^/?#@\\]+)((?:[/?].*)?)", re.IGNORECASE)


class _Parser:
    """What parsing a request and a response have in common."""

    _start_line_name: str
    _start_line_too_long: type[SecurityError]

    def __init__(self, max_header_size: int | None) -> None:
        self._line_limit, self._limit = header_limits(max_header_size)
        self._size = 0  # of the header lines so far
        self.trailing: bytes = b""
        self._buffer = ReceiveBuffer()
        self._fields: list[tuple[str, str]] = []
        self._started = False  # the start line has been read
        # The step to do next; tells whether it got on. None once the message is complete.
        self._step: Callable[[], bool] | None = self._read_start_line

    def _run(self, data: bytes) -> None:
        self._check_incomplete()
        if self._started or self._buffer or not self._read_whole_head(data):
            self._buffer.append(data)
        while self._step is not None and self._step():
            pass

    def _check_incomplete(self) -> None:
        if self._step is None:
            raise InvalidState("the message was complete before; what follows isn't for its parser")

    def _finish(self) -> bool:
        self._step = None
        if self._buffer:
            self.trailing = self._buffer.take_all()
        return False

    def _read_start_line(self) -> bool:
        line = self._buffer.take_line(self._line_limit, self._start_line_too_long)
        if line is None:
            return False
        self._parse_start_line(line.decode("latin-1"))
        self._started = True
        self._step = self._read_headers
        return True

    def _read_whole_head(self, data: bytes) -> bool:
        """Read the head if it is there at once and nothing is wrong with it, as is usual.

        Otherwise nothing is taken, and the steps find out what is missing or wrong.
        """
        head = split_head(data, self._line_limit, MAX_NUM_HEADERS)
        if head is None:
            return False
        start_line, fields, values, size = head
        self._parse_start_line(start_line)
        self._started = True
        if len(data) > size:
            self._buffer.append(data[size:])
        self._end_head(Headers.from_index(fields, values))
        return True

    def _parse_start_line(self, line: str) -> None:
        raise NotImplementedError

    def _read_headers(self) -> bool:
        if not self._read_fields():
            return False
        headers = Headers.from_parsed(self._fields)
        self._fields.clear()
        self._size = 0
        return self._end_head(headers)

    def _end_head(self, headers: Headers) -> bool:
        raise NotImplementedError

    def _read_fields(self) -> bool:
        """Read header lines; return whether the empty line after them was there."""
        while True:
            line = self._buffer.take_line(self._line_limit, HeaderLineTooLong)
            if line is None:
                return False
            if not line:
                return True
            if len(self._fields) == MAX_NUM_HEADERS:
                raise TooManyHeaders(f"there are more than {MAX_NUM_HEADERS} headers")
            self._size += len(line) + 2
            if self._size > self._limit:
                raise too_many_bytes(self._limit)
            self._fields.append(_parse_header_line(line.decode("latin-1")))

    def _fail_in_head(self) -> NoReturn:
        """Raise the error for an end of the stream before the end of the headers."""
        if self._started:
            raise EOFError(f"connection closed after {len(self._fields)} headers")
        where = f"after {len(self._buffer)} bytes of" if self._buffer else "before"
        raise EOFError(f"connection closed {where} the {self._start_line_name}")


class RequestParser(_Parser):
    """Parses a request as its bytes come.

    A target in absolute-form is reduced to its origin-form, and its authority replaces the
    value of ``Host``.

    Args:
        max_header_size: bytes that a line may have, without its end; all header lines together
            may have four times as many. ``None`` is no limit.
        plain: whether to accept HTTP/1.0, and bodies of what asks for no WebSocket.
        max_body_size: limit of a body in bytes; ``None`` is unlimited.

    Attributes:
        trailing: bytes after the request, once it is complete.
    """

    _start_line_name = "request line"
    _start_line_too_long = RequestLineTooLong

    def __init__(
        self,
        max_header_size: int | None = MAX_HEADER_SIZE,
        *,
        plain: bool = False,
        max_body_size: int | None = 2**16,
    ) -> None:
        super().__init__(max_header_size)
        self._plain = plain
        self._max_body_size = max_body_size
        self._protocol = ""
        self._body: RequestBody | None = None
        self._method = ""
        self._path = ""
        self._authority: str | None = None
        self._request: Request | None = None

    def receive_data(self, data: bytes) -> Request | None:
        """Take bytes in; return the request once it is complete, else ``None``.

        After an exception the parser can't be used any more.

        Raises:
            InvalidProtocol: the version isn't HTTP/1.1, nor one that is accepted besides.
            InvalidState: the request was complete before.
            SecurityError: it is over a limit: ``RequestLineTooLong``,
                ``HeaderLineTooLong``, ``TooManyHeaders`` or ``RequestBodyTooLong``.
            ValueError: it isn't a valid request, or has a body that isn't accepted.
        """
        self._run(data)
        return self._request

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits to be told that its body is welcome (RFC 9110 §10.1.1)."""
        return self._body is not None and self._body.is_awaited

    def receive_eof(self) -> NoReturn:
        """Take in that no more bytes will come before the request is complete.

        Raises:
            EOFError: always; says how much there was.
            InvalidState: the request was complete before.
        """
        self._check_incomplete()
        if self._body is not None:
            raise EOFError("connection closed in the middle of the body")
        self._fail_in_head()

    def _parse_start_line(self, line: str) -> None:
        found = _REQUEST_LINE.fullmatch(line)
        if not found or len(found[1]) > MAX_METHOD_LENGTH:
            raise ValueError(f"malformed request line {_shorten(line)}")
        self._method, target, protocol = found.groups()
        if protocol != "HTTP/1.1" and not (self._plain and protocol == "HTTP/1.0"):
            raise InvalidProtocol(protocol)
        self._protocol = protocol
        self._path, self._authority = _parse_target(target)

    def _end_head(self, headers: Headers) -> bool:
        if len(headers.get_all("Host")) > 1:
            raise ValueError("there are several Host headers")  # RFC 9112 §3.2
        if self._authority is not None:
            headers = _replace_host(headers, self._authority)
        request = Request(self._path, headers, self._method, protocol=self._protocol)
        if "Transfer-Encoding" in headers or _content_length(headers):
            # A handshake has no body (RFC 6455 §4.1); to read past one is request smuggling.
            if not self._plain or "websocket" in ",".join(headers.get_all("Upgrade")).lower():
                raise ValueError("the request has a body")
            from .request_body import RequestBody  # it needs this module

            self._body = RequestBody(request, self._max_body_size)
            self._step = self._read_body
            return True
        self._request = request
        return self._finish()

    def _read_body(self) -> bool:
        assert self._body is not None
        request = self._body.receive(self._buffer.take_all())
        if request is None:
            return False
        self._request = request
        self._buffer.append(self._body.trailing)
        return self._finish()


class ResponseParser(_Parser):
    """Parses a response as its bytes come, body included.

    Responses with a status of 1xx other than 101 are skipped. A body over
    ``MAX_BODY_SIZE`` is cut off there; ``trailing`` is empty then. HTTP/1.0 is accepted, since old
    servers refuse with it and many proxies say so, but for 101, which it doesn't have.

    Args:
        max_header_size: as for :class:`RequestParser`.
        tunnel: whether it answers CONNECT: a status of 2xx has no body then (RFC 9110
            §9.3.6).

    Attributes:
        trailing: bytes after the response, once it is complete.
    """

    _start_line_name = "status line"
    _start_line_too_long = StatusLineTooLong

    def __init__(
        self, max_header_size: int | None = MAX_HEADER_SIZE, *, tunnel: bool = False
    ) -> None:
        super().__init__(max_header_size)
        self._tunnel = tunnel
        self._interim_responses = 0
        self._status_code = 0
        self._reason_phrase = ""
        self._headers: Headers | None = None
        self._body = bytearray()
        self._remaining = 0  # bytes to come of a body or a chunk

    @property
    def partial(self) -> Response | None:
        """The response with what has come of its body; ``None`` before its head has.

        Stays usable when a body turned out to be invalid or its end never came.
        """
        if self._headers is None:
            return None
        return Response(self._status_code, self._reason_phrase, self._headers, bytes(self._body))

    def receive_data(self, data: bytes) -> Response | None:
        """Take bytes in; return the response once it is complete, else ``None``.

        After an exception only :attr:`partial` can be used.

        Raises:
            InvalidProtocol: the version isn't HTTP/1.1, or 1.0 where that will do.
            InvalidState: the response was complete before.
            SecurityError: it is over a limit: ``StatusLineTooLong``,
                ``HeaderLineTooLong`` or ``TooManyHeaders``.
            ValueError: it isn't a valid response.
        """
        self._run(data)
        return self.partial if self._step is None else None

    def receive_eof(self) -> Response:
        """Take in that no more bytes will come; return the response.

        The body is as long as it should be only if the stream's end is what ends it.

        Raises:
            EOFError: the head isn't complete; says how much there was.
            InvalidState: the response was complete before.
        """
        self._check_incomplete()
        response = self.partial
        if response is None:
            self._fail_in_head()
        self._step = None
        return response

    def _parse_start_line(self, line: str) -> None:
        found = _STATUS_LINE.fullmatch(line)
        if not found:
            raise ValueError(f"malformed status line {_shorten(line)}")
        protocol, status_code, reason_phrase = found.groups()
        self._status_code = int(status_code)
        # RFC 6455 §4.1: an upgrade takes HTTP/1.1 or higher; a refusal is one in any version.
        is_upgrade = self._status_code == 101 and not self._tunnel
        if protocol != "HTTP/1.1" and (is_upgrade or protocol != "HTTP/1.0"):
            raise InvalidProtocol(protocol)
        self._reason_phrase = reason_phrase or ""

    def _end_head(self, headers: Headers) -> bool:
        status = self._status_code
        if status < 200 and status != 101:
            return self._skip_interim_response()
        self._headers = headers
        # RFC 9112 §6.3: these have no body, whatever the headers say.
        if status in (101, 204, 304) or (self._tunnel and status < 300):
            return self._finish()
        self._step = self._choose_body(headers)
        return True

    def _skip_interim_response(self) -> bool:
        # RFC 9110 §15.2: any number may come; a limit keeps a hostile server from going on.
        if self._interim_responses == MAX_INTERIM_RESPONSES:
            raise ValueError(f"there are more than {MAX_INTERIM_RESPONSES} interim responses")
        self._interim_responses += 1
        self._started = False
        self._step = self._read_start_line
        return True

    # --- bodies, RFC 9112 §6.3 -----------------------------------------------------

    def _choose_body(self, headers: Headers) -> Callable[[], bool]:
        length = _content_length(headers)
        codings = headers.get_all("Transfer-Encoding")
        if not codings:
            # Without a length the body goes on to the end of the stream: more than is kept.
            self._remaining = MAX_BODY_SIZE + 1 if length is None else length
            return self._read_plain_body
        if length is not None:
            raise ValueError("there are both Transfer-Encoding and Content-Length")
        if [coding.lower() for coding in codings] != ["chunked"]:
            raise ValueError(f"unsupported Transfer-Encoding {_shorten(', '.join(codings))}")
        return self._read_chunk_size

    def _read_plain_body(self) -> bool:
        return self._read_body() and self._finish()

    def _read_chunk_size(self) -> bool:
        line = self._buffer.take_line(self._line_limit, HeaderLineTooLong)
        if line is None:
            return False
        text = line.decode("latin-1")
        found = _CHUNK_SIZE.fullmatch(text)
        if not found:
            raise ValueError(f"malformed size of a chunk {_shorten(text)}")
        self._remaining = int(found[1], 16)
        self._step = self._read_chunk if self._remaining else self._read_trailers
        return True

    def _read_chunk(self) -> bool:
        if not self._read_body():
            return False
        self._step = self._read_chunk_end
        return True

    def _read_chunk_end(self) -> bool:
        if len(self._buffer) < 2:
            return False
        if self._buffer.take(2) != b"\r\n":
            raise ValueError("a chunk is longer than its size")
        self._step = self._read_chunk_size
        return True

    def _read_trailers(self) -> bool:
        return self._read_fields() and self._finish()

    def _read_body(self) -> bool:
        """Read what remains of a body or chunk; return whether it was all there.

        Where a body reaches its limit, the rest is dropped and the response complete.
        """
        data = self._buffer.take(min(self._remaining, MAX_BODY_SIZE - len(self._body)))
        self._body += data
        self._remaining -= len(data)
        if not self._remaining:
            return True
        if len(self._body) == MAX_BODY_SIZE:
            self._buffer.take_all()
            self._finish()
        return False


def _parse_target(target: str) -> tuple[str, str | None]:
    """Return the origin-form of a target, and the authority if it was in absolute-form.

    RFC 6455 §4.1 (item 2 of the request) and RFC 9112 §3.2.2 ask servers to accept both.
    """
    if target.startswith("/"):
        return target, None
    found = _ABSOLUTE_TARGET.fullmatch(target)
    if not found:
        raise ValueError(f"invalid request target {_shorten(target)}")
    authority, path = found.groups()
    return (path if path.startswith("/") else f"/{path}"), authority


def _replace_host(headers: Headers, authority: str) -> Headers:
    # RFC 9112 §3.2.2: with an absolute-form target, its authority counts and Host MUST be
    # ignored. Checks of the origin look at Host and must not be told something else.
    return Headers.from_parsed(
        (name, authority if name.lower() == "host" else value)
        for name, value in headers.raw_items()
    )


def _content_length(headers: Headers) -> int | None:
    """Return ``Content-Length``; the same one may be there repeatedly (RFC 9112 §6.3).

    Raises:
        ValueError: it isn't a number, or two of them differ.
    """
    values = headers.get_all("Content-Length")
    if not values:
        return None
    lengths = set()
    for value in values:
        for digits in value.split(","):
            if not _LENGTH.fullmatch(digits.strip(" \t")):
                raise ValueError(f"invalid Content-Length {_shorten(value)}")
            lengths.add(int(digits))
    if len(lengths) > 1:
        raise ValueError("there are different values of Content-Length")
    return lengths.pop()


def _parse_header_line(line: str) -> tuple[str, str]:
    found = HEADER_LINE.fullmatch(line)
    if not found:
        raise _explain_header_line(line)
    return found[1], found[2].strip(" \t")


def _explain_header_line(line: str) -> ValueError:
    """Return the error that says what is wrong with a header line."""
    name, colon, _ = line.partition(":")
    if line[0] in " \t":
        # RFC 9112 §5.2: a line that goes on in the next one is obsolete.
        return ValueError("a header line starts with white space")
    if not colon:
        return ValueError(f"there is no colon in header line {_shorten(line)}")
    if not name:
        return ValueError(f"there is no name in header line {_shorten(line)}")
    if name[-1] in " \t":
        # RFC 9112 §5.1 demands to refuse it: it has been used to hide headers.
        return ValueError(f"there is white space before the colon in header line {_shorten(line)}")
    if not TOKEN.fullmatch(name):
        return ValueError(f"invalid header name {_shorten(name)}")
    # Without the value: it may be a secret, and the error gets logged.
    return ValueError(f"there are control characters in the value of header {_shorten(name)}")


def _shorten(text: str) -> str:
    """Quote what a peer sent for an error message: it can be long and unprintable."""
    return repr(text) if len(text) <= 100 else f"{text[:100]!r}..."
