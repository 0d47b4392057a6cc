"""slack_sdk's socket mode over websocket-client."""

import json
import logging
import sys
import threading

plain, secure, authority, proxy = sys.argv[1:]

from slack_sdk.socket_mode.websocket_client import SocketModeClient  # noqa: E402

logging.disable(logging.CRITICAL)
SOON = 20
seen = []


def make_client(url, **kwargs):
    client = SocketModeClient("xapp-test", ping_interval=0.5, **kwargs)
    client.issue_new_wss_url = lambda: url
    client.wss_uri = url
    client.opened, client.ended, client.came = (threading.Event() for _ in range(3))
    client.events = []
    client.on_open_listeners.append(lambda ws: client.opened.set())
    client.on_error_listeners.append(lambda ws, exc: client.events.append(type(exc).__name__))

    def ended(ws, *args):
        client.ended.set()

    def came(ws, message):
        client.events.append(len(message))
        client.came.set()

    client.on_close_listeners.append(ended)
    client.on_message_listeners.append(came)
    return client


client = make_client(plain + "/echo", auto_reconnect_enabled=False)
client.connect()
assert client.opened.wait(SOON)
seen.append(["connected", client.is_connected()])
for message in ('{"type": "hello"}', json.dumps({"type": "x", "text": "y" * 500_000})):
    client.came.clear()
    client.send_message(message)
    assert client.came.wait(SOON)
client.disconnect()
seen.append(["ended", client.ended.wait(SOON), client.is_connected(), client.events])
client.close()

host, _, port = proxy.rpartition("/")[2].partition(":")
nowhere = plain.replace("127.0.0.1", "nowhere.invalid")
client = make_client(
    nowhere + "/echo",
    auto_reconnect_enabled=False,
    http_proxy_host=host,
    http_proxy_port=int(port),
    proxy_type="http",
)
client.connect()
assert client.opened.wait(SOON)
client.send_message('{"type": "hello"}')
seen.append(["by proxy", client.came.wait(SOON)])
client.close()

for path in ("/close/1001", "/abort"):
    client = make_client(plain + path, auto_reconnect_enabled=True)
    client.connect()
    assert client.opened.wait(SOON)
    client.opened.clear()
    client.send_message('{"type": "end"}')
    seen.append(["again", path, client.opened.wait(SOON), client.events])
    client.close()

for status in (401, 403):
    client = make_client(f"{plain}/status/{status}", auto_reconnect_enabled=False)
    client.connect()
    seen.append(["refused", status, client.ended.wait(SOON), client.events[:1]])
    client.close()
print(json.dumps(seen, indent=0))
