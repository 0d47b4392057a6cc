"""streamlink's client: a thread with an application of websocket-client."""

import threading

from streamlink import Streamlink
from streamlink.plugin.api.websocket import WebsocketClient
from support.telling import at_once, mark, settings, tell

SERVER_CLOSES = {"end", "drop", "401", "403", "nobody", "not trusted"}


class Client(WebsocketClient):
    """Tells what happens, and lets the program wait for it."""

    def __init__(self, name, session, url, **options):
        self.happened = {}
        self.told = name
        if name != "not trusted":
            options["sslopt"] = {"ca_certs": settings["authority"]}
        # So often looks websocket-client whether the connection was closed by another thread.
        super().__init__(session, url, **{"ping_timeout": 0.2, **options})

    def _happens(self, what, *details):
        tell(self.told, what, *details)
        self._happened(what).release()

    def _happened(self, what):
        return self.happened.setdefault(what, threading.Semaphore(0))

    def wait(self, what):
        assert self._happened(what).acquire(timeout=20), f"there was no {what}"

    def on_open(self, wsapp):
        self._happens("open", wsapp is self.ws, wsapp.url)

    def on_error(self, wsapp, error):
        is_original = type(wsapp).__module__ == "websocket._app"
        if is_original and isinstance(error, AttributeError) and self.told not in SERVER_CLOSES:
            return  # its thread may be reading, and find no socket, when another has closed it
        self._happens("error", error, getattr(error, "status_code", None))

    def on_close(self, wsapp, status, message):
        # Of websocket-client's threads any may get the answer to a close frame of ours.
        self._happens("close", *((status, message) if self.told in SERVER_CLOSES else ()))

    def on_ping(self, wsapp, data):
        self._happens("ping", data)

    def on_pong(self, wsapp, data):
        if self.told == "pings":
            self._happens("pong", data)

    def on_message(self, wsapp, data):
        self._happens("message", data if len(data) < 100 else mark(data))

    def on_data(self, wsapp, data, data_type, cont):
        tell(self.told, "data", len(data), data_type, cont)


def connected(name, path, server="ws", session=None, **options):
    """A client that is connected."""
    session = session or Streamlink()
    client = Client(name, session, settings[server] + path, **options)
    client.start()
    client.wait("open")
    return client


def close(client, status=1000, reason=""):
    client.close(status, reason)
    tell(client.told, "closed", client.is_alive())


def exchange(client, *messages):
    for message in messages:
        if isinstance(message, str):
            client.send(message)
        else:
            client.send(message, client.OPCODE_BINARY)
        client.wait("message")


def echo():
    client = connected(
        "echo",
        "/echo?1",
        subprotocols=["v2", "v1"],
        header={"X-Custom": "yes", "User-Agent": "tests"},
        cookie="a=b; c=d",
        origin="http://127.0.0.1",
        host="127.0.0.1",
    )
    exchange(client, "text, and ünïcode", b"\x00\xff", "", "x" * (2**20 + 1), b"\xa5" * 2**21)
    client.send_json({"type": "pong", "items": [1, 2]})
    client.wait("message")
    close(client, 4000, "over and out")


def plain_close():
    client = connected("plain close", "/echo?2", header=["User-Agent: tests"])
    close(client)


def pinged():
    client = connected("ping", "/ping")
    client.wait("ping")
    client.wait("message")
    client.wait("message")
    close(client)


def ping():
    client = connected("pings", "/echo?3", ping_interval=0.3, ping_payload="are you there?")
    client.wait("pong")
    close(client)


def end():
    client = connected("end", "/end")
    exchange(client, "go on")
    client.wait("close")
    client.join(10)
    tell("end", "alive", client.is_alive())


def drop():
    client = connected("drop", "/drop")
    client.send("go on")
    client.wait("close")
    client.join(10)


def reconnect():
    client = connected("reconnect", "/echo?4")
    exchange(client, "before")
    client.reconnect(url=settings["ws"] + "/echo?5", closeopts={"status": 4002})
    client.wait("open")
    exchange(client, "after")
    close(client)


def fail(name, address):
    client = Client(name, Streamlink(), address)
    client.start()
    client.wait("close")
    client.join(10)


def secure():
    client = connected("secure", "/echo?6", "wss")
    exchange(client, "by TLS", b"\x00\xff" * 2**20)
    close(client)


def proxied(name, server):
    session = Streamlink()
    session.set_option("http-proxy", settings["proxy"])
    client = connected(name, f"/echo?{name}", server, session)
    exchange(client, "by a proxy")
    close(client)


at_once(
    echo,
    plain_close,
    pinged,
    ping,
    end,
    drop,
    reconnect,
    lambda: fail("401", settings["ws"] + "/401"),
    lambda: fail("403", settings["ws"] + "/403"),
    lambda: fail("nobody", "ws://127.0.0.1:1/"),
    lambda: fail("not trusted", settings["wss"] + "/echo"),
    secure,
)
# The proxy carries one connection at a time.
proxied("proxy", "behind")
proxied("secure-proxy", "secure behind")
