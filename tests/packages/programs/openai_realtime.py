"""The realtime client of OpenAI's SDK, against a server that sends its events back."""

import json
import os
import sys

plain, secure, authority, proxy = sys.argv[1:]
os.environ["SSL_CERT_FILE"] = authority  # what OpenSSL trusts by default

import openai  # noqa: E402
import websockets.exceptions  # noqa: E402

seen = []


def connect(url, path):
    client = openai.OpenAI(api_key="sk-test", base_url="http" + url[2:] + path, max_retries=0)
    return client.realtime.connect(model="some-model")


def closed(call, *args):
    try:
        return repr(call(*args))
    except websockets.exceptions.ConnectionClosed as exc:
        rcvd = exc.rcvd and [exc.rcvd.code, exc.rcvd.reason]
        return [type(exc).__name__, rcvd]


for url in (plain, secure):
    with connect(url, "/echo") as connection:
        for text in ("be brief", "x" * 500_000):
            event = {
                "type": "session.update",
                "session": {"type": "realtime", "instructions": text},
            }
            connection.send(event)
            answer = json.loads(connection.recv_bytes())
            seen.append(["echo", answer == event])
        connection.send({"type": "response.created", "event_id": "1", "response": {}})
        event = connection.recv()
        seen.append(["event", event.type, event.event_id])
    seen.append(["closed", closed(connection.recv_bytes)])

    with connect(url, "/close/1000") as connection:
        connection.send({"type": "response.create"})
        seen.append(["iteration", [event.type for event in connection]])
    with connect(url, "/close/1011") as connection:
        connection.send({"type": "response.create"})
        seen.append(["ended", closed(connection.recv)])
    with connect(url, "/abort") as connection:
        connection.send({"type": "response.create"})
        seen.append(["broken", closed(connection.recv)])
    with connect(url, "/ping") as connection:
        seen.append(["pinged", connection.recv_bytes().decode()])
    for status in (401, 403):
        try:
            with connect(url, f"/status/{status}"):
                pass
        except websockets.exceptions.InvalidStatus as exc:
            response = exc.response
            seen.append(["refused", response.status_code, response.body.decode()])

os.environ["WS_PROXY"] = proxy
with connect(plain.replace("127.0.0.1", "nowhere.invalid"), "/ping") as connection:
    seen.append(["by proxy", connection.recv_bytes().decode()])
del os.environ["WS_PROXY"]

os.environ["SSL_CERT_FILE"] = os.devnull
try:
    with connect(secure, "/echo"):
        pass
except Exception as exc:
    seen.append(["untrusted", type(exc).__name__])
try:
    with connect("ws://127.0.0.1:9", "/"):
        pass
except OSError as exc:
    seen.append(["unreachable", type(exc).__name__])

print(json.dumps(seen, indent=0))
