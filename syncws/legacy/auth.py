"""Basic authentication by its older name: a factory of connections."""

from __future__ import annotations

from typing import Any

from ..sansio.headers import Headers
from ..sansio.http11 import Request, Response
from ..server.auth import CheckCredentials, Credentials, basic_auth
from ..server.responses import OlderResponse
from ..server.server_connection import ProcessRequest
from .server import WebSocketServerProtocol

__all__ = ["BasicAuthWebSocketServerProtocol", "basic_auth_protocol_factory"]


class BasicAuthWebSocketServerProtocol(WebSocketServerProtocol):
    """A server's connection that demands user name and password.

    For ``serve(create_protocol=)``: by way of :func:`basic_auth_protocol_factory`, or directly as a
    subclass that overrides :meth:`check_credentials`.

    Args:
        args: what the real class takes.
        authenticate: what demands them instead: a ``process_request`` function.
        kwargs: what the real class takes.

    Attributes:
        realm: what the password is for.
    """

    realm: str = ""

    def __init__(
        self, *args: Any, authenticate: ProcessRequest | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._authenticate = authenticate

    def check_credentials(self, username: str, password: str) -> bool:
        """Return whether they are valid; none are unless a subclass says so."""
        return False

    def process_request(  # type: ignore[override]  # this is its older form
        self, path: str, request_headers: Headers
    ) -> OlderResponse | Response | None:
        """Return 401 unless there are valid ones; else what the server's function returns."""
        assert self.request is not None
        authenticate = self._authenticate or basic_auth(
            self.realm, check_credentials=self.check_credentials
        )
        refusal = authenticate(self, self.request)
        return refusal or super().process_request(path, request_headers)


class _Factory:
    """What serves as ``create_protocol=`` and as ``process_request=``."""

    def __init__(self, create: Any, authenticate: ProcessRequest) -> None:
        self._create = create
        self._authenticate = authenticate

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 2 and isinstance(args[1], Request):
            return self._authenticate(*args)
        return self._create(*args, authenticate=self._authenticate, **kwargs)


def basic_auth_protocol_factory(
    realm: str = "",
    credentials: Credentials | None = None,
    check_credentials: CheckCredentials | None = None,
    create_protocol: Any = None,
) -> Any:
    """Return a value for ``create_protocol=`` that demands user name and password.

    It may be used as ``process_request=`` as well. What is new in :func:`~syncws.basic_auth`, which
    does the work, holds here as well.

    Args:
        realm: what the password is for.
        credentials: a pair of user name and password, a list of pairs, or a dict.
        check_credentials: ``(username, password)`` returns whether they are valid.
        create_protocol: a subclass of :class:`BasicAuthWebSocketServerProtocol`, or a function that
            makes one.

    Raises what :func:`~syncws.basic_auth` does, and:
        TypeError: ``create_protocol`` is another class.
    """
    create = create_protocol or BasicAuthWebSocketServerProtocol
    if isinstance(create, type) and not issubclass(create, BasicAuthWebSocketServerProtocol):
        raise TypeError(
            "create_protocol= is a subclass of BasicAuthWebSocketServerProtocol, not "
            f"{create.__name__}; with others use process_request=basic_auth(...)"
        )
    return _Factory(create, basic_auth(realm, credentials, check_credentials))
