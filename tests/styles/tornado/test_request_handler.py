"""RequestHandler: pages beside the sockets, and what a handler can ask of its request."""

import datetime
import json
import time
from email.utils import parsedate_to_datetime
from http.cookies import CookieError

import pytest
from support.handlers import listening
from support.pairs import SOON
from support.scripted import build_request, exchange

from syncws.styles import Application, Finish, HTTPError, RequestHandler


def get(handler, path="/", *, method="GET", pattern="/.*", settings=None, **headers):
    """The answer of a handler: status line, headers, body."""
    request = build_request(path, method, Upgrade=None, Connection=None, **headers)
    with listening(Application([(pattern, handler)], **(settings or {}))) as server:
        first, fields, body = exchange(server, request)
    return first.split(" ", 1)[1], fields, body


def page(function, **methods):
    return type("Page", (RequestHandler,), {"get": function, **methods})


# --- answering ---


def test_writing():
    def answer(self):
        self.write("<p>k\u00fcche")
        self.write(b"</p>")

    status, headers, body = get(page(answer))
    assert (status, body.decode()) == ("200 OK", "<p>k\u00fcche</p>")
    assert headers["content-type"] == "text/html; charset=UTF-8"
    assert headers["content-length"] == str(len(body))
    assert headers["connection"] == "close"


def test_a_dict_is_json():
    _, headers, body = get(page(lambda self: self.write({"a": [1]})))
    assert json.loads(body) == {"a": [1]}
    assert headers["content-type"] == "application/json; charset=UTF-8"


def test_groups_are_arguments():
    handler = page(lambda self, name: self.write(name))
    assert get(handler, "/hello/k%C3%BCche", pattern="/hello/(.*)")[2].decode() == "k\u00fcche"


def test_headers_and_status():
    def answer(self):
        self.set_status(418)
        self.set_header("X-One", "1")
        self.set_header("X-One", 2)
        self.add_header("X-Two", b"a")
        self.add_header("X-Two", "b")
        self.set_header("X-Gone", "x")
        self.clear_header("X-Gone")
        self.clear_header("X-Gone")
        self.set_header(
            "Last-Modified", datetime.datetime(2024, 1, 2, tzinfo=datetime.timezone.utc)
        )
        self.finish(str(self.get_status()))

    status, headers, body = get(page(answer))
    assert (status, body) == ("418 I'm a Teapot", b"418")
    assert (headers["x-one"], headers["x-two"]) == ("2", "a, b")
    assert "x-gone" not in headers
    assert headers["last-modified"] == "Tue, 02 Jan 2024 00:00:00 GMT"


def test_a_reason_of_ones_own():
    assert get(page(lambda self: self.set_status(499, "Gone Fishing")))[0] == "499 Gone Fishing"
    assert get(page(lambda self: self.set_status(499)))[0] == "499 Unknown"


@pytest.mark.parametrize("status", [204, 304])
def test_answers_that_have_no_body(status):
    def answer(self):
        self.set_status(status)
        self.write("x")

    assert get(page(answer))[2] == b""


def test_head():
    def head(self):
        self.set_header("X-Here", "yes")

    handler = page(lambda self: self.write("body"), head=head)
    status, headers, body = get(handler, method="HEAD")
    assert (status, headers["x-here"], body) == ("200 OK", "yes", b"")


@pytest.mark.parametrize(
    ("handler", "method", "allow"),
    [
        (page(lambda self: None), "HEAD", "GET"),
        (page(lambda self: None), "POST", "GET"),
        (page(lambda self: None, head=lambda self: None), "PUT", "GET, HEAD"),
        (RequestHandler, "GET", ""),
    ],
)
def test_methods_that_are_not_there(handler, method, allow):
    status, headers, _ = get(handler, method=method)
    assert status == "405 Method Not Allowed"
    assert headers["allow"].strip() == allow


