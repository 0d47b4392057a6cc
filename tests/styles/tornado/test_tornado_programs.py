"""Programs of the kind that people write for Tornado, word for word through both libraries."""

import http.client
import json
import textwrap

import pytest
from support.pairs import SOON
from support.snippets import running_server

from syncws import ConnectionClosed, InvalidStatus, connect

#: What differs: the imports, and how the program waits.
BEGINNINGS = {
    "tornado": """
        import asyncio
        from tornado.web import Application, HTTPError, RequestHandler, url
        from tornado.websocket import WebSocketClosedError, WebSocketHandler

        def serve(application):
            async def main():
                application.listen(8765, "127.0.0.1")
                await asyncio.Event().wait()

            asyncio.run(main())
    """,
    "syncws": """
        from syncws.styles import (
            Application, HTTPError, RequestHandler, WebSocketClosedError, WebSocketHandler,
            run_forever, url,
        )

        def serve(application):
            application.listen(8765, "127.0.0.1")
            run_forever()
    """,
}


@pytest.fixture(params=list(BEGINNINGS))
def run(request):
    """A function that runs a program with one of the libraries."""
    pytest.importorskip(request.param)

    def begin(source):
        code = textwrap.dedent(BEGINNINGS[request.param]) + textwrap.dedent(source)
        options = {"warnings": "default"} if request.param == "tornado" else {}
        return running_server(code, **options)

    return begin


def uri(port, path=""):
    return f"ws://127.0.0.1:{port}/{path}"


def ended(ws):
    """How a connection ended: the code and reason received."""
    with pytest.raises(ConnectionClosed) as info:
        ws.recv(SOON)
    return info.value.code, info.value.reason


ECHO = """
    class Echo(WebSocketHandler):
        def open(self):
            print("open")

        def on_message(self, message):
            self.write_message(message, binary=isinstance(message, bytes))

        def on_close(self):
            print("close", self.close_code, self.close_reason)

    serve(Application([(r"/echo", Echo)]))
"""


def test_echo(run):
    with run(ECHO) as (port, program):
        for end in ((1000, ""), (4001, "bye"), (None, "")):
            with connect(uri(port, "echo")) as ws:
                assert program.readline() == "open"
                for message in ("hello", "k\u00fcche", b"\x00\xff", "", "x" * 100_000):
                    ws.send(message)
                    assert ws.recv(SOON) == message
                ws.close(*end)
            # Read before the next connection opens: its thread may be faster than this one's.
            assert program.readline() == f"close {end[0]} {end[1] or None}"
        with pytest.raises(InvalidStatus) as info:
            connect(uri(port))
        assert info.value.response.status_code == 404


COUNTER = """
    class Counter(WebSocketHandler):
        total = 0

        def initialize(self, step):
            self.step = step
            self.own = 0

        def on_message(self, message):
            if message == "reset":
                self.own = 0
            else:
                self.own += self.step
                Counter.total += self.step
            self.write_message({"own": self.own, "total": Counter.total})

    serve(Application([("/one", Counter, {"step": 1}), ("/ten", Counter, dict(step=10))]))
"""


def test_counter(run):
    def ask(ws, message):
        ws.send(message)
        return json.loads(ws.recv(SOON))

    with (
        run(COUNTER) as (port, _),
        connect(uri(port, "one")) as one,
        connect(uri(port, "ten")) as ten,
    ):
        assert ask(one, "more") == {"own": 1, "total": 1}
        assert ask(ten, "more") == {"own": 10, "total": 11}
        assert ask(one, "more") == {"own": 2, "total": 12}
        assert ask(one, "reset") == {"own": 0, "total": 12}


PINGS = """
    class Pinging(WebSocketHandler):
        def open(self):
            self.ping(b"are you there?")

        def on_pong(self, data):
            self.write_message("pong " + data.decode())

        def on_ping(self, data):
            self.write_message("ping " + data.decode())

        def on_message(self, message):
            self.ping(message.encode())

    serve(Application([("/", Pinging)]))
"""


def test_pings(run):
    with run(PINGS) as (port, _), connect(uri(port)) as ws:
        assert ws.recv(SOON) == "pong are you there?"
        assert ws.ping("hello").wait(SOON)
        assert ws.recv(SOON) == "ping hello"
        ws.send("again")
        assert ws.recv(SOON) == "pong again"


KEEPALIVE = """
    class Quiet(WebSocketHandler):
        pongs = 0

        def on_pong(self, data):
            self.pongs += 1
            if self.pongs == 3:
                self.write_message("three pongs")

    settings = {"websocket_ping_interval": 0.2, "websocket_ping_timeout": 0.2}
    serve(Application([("/", Quiet)], **settings))
"""


def test_keepalive_pings(run):
    with run(KEEPALIVE) as (port, _), connect(uri(port)) as ws:
        assert ws.recv(SOON) == "three pongs"


