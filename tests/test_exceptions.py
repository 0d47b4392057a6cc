import inspect
import pickle

import pytest

from syncws import exceptions
from syncws.exceptions import (
    AbortHandshake,
    ConcurrencyError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    DuplicateParameter,
    HeaderLineTooLong,
    HubError,
    HubUnavailable,
    InvalidHandshake,
    InvalidHeader,
    InvalidHeaderFormat,
    InvalidHeaderValue,
    InvalidHost,
    InvalidMessage,
    InvalidMethod,
    InvalidOrigin,
    InvalidParameterName,
    InvalidParameterValue,
    InvalidProtocol,
    InvalidProxy,
    InvalidProxyMessage,
    InvalidProxyStatus,
    InvalidState,
    InvalidStatus,
    InvalidStatusCode,
    InvalidUpgrade,
    InvalidURI,
    MultipleValuesError,
    NegotiationError,
    PayloadTooBig,
    ProtocolError,
    ProxyError,
    RedirectHandshake,
    RequestBodyTooLong,
    RequestLineTooLong,
    SecurityError,
    SendTimeout,
    ServerBusy,
    SlowPeer,
    StatusLineTooLong,
    TooManyFragments,
    TooManyHeaders,
    WebSocketException,
)
from syncws.sansio.close import Close
from syncws.sansio.headers import Headers
from syncws.sansio.http11 import Response

# The bases of each exception: the tree.
BASES = {
    WebSocketException: (Exception,),
    ConnectionClosed: (WebSocketException,),
    ConnectionClosedOK: (ConnectionClosed,),
    ConnectionClosedError: (ConnectionClosed,),
    InvalidURI: (WebSocketException,),
    InvalidProxy: (WebSocketException,),
    InvalidHandshake: (WebSocketException,),
    SecurityError: (InvalidHandshake,),
    RequestBodyTooLong: (SecurityError,),
    RequestLineTooLong: (SecurityError,),
    StatusLineTooLong: (SecurityError,),
    HeaderLineTooLong: (SecurityError,),
    TooManyHeaders: (SecurityError,),
    ProxyError: (InvalidHandshake,),
    InvalidProxyMessage: (ProxyError,),
    InvalidProxyStatus: (ProxyError,),
    InvalidMessage: (InvalidHandshake,),
    InvalidMethod: (InvalidHandshake,),
    InvalidProtocol: (InvalidHandshake,),
    InvalidStatusCode: (InvalidHandshake,),
    InvalidStatus: (InvalidStatusCode,),
    InvalidHeader: (InvalidHandshake,),
    InvalidHeaderFormat: (InvalidHeader,),
    InvalidHeaderValue: (InvalidHeader,),
    InvalidOrigin: (InvalidHeader,),
    InvalidUpgrade: (InvalidHeader,),
    NegotiationError: (InvalidHandshake,),
    DuplicateParameter: (NegotiationError,),
    InvalidParameterName: (NegotiationError,),
    InvalidParameterValue: (NegotiationError,),
    AbortHandshake: (InvalidHandshake,),
    RedirectHandshake: (InvalidHandshake,),
    InvalidHost: (InvalidHandshake,),
    ServerBusy: (InvalidHandshake,),
    ProtocolError: (WebSocketException,),
    PayloadTooBig: (WebSocketException,),
    TooManyFragments: (WebSocketException,),
    InvalidState: (WebSocketException, AssertionError),
    ConcurrencyError: (WebSocketException, RuntimeError),
    SendTimeout: (WebSocketException, TimeoutError),
    SlowPeer: (WebSocketException,),
    HubError: (WebSocketException,),
    HubUnavailable: (HubError,),
    MultipleValuesError: (LookupError,),
}

RESPONSE = Response(403, "Forbidden", Headers({"X-A": "b"}), b"go away")
OK, GONE = Close(1000, ""), Close(1001, "bye")


def grown(exc, current_size):
    exc.set_current_size(current_size)
    return exc


