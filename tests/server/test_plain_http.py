"""Plain HTTP on the server's port: older versions, other methods, bodies."""

import json
import urllib.request

import pytest
from support.certificates import client_context, server_context
from support.pairs import wait_until
from support.scripted import parse_head, raw_client, read_all, read_head
from support.serving import assert_works, serving

from syncws import Router, connect, serve


def ask(server, data):
    """What a server answers, to the end: status, headers, body."""
    with raw_client(server) as sock:
        sock.sendall(data)
        first, headers, body = parse_head(read_all(sock))
    return int(first.split()[1]), headers, body


def post(body=b"hello", *lines, path="/", method="POST", version="HTTP/1.1"):
    head = [f"{method} {path} {version}", "Host: localhost", f"Content-Length: {len(body)}", *lines]
    return "\r\n".join([*head, "", ""]).encode() + body


def tell(ws, request):
    """Answer with what came; None to what wants a WebSocket."""
    if "Upgrade" in request.headers:
        return None
    return ws.respond(200, json.dumps([request.method, request.protocol, request.body.decode()]))


@pytest.mark.parametrize("host", ["", "Host: localhost\r\n"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_health_can_be_asked_by_older_http(host, method):
    router = Router()
    router.http("/health")(lambda request: "fine")
    with serving(router) as server:
        status, headers, body = ask(server, f"{method} /health HTTP/1.0\r\n{host}\r\n".encode())
        assert (status, headers["connection"], headers["content-length"]) == (200, "close", "4")
        assert body == (b"fine" if method == "GET" else b"")


def test_older_http_without_a_host_is_refused_where_hosts_matter():
    with serving(process_request=tell, hosts=["localhost"]) as server:
        assert ask(server, b"GET / HTTP/1.0\r\n\r\n")[0] == 400
        assert ask(server, b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")[0] == 200
        assert ask(server, b"GET / HTTP/1.0\r\nHost: other\r\n\r\n")[0] == 421


@pytest.mark.parametrize("secure", [False, True])
def test_bodies_reach_process_request(secure):
    context = server_context() if secure else None
    with serving(process_request=tell, ssl=context) as server:
        url = server.uri.replace("ws", "http", 1)
        trusted = client_context() if secure else None
        with urllib.request.urlopen(url, data=b"a=1&b=2", context=trusted) as answer:
            assert json.load(answer) == ["POST", "HTTP/1.1", "a=1&b=2"]
        assert_works(connect(server.uri, ssl=trusted))


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "GET"])
def test_any_method_may_have_a_body(version, method):
    with serving(process_request=tell) as server:
        _, _, body = ask(server, post(method=method, version=version))
    assert json.loads(body) == [method, version, "hello"]


def test_bodies_may_be_chunked():
    data = post().replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")[:-5]
    with serving(process_request=tell) as server:
        _, _, body = ask(server, data + b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n")
    assert json.loads(body)[2] == "hello"


def test_a_client_that_waits_for_leave_to_send_gets_it():
    with serving(process_request=tell) as server, raw_client(server) as sock:
        sock.sendall(post(b"hello", "Expect: 100-continue")[:-5])
        assert read_head(sock) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"hello")
        assert json.loads(parse_head(read_all(sock))[2])[2] == "hello"


@pytest.mark.parametrize(("limit", "status"), [(4, 413), (0, 413), (5, 200), (None, 200)])
def test_bodies_have_a_limit(limit, status):
    with serving(process_request=tell, max_body_size=limit) as server:
        assert ask(server, post())[0] == status


def test_a_body_that_does_not_come_is_waited_for_as_long_as_the_rest():
    with serving(process_request=tell, open_timeout=0.2) as server:
        with raw_client(server) as sock:
            sock.sendall(post()[:-1])
            assert read_all(sock) == b""
        wait_until(lambda: server.stats().refusals)  # counted after the client is gone
        assert server.stats().refusals == {"timeout": 1}


def test_nobody_answers_a_body_where_no_one_is_there_to():
    with serving() as server:
        assert ask(server, post())[0] == 405
        assert ask(server, post(method="GET"))[0] == 400
        assert ask(server, b"GET / HTTP/1.0\r\n\r\n")[0] == 505


def test_a_router_says_which_methods_it_answers():
    router = Router()

    @router.http("/form", methods=["post", "PUT"])
    def form(request):
        return f"{request.method} {request.body.decode()}"

    @router.http("/page")
    def page(request):
        return request.body

    with serving(router) as server:
        assert ask(server, post(path="/form"))[2] == b"POST hello"
        assert ask(server, post(path="/form", method="PUT"))[2] == b"PUT hello"
        status, headers, _ = ask(server, post(path="/form", method="GET"))
        assert (status, headers["allow"]) == (405, "POST, PUT")
        status, headers, _ = ask(server, post(path="/page"))
        assert (status, headers["allow"]) == (405, "GET, HEAD")
        assert ask(server, post(path="/page", method="GET"))[2] == b"hello"


@pytest.mark.parametrize(
    ("methods", "error"), [("POST", TypeError), ([], ValueError), (["A B"], ValueError)]
)
def test_methods_that_are_none_are_refused(methods, error):
    with pytest.raises(error, match="method"):
        Router().http("/", methods=methods)


def test_a_full_server_reads_bodies_too():
    data = post()
    options = {"process_request": tell, "max_connections": 1}
    with serving(**options) as server, connect(server.uri), raw_client(server) as sock:
        sock.sendall(data[:-5])
        sock.sendall(data[-5:])
        assert json.loads(parse_head(read_all(sock))[2])[2] == "hello"


def test_the_limit_is_not_negative():
    with pytest.raises(ValueError, match="max_body_size can't be negative"):
        serve(print, "127.0.0.1", max_body_size=-1)
