"""Who may connect: HTTP Basic (RFC 7617) and bearer tokens (RFC 6750).

Passwords and tokens are never logged, nor part of an error of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Callable, Union

from ..exceptions import InvalidHeaderValue
from ..sansio.fields import build_www_authenticate_basic, parse_authorization_basic
from ..sansio.headers import Headers
from ..sansio.http11 import Request, Response
from .callables import refuse_awaitable, refuse_coroutine
from .server_connection import ProcessRequest, ServerConnection

__all__ = ["Credentials", "basic_auth", "bearer_auth"]

#: User names and passwords: one pair, several, or passwords by user name.
Credentials = Union[tuple[str, str], Iterable[tuple[str, str]], Mapping[str, str]]

CheckCredentials = Callable[[str, str], bool]

#: Returns whether a token is good: something true, or who it is of.
CheckToken = Callable[[str], Any]

#: RFC 6750 §2.1.
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")


def basic_auth(
    realm: str = "",
    credentials: Credentials | None = None,
    check_credentials: CheckCredentials | None = None,
) -> ProcessRequest:
    """Return a ``process_request`` function that demands user name and password.

    ::

        serve(handler, process_request=basic_auth("chat", ("hello", "iloveyou")))

    Requests without valid ones are answered with 401; ``ws.username`` is set by others. It
    is for ``wss://``: otherwise the password can be read on its way (RFC 7617 §4).

    Args:
        realm: what the password is for, as browsers show it.
        credentials: a pair of user name and password, a list of pairs, or a dict. They are
            compared in a time that does not depend on what is right.
        check_credentials: ``(username, password)`` returns whether they are valid; called in
            the connection's thread, and in the time of ``open_timeout``. What it raises is
            logged, and answered with 500.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: there are both or none of ``credentials`` and ``check_credentials``, a
            user name has a colon or is there twice, or the realm can't be sent.
    """
    if (credentials is None) == (check_credentials is None):
        raise ValueError("give either credentials= or check_credentials=")
    if credentials is not None:
        check = _comparison(_passwords(credentials))
    else:
        refuse_coroutine(check_credentials, "check_credentials")  # type: ignore[arg-type]  # it is there
        check = check_credentials  # type: ignore[assignment]  # the same
    challenge = build_www_authenticate_basic(realm)
    Headers({"WWW-Authenticate": challenge})  # refuse here what can't be sent

    def process_request(ws: ServerConnection, request: Request) -> Response | None:
        values = request.headers.get_all("Authorization")
        if not values:
            return _refuse(ws, "This needs a user name and a password.\n", challenge)
        try:
            if len(values) > 1:
                raise InvalidHeaderValue("Authorization", "there are several")
            username, password = parse_authorization_basic(values[0])
        except InvalidHeaderValue as exc:
            return _refuse(ws, f"This needs a user name and a password: {exc}.\n", challenge)
        if not _verdict(check(username, password), "check_credentials"):
            return _refuse(ws, "User name or password is wrong.\n", challenge)
        ws.username = username
        return None

    return process_request


def bearer_auth(check: CheckToken, realm: str = "") -> ProcessRequest:
    """Return a ``process_request`` function that demands a token (RFC 6750 §2.1).

    ::

        serve(handler, process_request=bearer_auth(lambda token: users.get(token)))

    Requests without a valid one are answered with 401. Browsers can't send tokens in this
    way; programs can. It is for ``wss://``, as passwords are.

    Args:
        check: given the token, returns something true if it is valid. A str becomes
            ``ws.username``. Called in the connection's thread, and in the time of
            ``open_timeout``. What it raises is logged, and answered with 500. Tokens are to
            be compared by :func:`hmac.compare_digest`, or looked up by their hash.
        realm: what the token is for.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: the realm can't be sent.
    """
    refuse_coroutine(check, "check")
    # The same quoting as for Basic, without what is only for that.
    challenge = build_www_authenticate_basic(realm).rpartition(", charset=")[0]
    challenge = challenge.replace("Basic", "Bearer", 1)
    Headers({"WWW-Authenticate": challenge})  # refuse here what can't be sent

    def process_request(ws: ServerConnection, request: Request) -> Response | None:
        values = request.headers.get_all("Authorization")
        if len(values) > 1:
            # §3.1: more than one way to say who it is.
            wrong = f'{challenge}, error="invalid_request"'
            return _refuse(ws, "There are several Authorization headers.\n", wrong, 400)
        scheme, _, token = (values[0] if values else "").partition(" ")
        if scheme.lower() != "bearer":
            return _refuse(ws, "This needs a token.\n", challenge)
        token = token.strip(" ")
        result = _TOKEN.fullmatch(token) and _verdict(check(token), "check")
        if not result:
            wrong = f'{challenge}, error="invalid_token"'
            return _refuse(ws, "The token is invalid.\n", wrong)
        if isinstance(result, str):
            ws.username = result
        return None

    return process_request


def _refuse(ws: ServerConnection, text: str, challenge: str, status: int = 401) -> Response:
    return ws.respond(status, text, {"WWW-Authenticate": challenge})


def _verdict(result: Any, what: str) -> Any:
    """Return what a check returned, unless that is true for whoever asks."""
    return refuse_awaitable(result, f"{what} returned a coroutine; here it is a plain function")


def _passwords(credentials: Credentials) -> dict[str, str]:
    """Return passwords by user name. Errors don't quote them."""
    given: Any = credentials
    if isinstance(given, Mapping):
        pairs = list(given.items())
    elif _is_pair(given):
        pairs = [given]
    else:
        pairs = list(given) if isinstance(given, Iterable) else [given]
    if not all(map(_is_pair, pairs)):
        raise TypeError(
            "credentials= is a pair of user name and password, a list of pairs or a dict"
        )
    passwords: dict[str, str] = {}
    for username, password in pairs:
        if ":" in username:
            raise ValueError("a user name with a colon can't be sent by HTTP Basic")
        if username in passwords:
            raise ValueError(f"user {username!r} is in credentials= twice")
        passwords[username] = password
    return passwords


def _is_pair(item: Any) -> bool:
    return (
        isinstance(item, (tuple, list))
        and len(item) == 2
        and all(isinstance(part, str) for part in item)
    )


def _comparison(passwords: Mapping[str, str]) -> CheckCredentials:
    """Return a function that takes as long for unknown users as for known ones."""
    import hashlib  # both load OpenSSL, and most programs don't need them
    import hmac

    def digest(password: str) -> bytes:
        # Of the same length for all: comparing shows how long a password is otherwise.
        return hashlib.sha256(password.encode("utf-8", "surrogatepass")).digest()

    digests = {username: digest(password) for username, password in passwords.items()}
    nobody = digest("")

    def check(username: str, password: str) -> bool:
        expected = digests.get(username, nobody)
        return hmac.compare_digest(digest(password), expected) and username in digests

    return check