# An exception, its attributes, and its text.
EXAMPLES = [
    (WebSocketException("what"), {}, "what"),
    (
        ConnectionClosed(OK, GONE, True),
        {"rcvd": OK, "sent": GONE, "rcvd_then_sent": True, "code": 1000, "reason": ""},
        "received 1000 (normal closure); then sent 1001 (going away) bye",
    ),
    (
        ConnectionClosedOK(GONE, OK, False),
        {"rcvd": GONE, "sent": OK, "rcvd_then_sent": False, "code": 1001, "reason": "bye"},
        "sent 1000 (normal closure); then received 1001 (going away) bye",
    ),
    (
        ConnectionClosedError(Close(4321, "x"), None),
        {"sent": None, "rcvd_then_sent": None, "code": 4321, "reason": "x"},
        "received 4321 (private use) x; no close frame sent",
    ),
    (
        ConnectionClosedError(None, Close(1011, "keepalive ping timeout")),
        {"rcvd": None, "rcvd_then_sent": None, "code": 1006, "reason": ""},
        "sent 1011 (internal error) keepalive ping timeout; no close frame received",
    ),
    (
        ConnectionClosedError(None, None),
        {"code": 1006, "reason": ""},
        "no close frame received or sent",
    ),
    (
        InvalidURI("http://x", "the scheme isn't ws"),
        {"uri": "http://x", "msg": "the scheme isn't ws"},
        "'http://x' isn't a valid WebSocket URI: the scheme isn't ws",
    ),
    (
        InvalidProxy("ftp://p", "unknown scheme"),
        {"proxy": "ftp://p", "msg": "unknown scheme"},
        "'ftp://p' isn't a valid proxy: unknown scheme",
    ),
    (InvalidHandshake("no"), {}, "no"),
    (SecurityError("no"), {}, "no"),
    (RequestBodyTooLong("a body of 9000 bytes"), {}, "a body of 9000 bytes"),
    (RequestLineTooLong("a line of 9000 bytes"), {}, "a line of 9000 bytes"),
    (StatusLineTooLong("a line of 9000 bytes"), {}, "a line of 9000 bytes"),
    (HeaderLineTooLong("a line of 9000 bytes"), {}, "a line of 9000 bytes"),
    (TooManyHeaders("more than 128"), {}, "more than 128"),
    (ProxyError("no"), {}, "no"),
    (InvalidProxyMessage("no HTTP"), {}, "no HTTP"),
    (
        InvalidProxyStatus(RESPONSE),
        {"response": RESPONSE},
        "proxy refused the connection: HTTP 403",
    ),
    (InvalidMessage("no HTTP"), {}, "no HTTP"),
    (
        InvalidMethod("POST"),
        {"method": "POST"},
        "unsupported HTTP method: expected GET, got POST",
    ),
    (
        InvalidProtocol("HTTP/1.0"),
        {"protocol": "HTTP/1.0"},
        "unsupported HTTP version: expected HTTP/1.1, got HTTP/1.0",
    ),
    (
        InvalidStatusCode(403, RESPONSE.headers),
        {"status_code": 403, "headers": RESPONSE.headers},
        "server rejected the WebSocket connection: HTTP 403",
    ),
    (
        InvalidStatus(RESPONSE),
        {"response": RESPONSE, "status_code": 403, "headers": RESPONSE.headers},
        "server rejected the WebSocket connection: HTTP 403",
    ),
    (InvalidHeader("Host"), {"name": "Host", "value": None}, "missing Host header"),
    (InvalidHeader("Host", ""), {"name": "Host", "value": ""}, "empty Host header"),
    (InvalidHeader("Host", "a b"), {"name": "Host", "value": "a b"}, "invalid Host header: a b"),
    (
        InvalidHeaderFormat("Upgrade", "expected a token", "a//", 2),
        {"name": "Upgrade", "value": "expected a token at 2 in a//"},
        "invalid Upgrade header: expected a token at 2 in a//",
    ),
    (
        InvalidHeaderValue("Sec-WebSocket-Version", "8"),
        {"name": "Sec-WebSocket-Version", "value": "8"},
        "invalid Sec-WebSocket-Version header: 8",
    ),
    (
        InvalidOrigin("https://evil.example"),
        {"name": "Origin", "value": "https://evil.example"},
        "invalid Origin header: https://evil.example",
    ),
    (InvalidOrigin(None), {"name": "Origin", "value": None}, "missing Origin header"),
    (
        InvalidUpgrade("Connection", "close"),
        {"name": "Connection", "value": "close"},
        "invalid Connection header: close",
    ),
    (NegotiationError("no common subprotocol"), {}, "no common subprotocol"),
    (DuplicateParameter("a"), {"name": "a"}, "duplicate extension parameter: a"),
    (InvalidParameterName("a"), {"name": "a"}, "unknown extension parameter: a"),
    (
        InvalidParameterValue("a", "9"),
        {"name": "a", "value": "9"},
        "invalid value for extension parameter a: '9'",
    ),
    (
        InvalidParameterValue("a", None),
        {"name": "a", "value": None},
        "missing value for extension parameter a",
    ),
    (
        AbortHandshake(401, {"X": "y"}, b"secret"),
        {"status": 401, "headers": {"X": "y"}, "body": b"secret"},
        "HTTP 401, 6 bytes",
    ),
    (AbortHandshake(404), {"status": 404, "headers": (), "body": b""}, "HTTP 404, 0 bytes"),
    (RedirectHandshake("ws://b/"), {"uri": "ws://b/"}, "redirect to ws://b/"),
    (InvalidHost("evil"), {"host": "evil"}, "host 'evil' isn't served here"),
    (
        ServerBusy(100, 2.5),
        {"limit": 100, "retry_after": 2.5},
        "server has its 100 connections; try again in 2.5 s",
    ),
    (ProtocolError("reserved bits"), {}, "reserved bits"),
    (
        PayloadTooBig(5, 4),
        {"size": 5, "max_size": 4, "current_size": None},
        "frame with 5 bytes exceeds the limit of 4 bytes",
    ),
    (
        PayloadTooBig(None, 4),
        {"size": None, "max_size": 4, "current_size": None},
        "frame exceeds the limit of 4 bytes",
    ),
    (
        grown(PayloadTooBig(5, 4), 6),
        {"size": 11, "max_size": 10, "current_size": 6},
        "message with 11 bytes (6 bytes of it in earlier fragments) exceeds the limit of 10 bytes",
    ),
    (
        grown(PayloadTooBig(None, None), 6),
        {"size": None, "max_size": None, "current_size": 6},
        "message (6 bytes of it in earlier fragments) exceeds the limit of None bytes",
    ),
    (TooManyFragments("more than 4096"), {}, "more than 4096"),
    (InvalidState("connection is closed"), {}, "connection is closed"),
    (ConcurrencyError("recv() is running"), {}, "recv() is running"),
    (SendTimeout("not sent in 5 s"), {}, "not sent in 5 s"),
    (
        SlowPeer(70000, 65536),
        {"buffered": 70000, "limit": 65536},
        "70000 bytes wait for a slow peer, more than the limit of 65536",
    ),
    (
        SlowPeer(60000, 65536),
        {"buffered": 60000, "limit": 65536},
        "60000 bytes wait for a slow peer, with the next message more than the limit of 65536",
    ),
    (HubError("it is read-only"), {}, "it is read-only"),
    (HubUnavailable("it is away"), {}, "it is away"),
    (
        MultipleValuesError("Host"),
        {"args": ("Host",)},
        "'Host' occurs several times; use get_all()",
    ),
    (MultipleValuesError(), {"args": ()}, ""),
]


