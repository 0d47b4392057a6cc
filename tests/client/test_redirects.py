import contextlib
import socket
import threading
import traceback
from http.cookiejar import CookieJar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.certificates import contexts
from support.scripted import (
    build_response,
    failure,
    parse_head,
    read_all,
    read_head,
    scripted_server,
)
from support.serving import assert_works, echo, serving

from syncws import (
    ClientProtocol,
    Headers,
    InvalidHandshake,
    InvalidHeader,
    InvalidHeaderValue,
    InvalidStatus,
    InvalidURI,
    Response,
    SecurityError,
    connect,
    parse_uri,
    unix_connect,
    unix_serve,
)
from syncws.client.cookie_jar import add_cookies
from syncws.client.proxy import find_proxy
from syncws.client.redirects import Destination, Hop, next_hop

LATIN_1 = st.characters(max_codepoint=255)


def redirect_to(location, status=302, **headers):
    """A ``process_request`` that redirects, but for what is at ``/end``."""

    def process_request(ws, request):
        if request.path.startswith("/end"):
            return None
        fields = Headers({"Location": location, "Content-Length": "0", **headers})
        return Response(status, "Elsewhere", fields)

    return process_request


class Seen(list):
    """The requests that a server got, and its handler; it answers with the headers' names."""

    def __call__(self, ws, request):
        self.append(request)

    def paths(self):
        return [request.path for request in self]


@contextlib.contextmanager
def two_servers(status=302, path="/end"):
    """One that redirects to the other, which keeps its requests."""
    seen = Seen()
    with serving(process_request=seen, host="localhost") as target:
        location = f"http://localhost:{target.port}{path}"
        with serving(process_request=redirect_to(location, status), host="localhost") as first:
            yield first, target, seen


# --- where a redirect leads to ---


@pytest.mark.parametrize(
    ("base", "location", "uri"),
    [
        ("ws://a.example/x/y?q", "/z", "ws://a.example/z"),
        ("ws://a.example/x/y?q", "z", "ws://a.example/x/z"),
        ("ws://a.example/x/y?q", "../z?r", "ws://a.example/z?r"),
        ("ws://a.example/x/y?q", "?r", "ws://a.example/x/y?r"),
        ("ws://a.example/x/y?q", "", "ws://a.example/x/y?q"),
        ("ws://a.example/x", "//b.example/z", "ws://b.example/z"),
        ("wss://a.example/x", "//b.example/z", "wss://b.example/z"),
        ("ws://a.example", "z", "ws://a.example/z"),
        ("ws://a.example/", "http://b.example", "ws://b.example"),
        ("ws://a.example/", "https://b.example/z", "wss://b.example/z"),
        ("ws://a.example/", "HTTP://b.example/z", "ws://b.example/z"),
        ("ws://a.example/", "ws://b.example:81/z", "ws://b.example:81/z"),
        ("wss://a.example/", "https://a.example:444/z", "wss://a.example:444/z"),
        ("ws://a.example/", "/z#fragment", "ws://a.example/z"),
        ("ws://a.example/", "/caf\u00c3\u00a9 1", "ws://a.example/caf%C3%A9%201"),
        ("ws://a.example/", "/%41%zz", "ws://a.example/%41%zz"),
        ("ws://[::1]:80/x", "z", "ws://[::1]/z"),
        ("ws://u:p@a.example/x", "z", "ws://u:p@a.example/z"),
        ("ws://u:p@a.example/x", "http://a.example/z", "ws://u:p@a.example/z"),
        ("ws://u:p@a.example/x", "http://v:q@a.example/z", "ws://v:q@a.example/z"),
        ("ws://u:p@a.example/x", "http://b.example/z", "ws://b.example/z"),
        ("ws://u:p@a.example/x", "https://a.example/z", "wss://a.example/z"),
        ("ws://u:p@a.example/x", "http://a.example:81/z", "ws://a.example:81/z"),
    ],
)
def test_locations_are_resolved(base, location, uri):
    hop = next_hop(Hop(parse_uri(base)), Response(302, "", Headers({"Location": location})))
    assert hop.uri == parse_uri(uri)


