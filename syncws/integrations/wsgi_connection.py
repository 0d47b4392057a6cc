"""A connection that was a request of a WSGI application before."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..exceptions import InvalidHandshake
from ..sansio.header_limits import check_headers
from ..sansio.headers import Headers
from ..server.refusal_log import RefusalLog, log_refusal
from ..server.server_connection import ServerConnection
from ..threaded.deadline import Deadline
from .takeover import take_over
from .wsgi_request import read_request, wsgi_headers, wsgi_status
from .wsgi_roster import roster
from .wsgi_servers import Found

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from .wsgi import Gateway

__all__ = ["TAKEN", "WsgiConnection"]

#: In the environ of a request whose connection was taken over.
TAKEN = "syncws.taken"

#: Seconds for the kernel to take the response.
RESPONSE_TIMEOUT = 10.0


class WsgiConnection(ServerConnection):
    """A server's connection that was taken over from a WSGI server.

    Attributes:
        environ: the request's environ.
    """

    environ: WSGIEnvironment
    _gateway: Gateway
    _found: Found
    _handled = False  # a handler runs, which Gateway.handle() called

    @property
    def secure(self) -> bool:
        """Whether the client uses TLS: what a trusted proxy says, or else the environ."""
        client = self._opening_handshake.client
        if client is not None and client.secure is not None:
            return client.secure
        return self.environ.get("wsgi.url_scheme") in ("https", "wss")

    @property
    def _refusal_log(self) -> RefusalLog | None:
        return self._gateway._refusal_log

    def _refusal(self) -> InvalidHandshake | None:
        found, gateway = self._found, self._gateway
        of_threads = isinstance(gateway._max_connections, str)
        refusal = roster.enter(self, found, gateway._limit(found), of_threads=of_threads)
        if refusal is None:
            return None
        self._refused_for = refusal.reason
        return refusal.exc

    def _decide_here(self) -> bytes:
        """Answer the request without touching the connection; return what accepts it.

        Raises:
            InvalidHandshake: it is refused, with the ``response`` that says so.
        """
        protocol = self.protocol
        answered = False
        try:
            request = read_request(self.environ)
            check_headers(request.headers, protocol.max_header_size)
        except InvalidHandshake as exc:
            self.response = protocol.refuse(exc)
            protocol.send_response(self.response)
        else:
            answered = self._opening_handshake.answer(self, request, Deadline(None))
        output = b"".join(protocol.data_to_send())
        refusal = protocol.handshake_exc
        if refusal is None:
            return output
        log_refusal(self, answered)
        assert isinstance(refusal, InvalidHandshake)
        assert self.response is not None
        refusal.response = replace(
            self.response, headers=Headers.from_parsed(wsgi_headers(self.response))
        )
        raise refusal

    def _take(self, output: bytes, start_response: StartResponse | None) -> None:
        """Take the connection over, and begin with what accepts the request."""

        def begin() -> None:
            # Not before: it can't be called again, to say that nothing was taken over.
            if start_response is not None:
                assert self.response is not None
                start_response(wsgi_status(self.response), wsgi_headers(self.response))

        transport, self.protocol._early = take_over(self._found, begin)
        self.environ[TAKEN] = True
        self._transport = transport
        self._writer = self._make_writer()
        try:
            transport.send_all(output, Deadline(RESPONSE_TIMEOUT))
            self._start()
        except OSError as exc:  # the client went away: whoever uses it learns of that
            self._finish(exc)
        except BaseException as exc:
            if not self._started:
                self._finish(exc)
            else:  # interrupted just after it was open
                self._abort(exc)
            raise

    def _finish(self, cause: BaseException | None) -> None:
        super()._finish(cause)
        self._gateway._ended(self)
