import functools
import itertools
import ntpath
import posixpath
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.asking import status
from support.pairs import SOON
from support.scripted import build_request, exchange
from support.serving import messages, serving

from syncws import AbortHandshake, Headers, InvalidStatus, Request, Response, Router, connect
from syncws.server.routing import Match


@pytest.fixture(autouse=True)
def info(caplog):
    caplog.set_level("INFO")


def plain(path="/", method="GET", **headers):
    """The bytes of a request for no WebSocket."""
    none = {"Upgrade": None, "Connection": None, "Sec_WebSocket_Key": None}
    return build_request(path, method, **{**none, "Sec_WebSocket_Version": None, **headers})


def tell(ws, **values):
    ws.send(f"{ws.path} {values}")


def tell_pattern(pattern, ws, **values):
    ws.send(f"{pattern} {values}")


def router_of(*patterns):
    """A router with a handler for each pattern, which knows it."""
    router = Router()
    for pattern in patterns:
        router.route(pattern)(functools.partial(tell_pattern, pattern))
    return router


def found(router, path):
    """What a router makes of a path: pattern and values, or None."""
    match = router.resolve(Request(path, Headers({"Upgrade": "websocket"})), "localhost", False)
    return (match.function.args[0], match.values) if isinstance(match, Match) else None


# --- through a server ---


def test_handlers_get_what_the_path_says_as_keywords():
    router = Router()

    @router.route("/chat/<room>")
    def chat(ws, room):
        ws.send(f"chat in {room}")

    @router.route("/users/<int:id>/files/<path:rest>")
    def file(ws, *, id, rest):  # noqa: A002
        ws.send(f"{id + 1} {rest}")

    with serving(router) as server:
        with connect(f"{server.uri}chat/one%20two?token=1") as ws:
            assert ws.recv(SOON) == "chat in one two"
        with connect(f"{server.uri}users/41/files/a/b%2Fc/") as ws:
            assert ws.recv(SOON) == "42 a/b/c/"


@pytest.mark.parametrize(
    "path", ["/", "/chats", "/chat", "/chat/", "/chat/a/b", "/%ff", "//chat/a"]
)
@pytest.mark.parametrize("build", [build_request, plain])
def test_other_paths_are_not_found_before_the_upgrade(caplog, path, build):
    with serving(router_of("/chat/<room>")) as server:
        answer = exchange(server, build(f"{path}?secret"))
    assert status(answer) == 404
    assert answer[2] == b"There is nothing here.\n"
    assert any(
        line.startswith(f"GET {path} from ") and line.endswith("answered with 404")
        for line in messages(caplog)
    )
    assert "secret" not in caplog.text


def test_what_is_no_valid_upgrade_is_told_so():
    with serving(router_of("/chat")) as server:
        assert status(exchange(server, plain("/chat"))) == 426
        assert status(exchange(server, plain("/chat", "POST"))) == 405
        assert status(exchange(server, build_request("/chat", Sec_WebSocket_Key="x"))) == 400
        assert status(exchange(server, build_request("/chat", Origin="http://evil"))) == 403


def test_process_request_runs_before_the_router():
    def process_request(ws, request):
        seen.append(request.path)
        return ws.respond(401) if request.path == "/nowhere" else None

    seen = []
    router = router_of("/chat")
    with serving(router, process_request=process_request) as server:
        assert status(exchange(server, plain("/nowhere"))) == 401
        assert status(exchange(server, plain("/elsewhere"))) == 404
    assert seen == ["/nowhere", "/elsewhere"]


def test_process_response_sees_what_the_router_answers():
    def process_response(ws, request, response):
        response.headers["X-Path"] = request.path

    with serving(Router(), process_response=process_response) as server:
        assert exchange(server, plain("/nowhere"))[1]["x-path"] == "/nowhere"


def test_an_upgrade_to_nowhere_by_the_program_closes_the_connection(caplog):
    def process_response(ws, request, response):
        return ws.protocol.accept(request)

    with serving(Router(), process_response=process_response) as server:
        answer = exchange(server, build_request())
    assert status(answer) == 101
    assert answer[2] == b"\x88\x02\x03\xf3"  # 1011
    assert messages(caplog, "ERROR") == ["connection handler failed"]


def test_a_router_is_no_handler():
    with pytest.raises(InvalidStatus), serving(Router()) as server:
        connect(server.uri)
    assert not callable(Router())


# --- plain HTTP ---


def http_router(result):
    router = Router()

    @router.http("/value/<int:number>")
    def value(request, number):
        return result(request, number) if callable(result) else result

    return router