@pytest.mark.parametrize(
    "location", ["ftp://b.example/", "http://b.example:0/", "mailto:you", "http://b c/"]
)
def test_a_location_that_is_no_uri_is_an_error(location):
    with pytest.raises(InvalidHeaderValue, match="Location") as info:
        next_hop(Hop(parse_uri("ws://a/")), Response(302, "", Headers({"Location": location})))
    assert isinstance(info.value.__cause__, InvalidURI)


@pytest.mark.parametrize(
    "location",
    [
        "ws://[::1",
        "ws://::1]/",
        "//[",
        "http://[v1.x]/",
        "http://[::1]x/",
        "http://a.example\u2100/",
        "http://a.example]/",
        "//a.example:x/",
        "http://\xff/",
        "http://%00/",
        "ws://a:b/c@d/",
    ],
)
def test_a_location_that_can_not_be_split_is_an_error(location):
    location = location.encode().decode("latin-1")
    with pytest.raises(InvalidHeaderValue, match="Location"):
        next_hop(Hop(parse_uri("ws://a/")), Response(302, "", Headers({"Location": location})))


PARTS = [
    "ws",
    "http",
    "s",
    ":",
    "/",
    "//",
    "@",
    "[",
    "]",
    "::1",
    "%",
    "%5b",
    "a.example",
    "..",
    "?",
]


@settings(max_examples=300)
@given(
    st.sampled_from(["ws://a.example/x", "wss://u:p@[::1]:8080/x?y", "ws://[fe80::1%25eth0]/"]),
    st.sampled_from(["", "//", "ws://", "http://"]),
    st.lists(st.one_of(st.sampled_from(PARTS), st.text(LATIN_1, max_size=3)), max_size=4),
)
def test_any_location_leads_somewhere_or_is_a_documented_error(base, start, parts):
    location = start + "".join(parts)
    try:
        response = Response(302, "", Headers.from_parsed([("Location", location)]))
        hop = next_hop(Hop(parse_uri(base)), response)
    except InvalidHandshake:
        return
    ClientProtocol(hop.uri).connect().serialize()
    add_cookies(CookieJar(), hop.uri, Headers())
    assert find_proxy(True, hop.uri.host, hop.uri.port, secure=hop.uri.secure) is None


def test_a_location_that_can_not_be_split_ends_connecting_with_a_documented_error():
    with (
        serving(process_request=redirect_to("ws://[::1")) as server,
        pytest.raises(InvalidHeaderValue, match="Location"),
    ):
        connect(server.uri)


def test_credentials_in_a_location_are_not_shown():
    headers = Headers({"Location": "http://user:secret@b.example:0/"})
    with pytest.raises(InvalidHeaderValue) as info:
        next_hop(Hop(parse_uri("ws://a/")), Response(302, "", headers))
    assert "secret" not in "".join(traceback.format_exception(None, info.value, None))


def test_once_redirected_away_the_way_back_is_not_the_origin():
    hop = Hop(parse_uri("ws://a.example/"))
    for location, is_origin in [
        ("/x", True),
        ("http://b.example/", False),
        ("http://a.example/", False),
    ]:
        hop = next_hop(hop, Response(302, "", Headers({"Location": location})))
        assert hop.is_origin is is_origin


# --- following ---


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(status):
    with serving(process_request=redirect_to("/end", status)) as server:
        ws = connect(server.uri)
        assert ws.path == "/end"
        assert_works(ws)


@pytest.mark.parametrize("status", [300, 304, 305, 306])
def test_other_statuses_are_not_redirects(status):
    with (
        serving(process_request=redirect_to("/end", status)) as server,
        failure(InvalidStatus, str(status)),
    ):
        connect(server.uri)


def test_a_redirect_may_lead_to_another_server():
    with two_servers() as (first, target, seen):
        ws = connect(first.uri)
        assert ws.remote_address[1] == target.port
        assert_works(ws)
    assert seen[0].headers["Host"] == f"localhost:{target.port}"


def test_a_redirect_may_lead_to_tls():
    server_tls, client_tls = contexts()
    with serving(ssl=server_tls, host="localhost") as target:
        location = f"wss://localhost:{target.port}/end"
        with serving(ssl=server_tls, process_request=redirect_to(location)) as server:
            assert_works(connect(server.uri, ssl=client_tls))