@pytest.mark.parametrize(
    ("kwargs", "status"),
    [({}, "302 Found"), ({"permanent": True}, "301 Moved Permanently"), ({"status": 303}, "303")],
)
def test_redirect(kwargs, status):
    first, headers, _ = get(page(lambda self: self.redirect("/there", **kwargs)))
    assert first.startswith(status)
    assert headers["location"] == "/there"


def test_redirect_out_of_ascii():
    _, headers, _ = get(page(lambda self: self.redirect("/k\u00fcche/\u20ac")))
    assert headers["location"].encode("latin-1").decode() == "/k\u00fcche/\u20ac"


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone can't be set")
def test_times_without_a_zone_are_in_utc(monkeypatch):
    monkeypatch.setenv("TZ", "JST-9")
    time.tzset()
    try:
        when = datetime.datetime(2024, 1, 2)
        _, headers, _ = get(page(lambda self: self.set_header("Last-Modified", when)))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert headers["last-modified"] == "Tue, 02 Jan 2024 00:00:00 GMT"


@pytest.mark.parametrize("status", [100, 101, 99, 1000])
def test_a_status_that_isnt_an_answers(status, caplog):
    """Sent by itself, 101 would open what is no WebSocket."""
    assert get(page(lambda self: self.set_status(status)))[0] == "500 Internal Server Error"
    assert f"{status} isn't the status of an answer" in caplog.text


def test_cookies():
    def answer(self):
        self.write({name: morsel.value for name, morsel in self.cookies.items()})
        self.set_cookie("seen", "1", path="/x", secure=True)

    cookie = 'a=1; b="two; words"; bad name=3; c={"x":1}; =4; d=caf\xe9; e'
    _, headers, body = get(page(answer), Cookie=cookie)
    cookies = json.loads(body)
    assert (cookies["a"], cookies["c"]) == ("1", '{"x":1}')
    assert "bad name" not in cookies
    assert headers["set-cookie"] == "seen=1; Path=/x; Secure"


@pytest.mark.parametrize(
    ("args", "kwargs", "cookie"),
    [
        ((b"1", "example.com"), {}, "seen=1; Domain=example.com; Path=/"),
        (("1", None, 0), {}, "seen=1; expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/"),
        (
            ("1",),
            {"expires": datetime.datetime(2024, 1, 2)},
            "seen=1; expires=Tue, 02 Jan 2024 00:00:00 GMT; Path=/",
        ),
        (("1",), {"max_age": 0, "httponly": True}, "seen=1; HttpOnly; Max-Age=0; Path=/"),
        (("a; Path=/b",), {"path": None}, 'seen="a\\073 Path=/b"'),
    ],
)
def test_set_cookie(args, kwargs, cookie):
    handler = page(lambda self: self.set_cookie("seen", *args, **kwargs))
    assert get(handler)[1]["set-cookie"] == cookie


def test_days_of_a_cookie():
    _, headers, _ = get(page(lambda self: self.set_cookie("seen", "1", expires_days=2)))
    expires = headers["set-cookie"].partition("expires=")[2].partition(";")[0]
    seconds = parsedate_to_datetime(expires).timestamp() - time.time()
    assert 2 * 86400 - SOON < seconds <= 2 * 86400


def test_clear_cookie():
    _, headers, _ = get(page(lambda self: self.clear_cookie("seen", domain="example.com")))
    assert headers["set-cookie"] == (
        'seen=""; Domain=example.com; expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/'
    )


@pytest.mark.parametrize(
    "attributes",
    [
        {"path": "/; Domain=example.com"},
        {"domain": "x\r\nA: b"},
        {"samesite": "Lax;"},
        {"color": 1},
    ],
)
def test_cookies_that_cant_be_sent(attributes):
    def answer(self):
        with pytest.raises(CookieError):
            self.set_cookie("seen", "1", **attributes)

    status, headers, _ = get(page(answer))
    assert status == "200 OK"
    assert "set-cookie" not in headers


