"""streamlink's WebSocket client."""

import json
import sys
import threading

plain, secure, authority, proxy = sys.argv[1:]

import streamlink  # noqa: E402
from streamlink.plugin.api.websocket import WebsocketClient  # noqa: E402

SOON = 20
seen = []


class Client(WebsocketClient):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.events, self.opened, self.came = [], threading.Event(), threading.Event()
        self.leaving = False  # what comes after that is a race in websocket-client

    def on_open(self, app):
        self.events.append(["open"])
        self.opened.set()

    def on_message(self, app, data):
        self.events.append(["message", len(data)])
        self.came.set()

    def on_error(self, app, error):
        if not self.leaving:
            self.events.append(["error", type(error).__name__])

    def on_close(self, app, status, message):
        self.events.append(["close", status, message] if not self.leaving else ["left"])

    def close(self, *args, **kwargs):
        self.leaving = True
        super().close(*args, **kwargs)

    def reconnect(self, *args, **kwargs):
        self.leaving = True
        super().reconnect(*args, **kwargs)


def run(url, act, **options):
    session = streamlink.Streamlink(options)
    client = Client(session, url, sslopt={"ca_certs": authority})
    client.start()
    act(client)
    client.join(SOON)
    seen.append([client.is_alive(), client.events])


def talk(client):
    assert client.opened.wait(SOON)
    for message in ("hello", "x" * 500_000, "\u00e9" * 1000):
        client.came.clear()
        client.send(message)
        assert client.came.wait(SOON)
    client.came.clear()
    client.send_json({"some": "thing"})
    assert client.came.wait(SOON)
    client.close(reason="bye")


def send(client):
    assert client.opened.wait(SOON)
    client.send("end")


def again(client):
    assert client.opened.wait(SOON)
    client.opened.clear()
    client.reconnect()
    assert client.opened.wait(SOON)
    client.close()


for url in (plain, secure):
    run(url + "/echo", talk)
    run(url + "/close/1001", send)
    run(url + "/abort", send)
    run(url + "/ping", lambda client: client.came.wait(SOON) and client.close())
    run(url + "/echo", again)
    for status in (401, 403):
        run(f"{url}/status/{status}", lambda client: None)
nowhere = plain.replace("127.0.0.1", "nowhere.invalid")
run(nowhere + "/echo", talk, **{"http-proxy": proxy})
run("ws://127.0.0.1:9/", lambda client: None)
print(json.dumps(seen, indent=0))