def test_a_redirect_never_leads_out_of_tls():
    server_tls, client_tls = contexts()
    seen = Seen()
    with serving(process_request=seen) as target:
        location = f"http://user:secret@127.0.0.1:{target.port}/end"
        with (
            serving(ssl=server_tls, process_request=redirect_to(location)) as server,
            failure(SecurityError, "redirect from wss:// to ws://127") as info,
        ):
            connect(server.uri, ssl=client_tls)
    assert isinstance(info.value.__cause__, InvalidStatus)
    assert "secret" not in str(info.value)
    assert seen == []


def test_a_loop_ends():
    seen = Seen()

    def loop(ws, request):
        seen(ws, request)
        return redirect_to("/again")(ws, request)

    with serving(process_request=loop) as server:
        with failure(SecurityError, "more than 10 redirects") as info:
            connect(server.uri)
        assert seen.paths() == ["/"] + ["/again"] * 10
        assert info.value.__cause__.response.status_code == 302
        seen.clear()
        with failure(SecurityError, "more than 3 redirects"):
            connect(server.uri, max_redirects=3)
        assert len(seen) == 4


def test_as_many_redirects_are_followed_as_may_be():
    def count_down(ws, request):
        number = int(request.path[1:])
        return redirect_to(f"/{number - 1}")(ws, request) if number else None

    with serving(process_request=count_down) as server:
        assert_works(connect(f"{server.uri}10"))
        assert_works(connect(f"{server.uri}3", max_redirects=3))
        with failure(SecurityError):
            connect(f"{server.uri}4", max_redirects=3)


def test_redirects_may_be_not_followed_at_all():
    with (
        serving(process_request=redirect_to("/end")) as server,
        failure(InvalidStatus, "302") as info,
    ):
        connect(server.uri, max_redirects=0)
    assert info.value.response.headers["Location"] == "/end"


def test_a_negative_number_of_redirects_is_refused():
    with pytest.raises(ValueError, match="max_redirects can't be negative, got -1"):
        connect("ws://localhost/", max_redirects=-1)


@pytest.mark.parametrize("location", [{}, {"Location": ""}])
def test_a_redirect_to_nowhere_is_a_refusal(location):
    def process_request(ws, request):
        return Response(302, "Found", Headers({"Content-Length": "0", **location}))

    with serving(process_request=process_request) as server, failure(InvalidStatus, "302"):
        connect(server.uri)


def test_two_locations_are_an_error():
    def process_request(ws, request):
        headers = Headers([("Location", "/a"), ("Location", "/b"), ("Content-Length", "0")])
        return Response(302, "Found", headers)

    with (
        serving(process_request=process_request) as server,
        failure(InvalidHeader, "Location") as info,
    ):
        connect(server.uri)
    assert isinstance(info.value.__cause__, InvalidStatus)


def test_open_timeout_is_for_all_redirects_together():
    """Each server takes less than the timeout, the chain takes more."""
    clock = threading.Event()

    def slow(ws, request):
        clock.wait(0.06)
        return redirect_to("/again")(ws, request)

    with serving(process_request=slow) as server, failure(TimeoutError):
        connect(server.uri, open_timeout=0.2, max_redirects=100)


# --- what the other server is told ---

PRIVATE = {
    "Authorization": "Bearer token",
    "Cookie": "a=1",
    "Host": "virtual.example",
    "Proxy-Authorization": "Basic dXNlcjpzZWNyZXQ=",
    "X-Api-Key": "secret",
    "X-Whatever": "secret",
}
HARMLESS = {"Accept-Language": "de", "User-Agent": "mine", "Origin": "http://page.example"}


def test_headers_for_the_first_server_are_not_sent_to_another():
    with two_servers() as (first, target, seen):
        assert_works(connect(first.uri, additional_headers=PRIVATE))
    headers = seen[0].headers
    assert headers.pop("Host") == f"localhost:{target.port}"
    assert not set(headers) & {name.lower() for name in PRIVATE}
    assert "secret" not in str(headers)


