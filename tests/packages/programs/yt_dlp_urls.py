"""yt-dlp's handler of ws:// and wss:// URLs."""

import json
import sys

import yt_dlp
from yt_dlp.networking import Request
from yt_dlp.networking.exceptions import HTTPError, TransportError

plain, secure, authority, _ = sys.argv[1:]
seen = []


def failed(call, *args):
    try:
        return repr(call(*args))
    except TransportError as exc:
        return [type(exc).__name__, type(exc.cause).__name__]


for url in (plain, secure):
    with yt_dlp.YoutubeDL({"quiet": True, "nocheckcertificate": url is secure}) as ydl:
        ws = ydl.urlopen(Request(url + "/echo"))
        seen.append(["open", ws.status, ws.reason, ws.headers.get("upgrade")])
        for message in ("hello", b"\x00\xff", "x" * 900_000):
            ws.send(message)
            seen.append(["echo", ws.recv() == message])
        ws.close()
        seen.append(["closed", failed(ws.send, "late"), failed(ws.recv)])
        ws = ydl.urlopen(Request(url + "/close/1001"))
        ws.send("end")
        seen.append(["ended", failed(ws.recv)])
        ws.close()
        ws = ydl.urlopen(Request(url + "/abort"))
        ws.send("end")
        seen.append(["broken", failed(ws.recv)])
        ws.close()
        ws = ydl.urlopen(Request(url + "/ping"))
        seen.append(["pinged", ws.recv()])
        ws.close()
        for status in (401, 403):
            try:
                ydl.urlopen(Request(f"{url}/status/{status}"))
            except HTTPError as exc:
                response = exc.response
                seen.append(["refused", exc.status, exc.reason, response.read().decode()])

for url in ("ws://127.0.0.1:9/", secure + "/echo"):
    try:
        with yt_dlp.YoutubeDL({"quiet": True}) as ydl:
            ydl.urlopen(Request(url))
    except Exception as exc:
        seen.append(["failed", type(exc).__name__, type(exc.cause).__name__])

print(json.dumps(seen, indent=0))
