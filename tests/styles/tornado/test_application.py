"""Applications: rules, hosts, settings, and servers."""

import re
import threading

import pytest
from support.certificates import authority, client_context, server_context
from support.handlers import Journal, connected, listening
from support.pairs import SOON, run, wait_until
from support.scripted import build_request, exchange
from support.snippets import run as run_program

import syncws.styles
from syncws import InvalidStatus, ThreadingServer, connect, serve
from syncws.styles import Application, RequestHandler, URLSpec, WebSocketHandler, run_forever, url
from syncws.threaded import lifecycle


class Named(WebSocketHandler):
    """Says by which rule it was found."""

    def initialize(self, name="?"):
        self.name = name

    def open(self, *args, **kwargs):
        self.write_message({"name": self.name, "args": args, "kwargs": kwargs})


class Page(RequestHandler):
    def initialize(self, text="page"):
        self.text = text

    def get(self, *args):
        self.write(self.text)


def named(server, path="", host="localhost"):
    """The name of the handler that answers, or the status that refuses."""
    _, _, body = exchange(server, build_request(f"/{path}", Upgrade=None, Host=host))
    return body.decode()


def pages(*patterns):
    return [(pattern, Page, {"text": pattern}) for pattern in patterns]


# --- rules ---


def test_forms_of_rules():
    rules = [
        ("/1", Page, {"text": "one"}),
        ("/2", Page, {"text": "two"}, "second"),
        url("/3", Page, {"text": "three"}),
        URLSpec("/4", Page, kwargs={"text": "four"}, name="fourth"),
        ["/5", Page],
        (re.compile("/6"), Page, {"text": "six"}),
        ("/7", Page, None),
    ]
    with listening(rules) as server:
        texts = [named(server, str(number)) for number in range(1, 8)]
    assert texts == ["one", "two", "three", "four", "page", "six", "page"]


def test_one_server_has_several_applications():
    class Setting(RequestHandler):
        def get(self, *args):
            self.write(f"{self.settings['color']} {self.request.path} {args}")

    red = Application([("/red/(.*)", Setting), ("/.*", Named, {"name": "red"})], color="red")
    blue = Application([("/.*", Setting)], color="blue")
    rules = [("/red/.*", red), URLSpec("/blue/.*", blue), ("/.*", Setting)]
    with Application(rules, color="none").listen(0, "localhost") as server:
        assert named(server, "red/1") == "red /red/1 ('1',)"
        assert named(server, "blue/2") == "blue /blue/2 ()"
        assert named(server, "3") == "none /3 ()"
    assert repr(rules[1]).startswith(f"URLSpec('/blue/.*', {blue!r}")


def test_a_websocket_of_an_application_within_another():
    inner = Application([("/in/(.*)", Named, {"name": "inner"})], websocket_ping_interval=7)
    with listening([("/in/.*", inner)]) as server, connect(f"{server.uri}in/x") as ws:
        assert '"name": "inner", "args": ["x"]' in ws.recv(SOON)
        (theirs,) = server.connections
        assert theirs.options.ping_interval == 7


def test_an_application_takes_no_arguments_of_handlers():
    with pytest.raises(TypeError, match=r"{'name': 1} are for a handler"):
        Application([("/.*", Application(), {"name": 1})])


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete", "options"])
def test_methods_that_would_never_be_called_are_refused(method):
    cls = type("Form", (RequestHandler,), {method: lambda self: None})
    with pytest.raises(TypeError, match=f"Form.{method} would never be called: .*GET and HEAD"):
        Application([("/", cls)])


@pytest.mark.parametrize(
    ("pattern", "path", "found"),
    [
        ("/a", "a", True),
        ("/a", "ab", False),
        ("/a$", "a", True),
        ("^/a$", "a", True),
        ("/a|/b", "b", True),
        ("/a|/b", "ax", False),
        ("/a", "a?query=1", True),
        ("/a", "a/", False),
        ("/k%C3%BCche", "k%C3%BCche", True),
        ("/.*", "", True),
        (re.compile("/a"), "abc", True),
        (re.compile("/a$"), "abc", False),
    ],
)
def test_patterns_match_the_whole_path(pattern, path, found):
    with listening([(pattern, Page)]) as server:
        assert (named(server, path) == "page") is found


def test_the_first_rule_counts():
    with listening(pages("/a", "/(?:.)", "/.")) as server:
        assert [named(server, "a"), named(server, "b")] == ["/a", "/(?:.)"]


def test_other_paths_are_not_found():
    with listening([("/a", Named)]) as server:
        with pytest.raises(InvalidStatus) as info:
            connect(f"{server.uri}b")
        assert info.value.response.status_code == 404


