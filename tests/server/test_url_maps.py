import pytest
from support.asking import status
from support.pairs import SOON
from support.scripted import build_request, exchange
from support.serving import messages, serving

from syncws import InvalidStatus, connect, serve

routing = pytest.importorskip("werkzeug.routing", reason="werkzeug is not installed")
Map, Rule = routing.Map, routing.Rule


def chat(ws, room):
    ws.send(f"{room!r} on {ws.requested_host.partition(':')[0]}")


def always(ws):
    ws.send("always")


def fail(self, value):
    raise ZeroDivisionError("a defect of the program")


class Failing(routing.BaseConverter):
    to_python = fail


URLS = Map(
    [
        Rule("/", endpoint=always),
        Rule("/chat/<int:room>", endpoint=chat),
        Rule("/chat/<room>/", endpoint=chat),
        Rule("/latest", endpoint=chat, defaults={"room": 0}),
        Rule("/old/<room>", redirect_to="/chat/<room>"),
        Rule("/both", endpoint=lambda ws: ws.send("http")),
        Rule("/both", endpoint=lambda ws: ws.send("websocket"), websocket=True),
        Rule("/post", endpoint=always, methods=["POST"]),
        Rule("/built/<other>", endpoint="a name", build_only=True),
        Rule("/failing/<failing:x>", endpoint=lambda ws, x: None),
    ],
    converters={"failing": Failing},
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", "always"),
        ("chat/007", "7 on 127.0.0.1"),
        ("chat/a%20%C3%A9/", "'a é' on 127.0.0.1"),
        ("latest?a=b", "0 on 127.0.0.1"),
        ("both", "websocket"),
    ],
)
def test_endpoints_of_a_map_are_handlers(path, expected):
    with serving(URLS) as server, connect(f"{server.uri}{path}") as ws:
        assert ws.recv(SOON) == expected


@pytest.mark.parametrize("path", ["/nowhere", "/chat/", "/%ff", "/built/x"])
def test_other_paths_are_not_found(path):
    with serving(URLS) as server:
        assert status(exchange(server, build_request(path))) == 404
        assert status(exchange(server, build_request(path, Upgrade=None))) == 404


@pytest.mark.parametrize("merge_slashes", [True, False])
@pytest.mark.parametrize(
    "path",
    [
        "..%2f..%2fetc%2fpasswd",
        "%2fetc%2fpasswd",
        "../x",
        "a/../../x",
        "..%5cx",
        "%5cx",
        "..%252fx",
        "a/%2e%2e",
    ],
)
def test_a_path_that_leads_out_of_a_directory_is_not_found(path, merge_slashes):
    rules = [Rule("/files/<path:room>", endpoint=chat), Rule("/f/<room>", endpoint=chat)]
    with serving(Map(rules, merge_slashes=merge_slashes)) as server:
        for target in f"/files/{path}", f"/f/{path}":
            assert status(exchange(server, build_request(target))) == 404
        assert status(exchange(server, build_request("/files/a%2Fb/c"))) == 101


@pytest.mark.parametrize(
    "host", ["evil.example/x?", "me@evil.example", "a b", 'a"><script>', "a\x9b", "a:b", "[::1"]
)
def test_a_host_that_is_none_gets_into_no_redirect(host):
    with serving(URLS) as server:
        for upgrade in "websocket", None:
            answer = exchange(server, build_request("/chat/a", Host=host, Upgrade=upgrade))
            assert status(answer) == 400
            assert "location" not in answer[1]


def test_redirects_of_a_map_are_answered():
    with serving(URLS) as server:
        host = f"127.0.0.1:{server.port}"
        first, headers, _ = exchange(server, build_request("/chat/a?b=c", Host=host))
        assert first == "HTTP/1.1 308 Permanent Redirect"
        assert headers["location"] == f"ws://{host}/chat/a/?b=c"
        answer = exchange(server, build_request("/old/7", Host=host, Upgrade=None))
        assert answer[1]["location"] == f"http://{host}/chat/7"
        with connect(f"{server.uri}old/7") as ws:
            assert ws.recv(SOON) == "7 on 127.0.0.1"


def test_redirects_keep_to_tls_and_to_the_host_that_the_client_sees():
    with serving(URLS, trusted_proxies=["127.0.0.1"]) as server:
        forwarded = "for=203.0.113.9;proto=https;host=public.example"
        answer = exchange(server, build_request("/chat/a", Forwarded=forwarded))
    assert answer[1]["location"] == "wss://public.example/chat/a/"


def test_a_wrong_method_is_told_the_right_one():
    with serving(URLS) as server:
        answer = exchange(server, build_request("/post"))
        assert status(answer) == 405
        assert answer[1]["allow"] == "POST"
        assert status(exchange(server, build_request("/", "PUT"))) == 405


def test_a_map_may_look_at_the_host():
    urls = Map([Rule("/", endpoint=always, host="a.example")], host_matching=True)
    with serving(urls) as server:
        assert status(exchange(server, build_request(Host="a.example"))) == 101
        assert status(exchange(server, build_request(Host="b.example"))) == 404
        assert status(exchange(server, build_request(Host="a..example"))) in (400, 404)


def test_a_defect_of_a_converter_is_500_and_logged(caplog):
    with serving(URLS) as server, pytest.raises(InvalidStatus) as info:
        connect(f"{server.uri}failing/x")
    assert info.value.response.status_code == 500
    assert messages(caplog, "ERROR") == ["opening handshake failed"]


async def coroutine(ws):
    pass


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        ("a name", "the endpoint of '/<room>' is a function, not 'a name'"),
        (coroutine, "coroutine is a coroutine function"),
        (always, "always is for '/<room>' and is called with one argument, room=: "),
    ],
)
def test_an_endpoint_that_is_no_handler_is_refused(endpoint, reason):
    with pytest.raises(TypeError, match=reason):
        serve(Map([Rule("/<room>", endpoint=endpoint)]))


def test_what_is_no_map_is_no_handler():
    with pytest.raises(TypeError, match="a handler is a function"):
        serve(object())