def test_harmless_headers_are_sent_wherever_redirects_lead():
    with two_servers() as (first, target, seen):
        headers = {**HARMLESS, "Origin": f"http://localhost:{target.port}"}
        assert_works(connect(first.uri, additional_headers=headers))
    for name, value in headers.items():
        assert seen[0].headers[name] == value


def test_programs_say_which_headers_are_for_other_servers_too():
    allowed = ["x-api-key", "Authorization"]
    with two_servers() as (first, target, seen):
        assert_works(connect(first.uri, additional_headers=PRIVATE, redirect_headers=allowed))
    headers = seen[0].headers
    assert headers["X-Api-Key"] == "secret"
    assert headers["Authorization"] == "Bearer token"
    assert headers["Host"] == f"localhost:{target.port}"
    assert "X-Whatever" not in headers


@pytest.mark.parametrize(
    ("names", "error"),
    [
        ("X-Api-Key", TypeError),
        (b"X-Api-Key", TypeError),
        ([1], TypeError),
        (["X Api"], ValueError),
        ([""], ValueError),
        (["host"], ValueError),
    ],
)
def test_names_of_headers_for_other_servers_are_checked(names, error):
    with pytest.raises(error):
        connect("ws://127.0.0.1:9/", redirect_headers=names)


def test_subprotocols_are_offered_to_no_other_server():
    with (
        two_servers() as (first, _, seen),
        pytest.raises(SecurityError, match="subprotocols may have tokens") as info,
    ):
        connect(first.uri, subprotocols=["chat", "secret-token"])
    assert seen == []
    assert "secret" not in str(info.value)
    assert isinstance(info.value.__cause__, InvalidStatus)


def test_subprotocols_are_offered_to_other_servers_if_the_program_says_so():
    with two_servers() as (first, _, seen):
        allowed = ["Sec-WebSocket-Protocol"]
        connect(first.uri, subprotocols=["chat"], redirect_headers=allowed).close()
    assert seen[0].headers["Sec-WebSocket-Protocol"] == "chat"


def test_subprotocols_are_offered_again_to_the_same_server():
    with (
        serving(process_request=redirect_to("/end"), subprotocols=["chat"]) as server,
        connect(server.uri, subprotocols=["chat"]) as ws,
    ):
        assert ws.subprotocol == "chat"


@pytest.mark.parametrize(
    ("base", "locations", "expected"),
    [
        ("ws://a.example/", ["https://a.example/"], True),
        ("ws://a.example/", ["/x", "https://a.example/y", "/z"], True),
        ("ws://a.example/", ["https://www.a.example/"], False),
        ("ws://a.example/", ["https://a.example:444/"], False),
        ("ws://a.example:81/", ["https://a.example/"], False),
        ("ws://a.example/", ["http://b.example/", "http://a.example/"], False),
        ("wss://a.example/", ["https://a.example:444/"], False),
    ],
)
def test_subprotocols_may_go_on_to_tls_on_the_same_host(base, locations, expected):
    hop = Hop(parse_uri(base))
    for location in locations:
        hop = next_hop(hop, Response(302, "", Headers({"Location": location})))
    assert hop.gets_subprotocols is expected


def test_credentials_of_the_uri_are_not_sent_to_another():
    with two_servers() as (first, _, seen):
        assert_works(connect(first.uri.replace("://", "://user:secret@")))
    assert "Authorization" not in seen[0].headers


def test_the_same_server_gets_them_again():
    seen = Seen()

    def process_request(ws, request):
        seen(ws, request)
        return redirect_to("/end")(ws, request)

    with serving(process_request=process_request) as server:
        assert_works(connect(server.uri, additional_headers=PRIVATE))
        for request in seen:
            for name, value in PRIVATE.items():
                assert request.headers[name] == value
        seen.clear()
        assert_works(connect(server.uri.replace("://", "://user:secret@")))
        assert [request.headers["Authorization"] for request in seen] == 2 * [
            "Basic dXNlcjpzZWNyZXQ="
        ]