CHAT = """
    import json
    import uuid

    class Index(RequestHandler):
        def get(self):
            self.set_header("X-Messages", len(Chat.cache))
            self.write("<ul>")
            for message in Chat.cache:
                self.write("<li>%s</li>" % message["body"])
            self.write("</ul>")

    class Chat(WebSocketHandler):
        waiters = set()
        cache = []

        def get_compression_options(self):
            return {}

        def open(self):
            Chat.waiters.add(self)
            self.write_message({"cache": Chat.cache[-2:]})

        def on_close(self):
            Chat.waiters.remove(self)

        def on_message(self, message):
            parsed = json.loads(message)
            chat = {"id": str(uuid.uuid4()), "body": parsed["body"].strip()}
            Chat.cache.append(chat)
            for waiter in list(Chat.waiters):
                try:
                    waiter.write_message(chat)
                except WebSocketClosedError:
                    pass

    serve(Application([("/", Index), ("/chatsocket", Chat)], cookie_secret="x"))
"""


def test_chat(run):
    with run(CHAT) as (port, _):
        with connect(uri(port, "chatsocket")) as ann, connect(uri(port, "chatsocket")) as bob:
            assert [extension.name for extension in ann.extensions] == ["permessage-deflate"]
            for ws in (ann, bob):
                assert json.loads(ws.recv(SOON)) == {"cache": []}
            for number in range(3):
                ann.send(json.dumps({"body": f" message {number} "}))
                heard = [json.loads(ws.recv(SOON)) for ws in (ann, bob)]
                assert heard[0] == heard[1]
                assert heard[0]["body"] == f"message {number}"
        with connect(uri(port, "chatsocket")) as late:
            cache = json.loads(late.recv(SOON))["cache"]
            assert [message["body"] for message in cache] == ["message 1", "message 2"]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SOON)
        connection.request("GET", "/")
        response = connection.getresponse()
        assert response.headers["X-Messages"] == "3"
        assert response.headers["Content-Type"] == "text/html; charset=UTF-8"
        assert response.read().startswith(b"<ul><li>message 0</li>")
        connection.close()


ROOMS = r"""
    class Room(WebSocketHandler):
        def prepare(self):
            self.set_header("X-Room", len(self.path_kwargs["name"]))
            if self.get_cookie("user") is None:
                raise HTTPError(401)

        def check_origin(self, origin):
            return origin in self.settings["allowed"]

        def select_subprotocol(self, subprotocols):
            return "json" if "json" in subprotocols else None

        def open(self, name, day=None):
            request = self.request
            self.write_message({
                "name": name,
                "day": day,
                "user": self.get_cookie("user"),
                "query": self.get_argument("q", "none"),
                "path": request.path,
                "uri": request.uri,
                "ip": request.remote_ip,
                "method": request.method,
                "protocol": request.protocol,
                "subprotocol": self.selected_subprotocol,
                "again": self.reverse_url("about", 5),
                "missing": request.headers.get("X-Missing", "no"),
                "arguments": sorted(request.arguments),
            })

    class About(RequestHandler):
        def get(self, number):
            self.redirect("/", permanent=True)

    serve(Application([
        url(r"/rooms/(?P<name>[^/]+)(?:/(?P<day>\d+))?", Room),
        url(r"/about/(\d+)", About, name="about"),
    ], allowed=["https://app.example"]))
"""


def test_rooms(run):
    with run(ROOMS) as (port, _):
        headers = {"Cookie": "a=b; user=ann"}
        address = uri(port, "rooms/k%C3%BCche?q=%C3%BC+1&r=")

        def status(**kwargs):
            with pytest.raises(InvalidStatus) as info:
                connect(address, **kwargs)
            return info.value.response.status_code

        assert status() == 401
        assert status(additional_headers=headers, origin="https://evil.example") == 403
        with connect(
            address,
            additional_headers=headers,
            origin="https://app.example",
            subprotocols=["xml", "json"],
        ) as ws:
            assert ws.response_headers["X-Room"] == "5"
            assert json.loads(ws.recv(SOON)) == {
                "name": "k\u00fcche",
                "day": None,
                "user": "ann",
                "query": "\u00fc 1",
                "path": "/rooms/k%C3%BCche",
                "uri": "/rooms/k%C3%BCche?q=%C3%BC+1&r=",
                "ip": "127.0.0.1",
                "method": "GET",
                "protocol": "http",
                "subprotocol": "json",
                "again": "/about/5",
                "missing": "no",
                "arguments": ["q", "r"],
            }
        with connect(uri(port, "rooms/x/24"), additional_headers=headers) as ws:
            assert json.loads(ws.recv(SOON))["day"] == "24"


CLOSING = """
    class Closing(WebSocketHandler):
        def on_message(self, message):
            if message == "bare":
                self.close()
            elif message == "reason":
                self.close(reason="done")
            else:
                self.close(4000, "as told")

        def on_close(self):
            print(self.close_code, self.close_reason)
            try:
                self.write_message("too late")
            except WebSocketClosedError:
                print("is closed")

    serve(Application([("/", Closing)], websocket_max_message_size=100))
"""


def test_closing(run):
    with run(CLOSING) as (port, program):
        for message, end in (
            ("bare", (1005, "")),
            ("reason", (1000, "done")),
            ("both", (4000, "as told")),
        ):
            with connect(uri(port)) as ws:
                ws.send(message)
                assert ended(ws) == end
            code = None if end[0] == 1005 else end[0]
            assert program.readline() == f"{code} {end[1] or None}"
            assert program.readline() == "is closed"
        with connect(uri(port)) as ws:
            ws.send("x" * 101)
            assert ended(ws)[0] == 1009