@pytest.mark.parametrize(
    ("result", "kind", "body"),
    [
        ("grüße\n", "text/plain; charset=utf-8", "grüße\n".encode()),
        (b"\x00\xff", "application/octet-stream", b"\x00\xff"),
        (
            Response(200, "OK", Headers({"Content-Type": "text/html"}), b"<p>"),
            "text/html",
            b"<p>",
        ),
        (lambda request, number: f"{request.path} {number}", None, b"/value/7?a=b 7"),
    ],
)
def test_plain_http_is_answered_with_text_bytes_or_a_response(result, kind, body):
    with serving(http_router(result), extra_headers={"X-Extra": "1"}) as server:
        for method, expected in (("GET", body), ("HEAD", b""), ("GET", body)):
            first, headers, content = exchange(server, plain("/value/7?a=b", method))
            assert first == "HTTP/1.1 200 OK"
            assert content == expected
            assert headers["content-length"] == str(len(body))
            assert headers["connection"] == "close"
            assert headers["x-extra"] == "1"
            assert {"date", "server"} <= set(headers)
            assert kind is None or headers["content-type"] == kind


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_plain_http_knows_get_and_head_only(method):
    with serving(http_router("never")) as server:
        answer = exchange(server, plain("/value/7", method))
    assert status(answer) == 405
    assert answer[1]["allow"] == "GET, HEAD"


def test_plain_http_may_have_another_status():
    with serving(http_router(Response(204, "No Content", Headers()))) as server:
        first, headers, body = exchange(server, plain("/value/7"))
    assert first == "HTTP/1.1 204 No Content"
    assert "content-length" not in headers
    assert body == b""


def test_plain_http_may_be_aborted():
    def abort(request, number):
        raise AbortHandshake(410, {"X-A": "b"}, b"gone")

    with serving(http_router(abort)) as server:
        first, headers, body = exchange(server, plain("/value/7"))
    assert (first, headers["x-a"], body) == ("HTTP/1.1 410 Gone", "b", b"gone")