def test_get_cookie():
    def answer(self):
        self.write(
            {"a": self.get_cookie("a"), "b": self.get_cookie("b"), "c": self.get_cookie("c", "x")}
        )

    assert json.loads(get(page(answer), Cookie="a=1")[2]) == {"a": "1", "b": None, "c": "x"}


# --- errors ---


def test_errors_are_logged_without_control_characters_of_the_client(caplog):
    def answer(self):
        raise HTTPError(400, "no %s", "\x9b31m")

    get(page(answer))
    assert r"(no \x9b31m)" in caplog.text


def test_http_errors(caplog):
    def answer(self):
        self.write("lost")
        self.set_header("X-Lost", "1")
        raise HTTPError(403, "%s may not", "eve", reason="Go Away")

    status, headers, body = get(page(answer))
    assert (status, body) == ("403 Go Away", b"403: Go Away\n")
    assert headers["content-type"] == "text/plain; charset=UTF-8"
    assert "x-lost" not in headers
    assert "GET /: HTTP 403: Go Away (eve may not)" in caplog.text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (HTTPError(), "HTTP 500: Internal Server Error"),
        (HTTPError(404), "HTTP 404: Not Found"),
        (HTTPError(499, "100% sure"), "HTTP 499: Unknown (100% sure)"),
    ],
)
def test_http_errors_as_text(error, text):
    assert str(error) == text


def test_other_errors(caplog):
    status, _, body = get(page(lambda self: 1 / 0))
    assert (status, body) == ("500 Internal Server Error", b"500: Internal Server Error\n")
    assert "ZeroDivisionError" in caplog.text


def test_errors_after_the_answer_are_logged(caplog):
    def answer(self):
        self.finish("answer")
        raise ZeroDivisionError

    assert get(page(answer))[2] == b"answer"
    assert "ZeroDivisionError" in caplog.text


def test_write_error_may_be_overridden():
    def write_error(self, status_code, **kwargs):
        self.write(f"sorry: {status_code}, {kwargs['exc_info'][0].__name__}")

    def fail(self):
        raise HTTPError(400)

    assert get(page(fail, write_error=write_error))[2] == b"sorry: 400, HTTPError"


def test_finish_in_write_error():
    def write_error(self, status_code, **kwargs):
        self.write("short")
        raise Finish

    assert get(page(lambda self: 1 / 0, write_error=write_error))[::2] == (
        "500 Internal Server Error",
        b"short",
    )


def test_finish_with_the_rest():
    def answer(self):
        self.write("be")
        raise Finish("gin")

    assert get(page(answer))[::2] == ("200 OK", b"begin")


def test_what_is_returned_is_an_error(caplog):
    assert get(page(lambda self: "text"))[0] == "500 Internal Server Error"
    assert "Page.get() returned str; what is to be sent is written: self.write()" in caplog.text


def test_default_headers_are_on_errors_too():
    handler = page(
        lambda self: 1 / 0, set_default_headers=lambda self: self.set_header("X-Always", "yes")
    )
    assert get(handler)[1]["x-always"] == "yes"


def test_finishing_in_prepare():
    def prepare(self):
        self.set_status(503)
        self.finish("later")

    assert get(page(lambda self: 1 / 0, prepare=prepare))[::2] == (
        "503 Service Unavailable",
        b"later",
    )


@pytest.mark.parametrize(
    ("second", "text"),
    [
        (lambda self: self.finish(), "the answer is finished already"),
        (lambda self: self.write("x"), "write_message() sends over a WebSocket"),
    ],
)
def test_after_finish(second, text, caplog):
    def answer(self):
        self.finish("answer")
        second(self)

    assert get(page(answer))[2] == b"answer"
    assert text in caplog.text


def test_what_cant_be_written(caplog):
    assert get(page(lambda self: self.write(5)))[0] == "500 Internal Server Error"
    assert "write() takes str, bytes and dict, not int" in caplog.text