def name_of(value):
    return value.__name__ if isinstance(value, type) else None


@pytest.mark.parametrize(("exc", "bases"), BASES.items(), ids=name_of)
def test_exception_has_its_place_in_the_tree(exc, bases):
    assert exc.__bases__ == bases


@pytest.mark.parametrize("uri", ["ws://ada:secret@host:99999/", "http://ada:se@cret@host/"])
def test_a_password_in_a_uri_is_not_shown(uri):
    exc = exceptions.InvalidURI(uri, "it is wrong")
    assert exc.uri == uri
    assert "se" not in str(exc).replace("isn't", "").partition("//")[2].partition("@")[0]
    assert "...@host" in str(exc)


def test_tree_has_every_exception_and_so_has_all():
    defined = {
        name
        for name, value in vars(exceptions).items()
        if inspect.isclass(value)
        and value.__module__ == exceptions.__name__
        and value.__name__ == name  # not an older name
    }
    assert defined == {exc.__name__ for exc in BASES} == set(exceptions.__all__)


def test_tree_drawn_in_the_docstring_is_the_tree():
    drawing = exceptions.__doc__.split("::")[1].split("A program")[0]
    parents, seen = {}, set()
    for line in drawing.splitlines():
        words = line.replace("├", " ").replace("└", " ").replace("│", " ").replace("─", " ")
        if not words.strip():
            continue
        name, also = words.split()[0], words.strip().partition("(also ")[2].rstrip(")")
        depth = words.index(name)
        parents[depth] = name
        above = [parents[d] for d in sorted(parents) if d < depth]
        if hasattr(exceptions, name):
            bases = [base.__name__ for base in getattr(exceptions, name).__bases__]
            assert bases == [above[-1], also] if also else [above[-1]]
            seen.add(name)
    assert seen == {exc.__name__ for exc in BASES}