@pytest.mark.parametrize("result", [lambda request, number: 1 // 0, 200, None, (200, {}, b"")])
def test_a_function_for_http_that_fails_is_500_and_logged(caplog, result):
    if isinstance(result, tuple) or not callable(result):
        outcome = result
        result = lambda request, number: outcome  # noqa: E731
    with serving(http_router(result)) as server:
        assert status(exchange(server, plain("/value/7"))) == 500
    assert messages(caplog, "ERROR") == ["opening handshake failed"]


def test_a_path_may_be_for_both_http_and_websockets():
    router = http_router("plain")
    router.route("/value/<name>")(lambda ws, name: ws.send(name))
    with serving(router) as server:
        assert exchange(server, plain("/value/7"))[2] == b"plain"
        with connect(f"{server.uri}value/7") as ws:
            assert ws.recv(SOON) == "7"
        assert status(exchange(server, build_request("/value/7", "POST"))) == 405
        # No handler takes the one, no function the other.
        assert status(exchange(server, plain("/value/x"))) == 426
        assert status(exchange(server, build_request("/value/7", Upgrade="h2c"))) == 200


def test_a_path_for_http_answers_whoever_asks():
    # RFC 9110 §7.8: a server may ignore Upgrade.
    with serving(http_router("plain")) as server:
        assert exchange(server, build_request("/value/7"))[2] == b"plain"


def test_plain_http_is_answered_when_the_server_is_full():
    router = http_router("plain")
    router.route("/")(lambda ws: ws.recv())
    with serving(router, max_connections=1) as server, connect(server.uri):
        assert exchange(server, plain("/value/7"))[2] == b"plain"
        assert status(exchange(server, build_request("/"))) == 503


# --- which pattern wins ---

PATTERNS = ["/a/b", "/a/<int:x>", "/a/<x>", "/a/<path:x>", "/<path:x>"]


@pytest.mark.parametrize("patterns", list(itertools.permutations(PATTERNS)))
def test_the_more_specific_pattern_wins_in_any_order(patterns):
    router = router_of(*patterns)
    assert found(router, "/a/b") == ("/a/b", {})
    assert found(router, "/a/12") == ("/a/<int:x>", {"x": 12})
    assert found(router, "/a/c") == ("/a/<x>", {"x": "c"})
    assert found(router, "/a/12/c") == ("/a/<path:x>", {"x": "12/c"})
    assert found(router, "/b/12") == ("/<path:x>", {"x": "b/12"})


def test_the_first_segment_that_differs_decides():
    router = router_of("/a/<path:x>", "/<x>/b/c", "/<int:x>/b")
    assert found(router, "/a/b/c") == ("/a/<path:x>", {"x": "b/c"})
    assert found(router, "/z/b/c") == ("/<x>/b/c", {"x": "z"})
    assert found(router, "/1/b/c") == ("/<x>/b/c", {"x": "1"})
    assert found(router, "/1/b") == ("/<int:x>/b", {"x": 1})
    assert found(router, "/z/b") is None


def test_dead_ends_leave_no_values_behind():
    router = router_of("/<int:x>/<int:y>/a", "/<x>/<int:y>/b", "/<path:x>")
    assert found(router, "/1/2/a") == ("/<int:x>/<int:y>/a", {"x": 1, "y": 2})
    assert found(router, "/1/2/b") == ("/<x>/<int:y>/b", {"x": "1", "y": 2})
    assert found(router, "/1/2/c") == ("/<path:x>", {"x": "1/2/c"})


@pytest.mark.parametrize(
    ("pattern", "path", "values"),
    [
        ("/", "/", {}),
        ("/", "/?a/b", {}),
        ("/a", "/a", {}),
        ("/a", "/%61", {}),
        ("/a", "/a/", None),
        ("/a/", "/a/", {}),
        ("/a/", "/a", None),
        ("/A", "/a", None),
        ("/é ü", "/%C3%A9%20%c3%bc", {}),
        ("/<x>", "/", None),
        ("/<x>", "/%C3%A9", {"x": "é"}),
        ("/<x>", "/a%2Fb", {"x": "a/b"}),
        ("/<x>", "/a%3Fb?c", {"x": "a?b"}),
        ("/<x>", "/a+b", {"x": "a+b"}),
        ("/<x>", "/%25zz", {"x": "%zz"}),
        ("/<x>", "/%zz", {"x": "%zz"}),
        ("/<x>", "/%00", {"x": "\0"}),
        ("/<x>", "/%FF", None),
        ("/<x>", "/%ED%A0%80", None),
        ("/<x>", "/a/b", None),
        ("/<x>", "/..", None),
        ("/<x>", "/%2e%2E", None),
        ("/<x>", "/...", {"x": "..."}),
        ("/<int:x>", "/0012", {"x": 12}),
        ("/<int:x>", "/%31", {"x": 1}),
        ("/<int:x>", f"/{'9' * 100}", {"x": 10**100 - 1}),
        ("/<int:x>", f"/{'9' * 101}", None),
        ("/<int:x>", f"/{'9' * 5000}", None),
        ("/<int:x>", "/-1", None),
        ("/<int:x>", "/+1", None),
        ("/<int:x>", "/1_0", None),
        ("/<int:x>", "/1.0", None),
        ("/<int:x>", "/%D9%A1", None),  # a digit, of another script
        ("/<int:x>", "/", None),
        ("/f/<path:x>", "/f/a", {"x": "a"}),
        ("/f/<path:x>", "/f/a//b/", {"x": "a//b/"}),
        ("/f/<path:x>", "/f/", None),
        ("/f/<path:x>", "/f", None),
        ("/f/<path:x>", "/f//etc/passwd", None),
        ("/f/<path:x>", "/f/a/../b", None),
        ("/f/<path:x>", "/f/%2e%2e/b", None),
        ("/f/<path:x>", "/f/a/.", None),
        ("/f/<path:x>", "/f/a%2Fb", {"x": "a/b"}),
        ("/f/<path:x>", "/f/a%2F..b%5Cc", {"x": "a/..b\\c"}),
        ("/f/<path:x>", "/f/100%25/%252F", None),
        ("/f/<path:x>", "/f/100%25", {"x": "100%"}),
        ("/f/<path:x>", "/f/%C3%A9%25ff", {"x": "\xe9%ff"}),
        ("/<x>/<int:y>/<path:z>", "/a/1/b/c", {"x": "a", "y": 1, "z": "b/c"}),
    ],
)
def test_a_path_is_split_and_then_decoded(pattern, path, values):
    expected = None if values is None else (pattern, values)
    assert found(router_of(pattern), path) == expected


LEADING_OUT = [
    "..",
    "%2e%2e",
    ".",
    "..%2f..%2fetc%2fpasswd",
    "..%2F..%2Fetc%2Fpasswd",
    "%2e%2e%2fetc%2fpasswd",
    "%2fetc%2fpasswd",
    "%2Fetc",
    "%2f",
    "a%2f..%2f..%2fb",
    "a%2f..",
    "a%2f.%2fb",
    "..%5c..%5cetc",
    "..\\..\\etc",
    "%5c%5chost%5cshare",
    "\\etc",
    "a%5c..",
    "..%252f..%252fetc",
    "%252e%252e",
    "%252fetc",
    "..%255cetc",
    "%255cetc",
]


@pytest.mark.parametrize("pattern", ["/f/<path:x>", "/f/<x>", "/f/<x>/<path:y>"])
@pytest.mark.parametrize("segment", LEADING_OUT)
def test_what_leads_out_of_a_directory_is_no_value(pattern, segment):
    router = router_of(pattern)
    assert found(router, f"/f/{segment}") is None
    assert found(router, f"/f/{segment}/x") is None
    if "path" in pattern:
        assert found(router, f"/f/x/{segment}") is None


@given(st.lists(st.sampled_from([".", "/", "\\", "%2e", "%2F", "%5c", "%25", "a"]), max_size=12))
def test_no_value_leads_out_of_a_directory(pieces):
    result = found(router_of("/f/<path:x>"), "/f/" + "".join(pieces))
    if result is None:
        return
    value = result[1]["x"]
    for reading in value, unquote(value):
        for flavour in posixpath, ntpath:
            joined = flavour.normpath(flavour.join("/srv/files", reading))
            assert joined.replace("\\", "/").startswith("/srv/files/"), value


# --- what can't be registered ---


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("", "start with '/'"),
        ("chat", "start with '/'"),
        ("/chat?x=1", "query"),
        ("/chat#x", "query and fragment"),
        ("/caf%C3%A9", "without percent-encoding"),
        ("/a//b", "empty segment"),
        ("/<path:x>/b", "only for the end"),
        ("/<x", "isn't a whole segment"),
        ("/x>", "isn't a whole segment"),
        ("/a<x>", "isn't a whole segment"),
        ("/<x><y>", "isn't a whole segment"),
        ("/<<x>>", "isn't a whole segment"),
        ("/<a:b:c>", "isn't a whole segment"),
        ("/<>", "'' can't be a parameter's name"),
        ("/<int:>", "'' can't be a parameter's name"),
        ("/<int: x>", "' x' can't be a parameter's name"),
        ("/<1>", "'1' can't be a parameter's name"),
        ("/<x-y>", "'x-y' can't be a parameter's name"),
        ("/<float:x>", "no converter 'float', only int, str, path"),
        ("/<:x>", "no converter ''"),
        ("/<x>/<int:x>", "it has 'x' twice"),
    ],
)
def test_a_malformed_pattern_is_refused(pattern, reason):
    for method in (Router().route, Router().http):
        with pytest.raises(ValueError, match=reason) as info:
            method(pattern)
        assert repr(pattern) in str(info.value)