def test_groups_that_arent_utf_8():
    with listening([("/(.*)", Named)]) as server:
        with pytest.raises(InvalidStatus) as info:
            connect(f"{server.uri}%ff")
        assert info.value.response.status_code == 400


def test_default_handler_class():
    settings = {"default_handler_class": Page, "default_handler_args": {"text": "default"}}
    with listening(Application(pages("/a"), **settings)) as server:
        assert [named(server, "a"), named(server, "b")] == ["/a", "default"]


@pytest.mark.parametrize(
    ("rule", "error", "text"),
    [
        ("/a", TypeError, "a rule is (pattern, handler)"),
        (("/a",), TypeError, "a rule is (pattern, handler)"),
        (("/a", "module.Handler"), TypeError, "the handler for '/a' is a class"),
        (("/a", lambda ws: None), TypeError, "the handler for '/a' is a class"),
        (("/a", object), TypeError, "object is neither a WebSocketHandler nor a RequestHandler"),
        (("/(a)(?P<b>b)", Page), ValueError, "either all groups of a pattern have names"),
        (("/(", Page), ValueError, "invalid pattern '/(': missing )"),
        ((b"/", Page), TypeError, "a pattern is text, not b'/'"),
    ],
)
def test_rules_that_are_refused(rule, error, text):
    for function in (
        lambda: Application([rule]),
        lambda: Application().add_handlers(".*", [rule]),
    ):
        with pytest.raises(error, match=re.escape(text)):
            function()


async def coroutine(self, *args):
    pass


async def generator(self, *args):
    yield


def plain_generator(self, *args):
    yield


@pytest.mark.parametrize(
    "name",
    [
        "initialize",
        "prepare",
        "get",
        "get_current_user",
        "check_origin",
        "select_subprotocol",
        "get_compression_options",
        "open",
        "on_message",
        "on_ping",
        "on_pong",
        "on_close",
    ],
)
@pytest.mark.parametrize("function", [coroutine, generator])
def test_coroutine_functions_are_refused(name, function):
    handler = type("Handler", (WebSocketHandler,), {name: function})
    with pytest.raises(TypeError, match=f"Handler.{name} is a plain .*drop async and await"):
        Application([("/", handler)])
    with pytest.raises(TypeError, match="drop async and await"):
        Application().add_handlers(".*", [("/", handler)])
    with pytest.raises(TypeError, match="drop async and await"):
        Application(default_handler_class=handler)


def test_generators_are_refused():
    handler = type("Handler", (WebSocketHandler,), {"open": plain_generator})
    with pytest.raises(TypeError, match=r"Handler.open is a plain function: drop yield"):
        Application([("/", handler)])


def test_what_must_be_awaited_is_refused_when_it_comes(caplog):
    class Handler(WebSocketHandler):
        def open(self):
            return coroutine(self)

    with connected(Handler) as ws:
        assert ws.wait_closed(SOON)
    assert "TypeError: open() returned something to await" in caplog.text


def test_what_must_be_awaited_may_be_other_things_than_coroutines(caplog):
    class Handler(WebSocketHandler):
        def open(self):
            return type("Future", (), {"__await__": lambda self: iter(())})()

    with connected(Handler) as ws:
        assert ws.wait_closed(SOON)
    assert "TypeError: open() returned something to await" in caplog.text


def test_other_methods_may_be_coroutine_functions():
    Application([("/", type("Handler", (WebSocketHandler,), {"helper": coroutine}))])


# --- hosts ---


def test_rules_for_hosts():
    application = Application(pages("/a", "/b"))
    application.add_handlers(r"x\.example", [("/a", Page, {"text": "x"})])
    application.add_handlers(r".*\.example", [("/a", Page, {"text": "any"})])
    with listening(application) as server:
        assert named(server, "a", "X.example:80") == "x"
        assert named(server, "a", "y.example") == "any"
        assert named(server, "b", "x.example") == "/b"
        assert named(server, "a", "example") == "/a"
        assert named(server, "a", "[::1]:80") == "/a"
        assert named(server, "a", "a b") == "/a"


def test_default_host():
    application = Application(pages("/a"), "x.example")
    application.add_handlers(r"x\.example", pages("/b"))
    with listening(application) as server:
        assert named(server, "b") == "/b"
        assert named(server, "a") == "/a"


def test_rules_may_be_added_while_it_listens():
    application = Application()
    with listening(application) as server:
        assert named(server, "a") == "There is nothing here.\n"
        application.add_handlers(".*", pages("/a"))
        assert named(server, "a") == "/a"