def test_a_function_for_headers_is_called_for_each_request():
    tokens = iter("abc")
    seen = Seen()

    def process_request(ws, request):
        seen(ws, request)
        return redirect_to("/end")(ws, request)

    with serving(process_request=process_request) as server:
        assert_works(
            connect(server.uri, additional_headers=lambda: {"Authorization": next(tokens)})
        )
    assert [request.headers["Authorization"] for request in seen] == ["a", "b"]


def test_the_server_name_that_is_checked_is_not_for_another_server():
    server_tls, client_tls = contexts()
    with serving(ssl=server_tls, host="localhost") as target:
        location = f"https://127.0.0.1:{target.port}/end"
        with serving(ssl=server_tls, process_request=redirect_to(location)) as server:
            ws = connect(server.uri, ssl=client_tls, server_hostname="localhost")
            assert ws._transport.ssl_object.server_hostname == "127.0.0.1"
            assert_works(ws)


# --- what is tied to one server ---


def test_host_and_port_hold_for_redirects_to_the_same_server():
    with serving(process_request=redirect_to("/end")) as server:
        assert_works(connect("ws://server.example/", host="127.0.0.1", port=server.port))


@pytest.mark.parametrize("keyword", ["host", "port"])
def test_host_and_port_are_not_for_another_server(keyword):
    with serving(process_request=redirect_to("http://other.example/")) as server:
        uri = server.uri if keyword == "host" else "ws://127.0.0.1/"
        value = "127.0.0.1" if keyword == "host" else server.port
        reason = f"redirect to ws://other.example/ refused: {keyword}= is for another server"
        with failure(SecurityError, reason) as info:
            connect(uri, **{keyword: value})
        assert isinstance(info.value.__cause__, InvalidStatus)


def test_a_unix_socket_is_connected_to_again_for_its_own_redirects(tmp_path):
    with unix_serve(echo, tmp_path / "ws", process_request=redirect_to("/end")):
        assert_works(unix_connect(tmp_path / "ws"))
    with (
        unix_serve(echo, tmp_path / "ws", process_request=redirect_to("http://other.example/")),
        failure(SecurityError, "the Unix socket is for another server"),
    ):
        unix_connect(tmp_path / "ws")


def test_with_a_connected_socket_redirects_are_not_followed():
    with serving(process_request=redirect_to("/end")) as server:
        sock = socket.create_connection(("127.0.0.1", server.port))
        with pytest.raises(InvalidStatus, match="302"):
            connect(server.uri, sock=sock)
        assert sock.fileno() == -1


# --- where the next attempt begins ---


@pytest.mark.parametrize(
    ("statuses", "path"),
    [
        ([302], "/0"),
        ([303], "/0"),
        ([307], "/0"),
        ([301], "/1"),
        ([308], "/1"),
        ([301, 308], "/2"),
        ([301, 302], "/1"),
        ([302, 301], "/0"),
        ([308, 307, 308], "/1"),
    ],
)
def test_permanent_redirects_move_the_destination(statuses, path):
    def process_request(ws, request):
        index = int(request.path[1:])
        if index == len(statuses):
            return None
        return redirect_to(f"/{index + 1}", statuses[index])(ws, request)

    with serving(process_request=process_request) as server:
        destination = Destination(f"{server.uri}0")
        assert_works(connect(destination))
    assert destination.first.uri.path == path


def test_a_destination_that_has_moved_away_gets_no_credentials_any_more():
    with two_servers(status=301) as (first, _, seen):
        destination = Destination(first.uri.replace("://", "://user:secret@"))
        for _ in range(2):
            assert_works(connect(destination, additional_headers=PRIVATE))
    assert len(seen) == 2
    for request in seen:
        assert "Authorization" not in request.headers
        assert "Cookie" not in request.headers


# --- bodies ---


def test_the_body_of_a_redirect_is_not_mistaken_for_anything():
    def script(sock):
        request = read_head(sock)
        if parse_head(request)[0].split(" ")[1] == "/end":
            sock.sendall(build_response(request))
        else:
            sock.sendall(b"HTTP/1.1 302 Found\r\nLocation: /end\r\nContent-Length: 5\r\n\r\n12345")
        read_all(sock)

    with scripted_server(script) as server:
        connect(server.uri, close_timeout=0).close()
