"""slack_sdk's socket mode; the addresses it gets come from the same server."""

import logging
import os
import queue

from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.socket_mode.websocket_client import SocketModeClient
from slack_sdk.web import WebClient
from support.telling import at_once, settings, tell

os.environ["WEBSOCKET_CLIENT_CA_BUNDLE"] = settings["authority"]
logging.getLogger("slack_sdk").setLevel(logging.CRITICAL)


class Bot:
    """A client; the server sends it to the path that its token names."""

    def __init__(self, name, path, server="ws", **options):
        self.name = name
        self.happened = {
            kind: queue.Queue() for kind in ("open", "error", "close", "message", "answer")
        }
        self.client = SocketModeClient(
            app_token=f"{server} {path}",
            web_client=WebClient(base_url=settings["ws"].replace("ws", "http", 1) + "/api/"),
            on_open_listeners=[lambda ws: self.happens("open")],
            on_error_listeners=[lambda ws, error: self.happens("error", error)],
            on_close_listeners=[lambda ws: self.happens("close")],
            ping_interval=2,
            **options,
        )
        self.client.message_listeners.append(lambda client, message, raw: self.listen(message))
        self.client.socket_mode_request_listeners.append(self.answer)

    def happens(self, kind, *details):
        self.happened[kind].put(details)

    def listen(self, message):
        if message.get("type") != "hello":
            self.happens("message", len(message["text"]) if "text" in message else message)

    def answer(self, client, request):
        client.send_socket_mode_response(
            SocketModeResponse(envelope_id=request.envelope_id, payload={"text": "done"})
        )
        self.happens("answer", request.envelope_id)

    def tell(self, *kinds):
        """Tell what happens, by kind: kinds happen in threads of their own."""
        for kind in kinds:
            tell(self.name, kind, *self.happened[kind].get(timeout=20))

    def connect(self):
        self.client.connect()
        self.tell("open")

    def close(self):
        self.client.close()
        tell(self.name, "closed", self.client.is_connected())


def connected(name, path, *arguments, **options):
    bot = Bot(name, path, *arguments, **options)
    bot.connect()
    tell(name, "connected", bot.client.is_connected())
    return bot


def requests():
    bot = connected("requests", "/requests")
    bot.tell("message", "answer", "message", "answer")
    bot.client.send_message("x" * (2**20 + 1))
    bot.tell("message")
    bot.close()


def end():
    bot = connected("end", "/end", auto_reconnect_enabled=False)
    bot.client.send_message("go on")
    bot.tell("message", "error", "close")
    bot.close()


def come_again(name, path, *events):
    bot = connected(name, path)
    bot.client.send_message("go on")
    bot.tell(*events, "open")
    bot.client.send_message("hello again")
    bot.tell("message")
    bot.close()


def secure():
    bot = connected("secure", "/requests?tls", "wss")
    bot.tell("message", "answer", "message", "answer")
    bot.close()


def refused(status):
    bot = Bot(status, f"/{status}", auto_reconnect_enabled=False)
    bot.client.connect()
    bot.tell("error", "close")
    bot.close()


def proxy():
    address = settings["proxy"].rpartition("/")[2].split(":")
    bot = connected(
        "proxy",
        "/requests?proxy",
        "behind",
        http_proxy_host=address[0],
        http_proxy_port=int(address[1]),
        proxy_type="http",
    )
    bot.tell("message", "answer", "message", "answer")
    bot.close()


at_once(
    requests,
    end,
    lambda: come_again("close", "/once", "message", "error", "close"),
    lambda: come_again("cut", "/unreliable", "error", "close"),
    lambda: come_again("sent away", "/away"),
    lambda: refused("401"),
    lambda: refused("403"),
    secure,
    proxy,
)