def test_there_is_an_example_of_every_exception():
    assert {type(exc) for exc, _, _ in EXAMPLES} == set(BASES)


@pytest.mark.parametrize(("exc", "attributes", "text"), EXAMPLES, ids=lambda x: type(x).__name__)
def test_exception_has_attributes_and_says_what_was_wrong(exc, attributes, text):
    assert {name: getattr(exc, name) for name in attributes} == attributes
    assert str(exc) == text


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("exc", [exc for exc, _, _ in EXAMPLES], ids=lambda x: type(x).__name__)
def test_exception_can_be_pickled(exc, protocol):
    copy = pickle.loads(pickle.dumps(exc, protocol))
    assert type(copy) is type(exc)
    assert copy.args == exc.args
    assert vars(copy) == vars(exc)
    assert str(copy) == str(exc)


def test_exceptions_about_headers_quote_one_only_once():
    error = InvalidHeaderFormat("Upgrade", "expected a token", "a//", 2)
    assert error.args == ("Upgrade", "expected a token", "a//", 2)
    assert str(error).count("a//") == 1


@pytest.mark.parametrize(
    ("rcvd", "sent", "rcvd_then_sent"),
    [(OK, OK, None), (OK, None, True), (None, OK, False), (None, None, True)],
)
def test_order_of_close_frames_is_there_if_both_are(rcvd, sent, rcvd_then_sent):
    with pytest.raises(AssertionError):
        ConnectionClosed(rcvd, sent, rcvd_then_sent)


def test_current_size_is_set_once():
    exc = grown(PayloadTooBig(5, 4), 6)
    with pytest.raises(AssertionError):
        exc.set_current_size(1)


def test_abort_handshake_refuses_what_is_no_status():
    with pytest.raises(ValueError, match="1000"):
        AbortHandshake(1000)


def test_timeouts_and_misuse_are_caught_as_the_built_in_exceptions():
    with pytest.raises(TimeoutError):
        raise SendTimeout("not sent in 5 s")
    with pytest.raises(RuntimeError):
        raise ConcurrencyError("recv() is running")
    with pytest.raises(InvalidStatusCode, match="HTTP 403"):
        raise InvalidStatus(RESPONSE)