def test_a_pattern_of_another_type_is_refused():
    with pytest.raises(TypeError, match="a pattern is a str, not <function"):
        Router().route(tell)


@pytest.mark.parametrize(
    ("first", "second"),
    [("/a", "/a"), ("/<x>", "/<str:y>"), ("/<int:x>/b", "/<int:y>/b"), ("/<path:x>", "/<path:y>")],
)
def test_the_same_pattern_twice_is_refused(first, second):
    router = Router()
    router.route(first)(tell)
    router.http(first)(lambda request, **values: "")
    with pytest.raises(ValueError, match="has a handler already: tell, registered for") as info:
        router.route(second)(tell)
    assert repr(first) in str(info.value)
    assert repr(second) in str(info.value)
    with pytest.raises(ValueError, match="has a function for HTTP already"):
        router.http(second)(tell)


def test_coroutine_functions_are_refused():
    async def chat(ws):
        pass

    with pytest.raises(TypeError, match="chat is a coroutine function; here a handler is"):
        Router().route("/")(chat)
    with pytest.raises(TypeError, match="here a function for HTTP is a plain function"):
        Router().http("/")(chat)
    with pytest.raises(TypeError, match="a handler is a function, not 1"):
        Router().route("/")(1)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda ws: None, "unexpected keyword argument 'room'"),
        (lambda ws, name: None, "'room'|'name'"),
        (lambda ws, room, more: None, "missing a required argument: 'more'"),
        (lambda room: None, "multiple values for argument 'room'"),
        (lambda: None, "too many positional|unexpected keyword"),
        (lambda ws, room, /: None, "'room'"),
    ],
)
def test_a_handler_that_does_not_take_the_names_is_refused(function, reason):
    with pytest.raises(TypeError, match=reason) as info:
        Router().route("/chat/<room>")(function)
    assert "<lambda> is for '/chat/<room>' and is called with one argument, room=" in str(
        info.value
    )


def test_what_can_not_be_known_is_accepted():
    assert Router().route("/<x>")(type) is type  # without a signature
    partial = functools.partial(tell, x=1)
    assert Router().route("/<x>")(partial) is partial


def test_what_was_refused_leaves_no_route_behind():
    router = Router()
    with pytest.raises(TypeError):
        router.route("/a")(lambda: None)
    router.route("/a")(functools.partial(tell_pattern, "/a"))
    assert found(router, "/a") == ("/a", {})
