"""python-socketio's client; what it can do over WebSocket, and by long polling first."""

import itertools
import queue

import requests
import socketio
from support.telling import at_once, mark, settings, tell


class Client:
    """A client, and what comes to it, by event."""

    def __init__(self, name, server="http", **options):
        self.name = name
        self.url = settings[server]
        self.came = {}
        options = {"reconnection": False, "randomization_factor": 0, **options}
        self.sio = socketio.Client(reconnection_delay=0.01, **options)
        for event in ("connect", "disconnect", "connect_error"):
            self.sio.on(event, lambda *args, event=event: self.comes(event, *args))
        self.sio.on("*", self.comes)

    def comes(self, event, *args):
        self.queue(event).put(args)

    def queue(self, event):
        return self.came.setdefault(event, queue.Queue())

    def tell(self, *events):
        for event in events:
            args = self.queue(event).get(timeout=20)
            large = [mark(arg) for arg in args if isinstance(arg, (str, bytes)) and len(arg) > 100]
            tell(self.name, event, *(large or args))

    def connect(self, **options):
        numbers = itertools.count(1)
        auth = options.pop("auth", {})

        def who():
            return {"name": f"{self.name}, connection {next(numbers)}", **auth}

        options = {"transports": ["websocket"], **options}
        try:
            self.sio.connect(self.url, auth=who, wait_timeout=10, **options)
        except socketio.exceptions.ConnectionError as exc:
            tell(self.name, "not connected", exc, str(exc))
        else:
            tell(self.name, "connected", self.sio.transport())
        return self

    def close(self):
        self.sio.disconnect()
        self.tell("disconnect")
        self.sio.wait()
        tell(self.name, "connected", self.sio.connected)


def exchange():
    client = Client("exchange").connect(headers={"X-Custom": "yes"})
    for message in "text, and ünïcode", b"\x00\xff", "x" * (2**20 + 1), b"\xa5" * 2**21, "":
        client.sio.send(message)
        client.tell("message")
    client.sio.emit("json", {"list": [1, {"bytes": b"\x00"}], "text": "ü"})
    client.tell("json")
    tell("exchange", "sum", client.sio.call("sum", (1, 2, 3), timeout=10))
    client.sio.emit("fail")
    client.sio.sleep(1.5)  # the server pings meanwhile
    tell("exchange", "sum", client.sio.call("sum", (4, 5), timeout=10))
    client.close()


def upgrade():
    client = Client("upgrade").connect(transports=None)
    client.sio.send(b"\x00\xff")
    client.tell("message")
    client.close()


def news():
    readers = [Client(name).connect(auth={"public": True}) for name in ("ann", "bob")]
    readers[0].sio.emit("news", "something happened")
    readers[1].tell("news")
    for reader in readers:
        reader.close()


def sent_away():
    client = Client("sent away").connect()
    client.sio.emit("send me away")
    client.tell("disconnect")
    client.sio.wait()


def again():
    client = Client("again", reconnection=True).connect()
    client.tell("connect")
    client.sio.send(b"\xa5" * 5 * 2**20)  # more than the server takes
    client.tell("disconnect", "connect")
    client.sio.send("hello again")
    client.tell("message")
    client.close()


def refused():
    Client("wrong password").connect(auth={"password": "wrong"}).tell("connect_error")
    Client("namespace").connect(namespaces=["/admin"])
    for status in ("401", "403"):
        client = Client(status).connect(socketio_path=f"refused/{status}")
        client.tell("connect_error")


def secure(name, transports):
    session = requests.Session()
    session.verify = settings["authority"]
    client = Client(name, "https", http_session=session).connect(transports=transports)
    client.sio.send("by TLS")
    client.tell("message")
    client.sio.send(b"\x00\xff" * 2**20)
    client.tell("message")
    client.close()


def not_trusted():
    Client("not trusted", "https").connect()
    client = Client("not verified", "https", ssl_verify=False).connect()
    client.close()


def proxy(server):
    session = requests.Session()
    session.verify = settings["authority"]
    session.proxies = {"ws": settings["proxy"], "wss": settings["proxy"]}
    client = Client(f"proxy, {server}", server, http_session=session).connect()
    client.sio.send("by a proxy")
    client.tell("message")
    client.close()


at_once(
    exchange,
    upgrade,
    news,
    sent_away,
    again,
    refused,
    lambda: secure("secure", ["websocket"]),
    lambda: secure("secure upgrade", None),
    not_trusted,
)
# The proxy carries one connection at a time.
proxy("http behind")
proxy("https behind")
