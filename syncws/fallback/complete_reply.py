"""What answers a request of the fallback, with the headers that all answers have."""

from __future__ import annotations

from ..sansio.http11 import Request, Response
from .answers import complete_answer
from .session import Reply

__all__ = ["CompleteReply"]


class CompleteReply:
    """A reply whose response gets what all responses of the fallback have."""

    def __init__(self, request: Request, reply: Reply) -> None:
        self._request = request
        self._reply = reply
        self.can_stream = reply.can_stream
        self.max_wait = reply.max_wait
        self.send = reply.send
        self.end = reply.end

    def respond(self, response: Response) -> None:
        """Send the whole response."""
        self._reply.respond(complete_answer(self._request, response))

    def refuse(self, response: Response) -> None:
        """Say how the program judges the request: that isn't for pages of any origin."""
        self._reply.respond(complete_answer(self._request, response, readable=False))

    def stream(self, response: Response) -> None:
        """Send the head of a response whose body follows in pieces."""
        self._reply.stream(complete_answer(self._request, response))