# --- reversing ---


@pytest.mark.parametrize(
    ("pattern", "args", "path"),
    [
        ("/", (), "/"),
        (r"/a\.b", (), "/a.b"),
        ("/robots.txt", (), "/robots.txt"),
        ("^/a$", (), "/a"),
        (r"/room/(\d+)/([a-z]*)", (5, "x"), "/room/5/x"),
        ("/(?P<name>.*)", ("kü che/ß",), "/k%C3%BC%20che/%C3%9F"),
        ("/(.*)", (b"\xff",), "/%FF"),
    ],
)
def test_reverse_url(pattern, args, path):
    application = Application([(pattern, Page, None, "it")])
    assert application.reverse_url("it", *args) == path


@pytest.mark.parametrize("pattern", ["/a*", "/(?:a)", "/(a(b))", "/a|b", "/[ab]", "/(a)?", "/a{2}"])
def test_patterns_that_cant_be_reversed(pattern):
    with pytest.raises(ValueError, match="can't be reversed"):
        URLSpec(pattern, Page).reverse("x")


def test_reverse_url_needs_all_groups_and_a_name():
    application = Application([("/(.)(.)", Page, None, "two")])
    application.add_handlers(".*", [("/other", Page, None, "other")])
    assert application.reverse_url("other") == "/other"
    with pytest.raises(ValueError, match="has 2 groups"):
        application.reverse_url("two", 1)
    with pytest.raises(KeyError, match="no rule has the name 'three'"):
        application.reverse_url("three")


def test_specs_can_be_read():
    spec = URLSpec("/a", Page, {"text": "x"}, "it")
    assert repr(spec) == "URLSpec('/a', Page, kwargs={'text': 'x'}, name='it')"


# --- settings and listening ---


def test_settings_are_kept():
    application = Application(debug=True, cookie_secret="x", anything=[1])
    assert application.settings == {"debug": True, "cookie_secret": "x", "anything": [1]}


@pytest.mark.parametrize(
    ("name", "text"), [("autoreload", "event loop"), ("static_path", "web server")]
)
def test_settings_that_are_refused(name, text):
    with pytest.raises(ValueError, match=f"{name}= isn't for this library: .*{text}"):
        Application(**{name: "x"})
    assert Application(**{name: None}).settings == {name: None}


def test_trusted_origins_are_a_list():
    with pytest.raises(TypeError, match="trusted_origins= is a list"):
        Application(trusted_origins="https://app.example")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("xheaders", "trusted_proxies="),
        ("origins", "check_origin"),
        ("ping_interval", "websocket_ping_interval="),
        ("max_size", "websocket_max_message_size="),
    ],
)
def test_arguments_of_listen_that_are_refused(name, text):
    with pytest.raises(TypeError, match=rf"listen\(\) doesn't take {name}=; .*{text}"):
        Application().listen(0, **{name: None})
    with pytest.raises(TypeError, match="no_such_argument"):
        Application().listen(0, no_such_argument=1)


def test_listen_accepts_at_once():
    server = Application([("/", Named)]).listen(0, "localhost", max_connections=5)
    try:
        assert isinstance(server, ThreadingServer)
        assert server.is_serving()
        with connect(server.uri) as ws:
            ws.recv(SOON)
    finally:
        server.close()


@pytest.mark.parametrize("address", ["", None])
def test_listen_on_all_interfaces(address):
    server = Application().listen(0, *([] if address == "" else [address]))
    with server:
        assert {sock.getsockname()[0] for sock in server.sockets} <= {"0.0.0.0", "::"}


def test_a_port_that_is_taken():
    with listening([]) as server, pytest.raises(OSError, match="can't listen"):
        Application().listen(server.port, "127.0.0.1")


def test_a_server_that_cant_start_is_closed(monkeypatch):
    closed = []
    monkeypatch.setattr(ThreadingServer, "start", lambda self: 1 / 0)
    close = ThreadingServer.close
    monkeypatch.setattr(ThreadingServer, "close", lambda self: (closed.append(self), close(self)))
    with pytest.raises(ZeroDivisionError):
        Application().listen(0, "localhost")
    assert len(closed) == 1


def test_several_servers_and_several_applications():
    first = Application([("/", Named, {"name": "first"})])
    second = Application([("/", Named, {"name": "second"})])
    with listening(first) as one, listening(first) as two, listening(second) as three:
        for server, name in ((one, "first"), (two, "first"), (three, "second")):
            with connect(server.uri) as ws:
                assert f'"{name}"' in ws.recv(SOON)


# --- TLS ---


