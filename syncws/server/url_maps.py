"""Maps of werkzeug's in place of a router. Werkzeug itself is not imported here."""

from __future__ import annotations

from typing import Any, Protocol

from ..sansio.hosts import parse_host
from ..sansio.http11 import Request, Response
from ..sansio.plain_responses import build_response
from .callables import refuse_coroutine
from .routing import Match, check_parameters, decode_path, is_upgrade, leads_out, not_found

__all__ = ["MapRouter", "UrlMap", "is_url_map"]


class UrlMap(Protocol):
    """What is needed of a :class:`werkzeug.routing.Map`."""

    def bind(self, server_name: str) -> Any:
        """Return what matches paths."""


def is_url_map(candidate: Any) -> bool:
    """Tell whether this is a map, rather than a handler."""
    parts = ("bind", "iter_rules")
    return not callable(candidate) and all(hasattr(candidate, part) for part in parts)


class MapRouter:
    """Calls the function that is the endpoint of the rule that a path has.

    Rules with and without ``websocket=True`` are for handlers alike. A path of which a segment
    could lead out of a directory is answered with 404, as by :class:`~syncws.Router`; a request
    whose Host isn't a host, with 400.

    Args:
        url_map: a :class:`werkzeug.routing.Map`.

    Raises:
        TypeError: an endpoint is no plain function, or doesn't take its rule's arguments.
    """

    def __init__(self, url_map: Any) -> None:
        self._url_map = url_map
        for rule in url_map.iter_rules():
            if not rule.build_only and rule.redirect_to is None:
                refuse_coroutine(rule.endpoint, f"the endpoint of {rule.rule!r}")
                check_parameters(rule.endpoint, sorted(rule.arguments), rule.rule)

    def resolve(self, request: Request, host: str, secure: bool) -> Match | Response:
        """Return the handler for a request, or the answer to it: 404, a redirect.

        Args:
            request: the request.
            host: the host that it is for; maps may look at it.
            secure: whether the client uses TLS, for redirects.
        """
        segments = decode_path(request.path)
        if segments is None or any(map(leads_out, segments)):
            return not_found()
        try:
            parse_host(host)
        except ValueError:
            # The map puts it into redirects.
            return build_response(400, "The Host of the request isn't one.\n")
        path, query = "/" + "/".join(segments), request.path.partition("?")[2]
        scheme = "ws" if is_upgrade(request) else "http"
        try:
            urls = self._url_map.bind(host, url_scheme=f"{scheme}s" if secure else scheme)
            endpoint, values = _match(urls, path, request.method, query)
        except Exception as exc:
            if not _is_http_exception(exc):
                raise
            return _answer(exc)
        return Match(endpoint, dict(values))


def _match(urls: Any, path: str, method: str, query: str) -> Any:
    try:
        return urls.match(path, method, query_args=query, websocket=True)
    except Exception as exc:
        # 400 says that there is a rule, but without websocket=True.
        if not _is_http_exception(exc) or exc.code not in (400, 404):  # type: ignore[attr-defined]
            raise
    return urls.match(path, method, query_args=query, websocket=False)


def _is_http_exception(exc: Exception) -> bool:
    """Tell whether this is one of werkzeug's, which is an answer."""
    return isinstance(getattr(exc, "code", None), int) and hasattr(exc, "get_headers")


def _answer(exc: Any) -> Response:
    if exc.code == 404:
        return not_found()
    headers = {name: value for name, value in exc.get_headers() if name == "Allow"}
    url = getattr(exc, "new_url", None)
    if url is not None:
        headers["Location"] = url
        return build_response(exc.code, f"It is at {url}\n", headers)
    return build_response(exc.code, f"{exc.name}.\n", headers)
