"""Extensions and subprotocols as header values (RFC 6455 §9.1, §4.1, §4.2.2)."""

from __future__ import annotations

from collections.abc import Sequence

from ..exceptions import InvalidHeaderValue, NegotiationError
from .extensions.interface import ClientExtensionFactory, Extension, ServerExtensionFactory
from .fields import build_extension, parse_extension, parse_subprotocol
from .headers import Headers

__all__ = [
    "accept_extensions",
    "agreed_extensions",
    "agreed_subprotocol",
    "offer_extensions",
    "offered_subprotocols",
]

EXTENSIONS = "Sec-WebSocket-Extensions"
SUBPROTOCOL = "Sec-WebSocket-Protocol"


def offer_extensions(factories: Sequence[ClientExtensionFactory]) -> str | None:
    """Return the client's header; ``None`` where there is nothing to offer."""
    if not factories:
        return None
    return build_extension(
        [(factory.name, list(factory.get_request_params())) for factory in factories]
    )


def agreed_extensions(
    headers: Headers, factories: Sequence[ClientExtensionFactory]
) -> list[Extension]:
    """Return the extensions that the server accepted, checked by the client.

    Raises:
        InvalidHeaderFormat: the header can't be parsed.
        NegotiationError: it has what wasn't offered, or parameters that don't fit.
    """
    accepted: list[Extension] = []
    for name, params in _parse_all(headers):
        problem: Exception = NegotiationError(f"extension {name} was not offered")
        for factory in factories:
            if factory.name != name:
                continue
            try:
                accepted.append(factory.process_response_params(params, accepted))
                break
            except NegotiationError as exc:
                problem = exc  # another offer of the same extension may fit
        else:
            raise problem
    return accepted


def accept_extensions(
    headers: Headers, factories: Sequence[ServerExtensionFactory]
) -> tuple[str | None, list[Extension]]:
    """Return the server's header, and the extensions that it accepts.

    An offer that doesn't fit is declined by leaving it out.

    Raises:
        InvalidHeaderFormat: the header can't be parsed.
    """
    answers: list[tuple[str, list[tuple[str, str | None]]]] = []
    accepted: list[Extension] = []
    for name, params in _parse_all(headers) if factories else []:
        for factory in factories:
            if factory.name != name:
                continue
            try:
                answer, extension = factory.process_request_params(params, accepted)
            except NegotiationError:
                continue
            answers.append((name, answer))
            accepted.append(extension)
            break
    return (build_extension(answers) if answers else None), accepted


def offered_subprotocols(headers: Headers) -> list[str]:
    """Return what the client offers, most wanted first.

    Raises:
        InvalidHeaderFormat: the header can't be parsed.
    """
    return [name for value in headers.get_all(SUBPROTOCOL) for name in parse_subprotocol(value)]


def agreed_subprotocol(headers: Headers, offered: Sequence[str] | None) -> str | None:
    """Return the subprotocol that the server chose, checked by the client.

    Raises:
        InvalidHeaderFormat: the header can't be parsed.
        InvalidHeaderValue: there are several.
        NegotiationError: it was not offered.
    """
    chosen = offered_subprotocols(headers)
    if not chosen:
        if SUBPROTOCOL in headers:  # and says nothing
            raise InvalidHeaderValue(SUBPROTOCOL, headers.get_all(SUBPROTOCOL)[0])
        return None
    if len(chosen) > 1:
        raise InvalidHeaderValue(SUBPROTOCOL, f"several values: {', '.join(chosen)}")
    if chosen[0] not in (offered or ()):
        raise NegotiationError(f"subprotocol {chosen[0]} was not offered")
    return chosen[0]


def _parse_all(headers: Headers) -> list[tuple[str, list[tuple[str, str | None]]]]:
    return [
        extension for value in headers.get_all(EXTENSIONS) for extension in parse_extension(value)
    ]