@pytest.fixture
def files(tmp_path):
    certificate = authority().issue_cert("localhost", "127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    authority().cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path


def test_ssl_options(files):
    choices = [
        server_context(),
        {"certfile": files / "cert.pem", "keyfile": files / "key.pem"},
        {"certfile": files / "both.pem", "ca_certs": files / "ca.pem", "ciphers": "HIGH"},
    ]
    for ssl_options in choices:
        with listening([("/", Named)], ssl_options=ssl_options) as server:
            assert server.uri.startswith("wss://")
            with connect(server.uri, ssl=client_context()) as ws:
                assert ws.recv(SOON)


@pytest.mark.parametrize(
    ("ssl_options", "error", "text"),
    [
        ({}, ValueError, "has no certfile"),
        ({"certfile": "x", "port": 1}, TypeError, r"has \['port'\]; it may have"),
        ("cert.pem", TypeError, "is an ssl.SSLContext or a dict"),
        ({"certfile": "/nowhere"}, FileNotFoundError, "No such file"),
    ],
)
def test_wrong_ssl_options(ssl_options, error, text):
    with pytest.raises(error, match=text):
        Application().listen(0, ssl_options=ssl_options)


# --- run_forever() ---


def test_run_forever_ends_with_the_last_server():
    ended = Journal()

    def wait():
        run_forever()
        ended.put("ended")

    with listening([]) as first, listening([]) as second:
        running = run(wait)
        first.close()
        with serve(lambda ws: None, "localhost", 0):
            second.close()
            assert ended.left() == []
        assert ended.next() == "ended"
        running.result()


def test_run_forever_without_a_server_returns():
    run_forever()
    with listening([]) as closed:
        pass
    lifecycle.register(closed)  # as a server is in a forked child
    run_forever()
    lifecycle.unregister(closed)


def test_run_forever_waits_for_servers_that_start_meanwhile():
    waiting = threading.Event()
    with listening([]) as first:
        running = run(run_forever)
        with listening([]) as second:
            first.close()
            assert not running.done()
            waiting.set()
            assert second.is_serving()
        running.result()


CTRL_C = """
import _thread, threading
from syncws import ThreadingServer, connect
from syncws.styles import Application, WebSocketHandler, run_forever

class Handler(WebSocketHandler):
    def open(self):
        opened.release()
    def on_close(self):
        codes.append(self.close_code)

def interrupt():
    waiting.wait()
    _thread.interrupt_main()

def wait_closed(self, timeout=None):
    waiting.set()
    return wait(self, timeout)

codes, opened, waiting = [], threading.Semaphore(0), threading.Event()
servers = [Application([("/", Handler)]).listen(0, "localhost") for _ in range(2)]
clients = [connect(server.uri) for server in servers]
for _ in servers:
    opened.acquire()
wait, ThreadingServer.wait_closed = ThreadingServer.wait_closed, wait_closed
threading.Thread(target=interrupt).start()
run_forever()
print([client.wait_closed(5) and client.close_code for client in clients])
print([server.wait_closed(0) for server in servers], codes)
"""


def test_ctrl_c_closes_all_servers():
    lines = run_program(CTRL_C).splitlines()
    assert lines == ["[1001, 1001]", "[True, True] [1001, 1001]"]


def test_ctrl_c_closes_servers_of_this_process(monkeypatch):
    wait_closed = ThreadingServer.wait_closed

    def interrupted(self, timeout=None):
        if timeout is None:
            raise KeyboardInterrupt
        return wait_closed(self, timeout)

    monkeypatch.setattr(ThreadingServer, "wait_closed", interrupted)
    with listening([]) as first, listening([]) as second:
        run_forever()
        assert first.wait_closed(0)
        assert second.wait_closed(0)


# --- names ---


def test_names_that_are_not_here_say_what_to_use():
    with pytest.raises(AttributeError, match="use WebSocketHandler"):
        syncws.styles.WebSocketRequestHandler  # noqa: B018
    with pytest.raises(AttributeError, match="there is no event loop: run_forever"):
        syncws.styles.IOLoop  # noqa: B018
    with pytest.raises(AttributeError, match=r"has no attribute 'nothing'$"):
        syncws.styles.nothing  # noqa: B018


def test_threads_end_with_the_connection():
    before = threading.active_count()
    with connected(Named) as ws:
        ws.recv(SOON)
    wait_until(lambda: threading.active_count() <= before)


@pytest.mark.parametrize(
    "name", ["websocket_ping_interval", "websocket_ping_timeout", "websocket_max_message_size"]
)
def test_limits_that_are_negative_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} can't be negative, got -1"):
        Application(**{name: -1})