def test_headers_that_cant_be_sent(caplog):
    handler = page(lambda self: self.set_header("X", "a\r\nSet-Cookie: b=c"))
    status, headers, _ = get(handler)
    assert status == "500 Internal Server Error"
    assert "set-cookie" not in headers


# --- the request ---


def test_arguments():
    def answer(self):
        self.write(
            {
                "a": self.get_argument("a"),
                "all": self.get_query_arguments("a"),
                "raw": self.get_argument("space", strip=False),
                "empty": self.get_query_argument("empty"),
                "default": self.get_argument("none", None),
                "none": self.get_arguments("none"),
                "bytes": [value.decode("latin-1") for value in self.request.arguments["bytes"]],
                "names": sorted(self.request.query_arguments),
            }
        )

    path = "/?a=1&a=+2+&space=+x&empty=&bytes=%ff&k%C3%BC=1&novalue"
    assert json.loads(get(page(answer), path)[2]) == {
        "a": "2",
        "all": ["1", "2"],
        "raw": " x",
        "empty": "",
        "default": None,
        "none": [],
        "bytes": ["\xff"],
        "names": ["a", "bytes", "empty", "k\u00fc", "novalue", "space"],
    }


@pytest.mark.parametrize("path", ["/", "/?name=%ff"])
def test_arguments_that_are_missing_or_malformed(path):
    assert get(page(lambda self: self.get_argument("name")), path)[0] == "400 Bad Request"


def test_what_a_request_has():
    def answer(self):
        request = self.request
        self.write(
            {
                "method": request.method,
                "uri": request.uri,
                "path": request.path,
                "query": request.query,
                "version": request.version,
                "host": request.host,
                "host_name": request.host_name,
                "protocol": request.protocol,
                "remote_ip": request.remote_ip,
                "full_url": request.full_url(),
                "body": request.body.decode(),
                "several": request.headers["X-Several"],
                "list": request.headers.get_list("x-several"),
                "missing": request.headers.get("X-Missing", "none"),
                "time": request.request_time() >= 0,
                "repr": repr(request),
            }
        )

    request = build_request("/p%20q?a=1", Host="Local:80", Upgrade=None, X_Several="1").replace(
        b"X-Several: 1", b"X-Several: 1\r\nX-Several: 2"
    )
    with listening([("/.*", page(answer))]) as server:
        got = json.loads(exchange(server, request)[2])
    assert got == {
        "method": "GET",
        "uri": "/p%20q?a=1",
        "path": "/p%20q",
        "query": "a=1",
        "version": "HTTP/1.1",
        "host": "Local:80",
        "host_name": "local",
        "protocol": "http",
        "remote_ip": "127.0.0.1",
        "full_url": "http://Local:80/p%20q?a=1",
        "body": "",
        "several": "1,2",
        "list": ["1", "2"],
        "missing": "none",
        "time": True,
        "repr": "WebRequest(method='GET', uri='/p%20q?a=1', remote_ip='127.0.0.1')",
    }


def test_trusted_proxies_say_who_it_is():
    def answer(self):
        self.write(f"{self.request.remote_ip} {self.request.protocol}")

    with listening([("/", page(answer))], trusted_proxies=["127.0.0.1"]) as server:
        request = build_request(
            Upgrade=None, X_Forwarded_For="192.0.2.1", X_Forwarded_Proto="https"
        )
        assert exchange(server, request)[2] == b"192.0.2.1 https"


def test_reverse_url():
    handler = page(lambda self: self.write(self.reverse_url("room", 5)))
    application = Application([("/", handler), (r"/room/(\d+)", handler, None, "room")])
    with listening(application) as server:
        assert exchange(server, build_request(Upgrade=None))[2] == b"/room/5"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("render", "templates"),
        ("get_secure_cookie", "itsdangerous"),
        ("get_body_argument", "web framework"),
        ("static_url", "web server"),
    ],
)
def test_methods_that_are_not_here_say_what_to_use(name, hint):
    with pytest.raises(AttributeError, match=f"no attribute '{name}'; .*{hint}"):
        getattr(page(None), name)
