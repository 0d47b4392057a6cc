"""yt-dlp's handler of ws:// and wss://."""

import os

from support.telling import attempt, mark, settings, tell
from yt_dlp import YoutubeDL
from yt_dlp.networking import Request
from yt_dlp.networking.exceptions import HTTPError, RequestError

os.environ["SSL_CERT_FILE"] = settings["authority"]


def opened(downloader, name, uri, **options):
    """Open an address; tell how that went, and return what is open."""
    headers = {"User-Agent": "tests", **options.pop("headers", {})}
    try:
        ws = downloader.urlopen(Request(uri, headers=headers, **options))
    except HTTPError as exc:
        body = exc.response.read().decode()
        tell(name, "refused", exc.status, exc.reason, exc.response.headers["X-Reason"], body)
    except RequestError as exc:
        tell(name, "failed", exc, exc.cause)
    else:
        tell(name, "opened", ws.status, ws.reason, ws.headers["Upgrade"], ws.url)
        return ws


def exchanged(name, ws, *messages):
    for message in messages:
        ws.send(message)
        tell(name, ws.recv())


quiet = {"quiet": True, "no_warnings": True, "socket_timeout": 10}
with YoutubeDL({**quiet, "compat_opts": {"no-certifi"}}) as downloader:
    ws = opened(downloader, "echo", f"{settings['ws']}/echo", headers={"X-Custom": "yes"})
    exchanged("echo", ws, "text, and ünïcode", b"\x00\xff", "", bytearray(b"bytes"))
    ws.send("x" * (2**20 + 1))
    attempt("too large", ws.recv)
    attempt("sent after the end", ws.send, "more")
    ws.close()

    ws = opened(downloader, "large", f"{settings['ws']}/echo")
    ws.send(b"\xa5" * 2**20)
    tell("large", mark(ws.recv()))
    attempt("a number", ws.send, 17)
    ws.close()
    attempt("received after close", ws.recv)

    ws = opened(downloader, "ping", f"{settings['ws']}/ping")
    tell("ping", ws.recv(), ws.recv())
    ws.close()

    ws = opened(downloader, "end", f"{settings['ws']}/end")
    exchanged("end", ws, "go on")
    attempt("received at the end", ws.recv)
    attempt("sent at the end", ws.send, "more")
    ws.close()

    ws = opened(downloader, "drop", f"{settings['ws']}/unreliable")
    ws.send("go on")
    attempt("received when cut", ws.recv)
    ws = opened(downloader, "again", f"{settings['ws']}/unreliable")
    exchanged("again", ws, "hello")
    ws.close()

    opened(downloader, "401", f"{settings['ws']}/401")
    opened(downloader, "403", f"{settings['ws']}/403")
    opened(downloader, "nobody", "ws://127.0.0.1:1/")
    opened(downloader, "an HTTP server", f"{settings['ws']}/page")

    ws = opened(downloader, "secure", f"{settings['wss']}/echo")
    exchanged("secure", ws, "by TLS", b"\x00\xff")
    ws.close()

with YoutubeDL(quiet) as downloader:
    opened(downloader, "not trusted", f"{settings['wss']}/echo")
with YoutubeDL({**quiet, "nocheckcertificate": True, "proxy": settings["socks"]}) as downloader:
    ws = opened(downloader, "proxy", f"{settings['behind']}/echo")
    exchanged("proxy", ws, "by a proxy")
    ws.close()
    ws = opened(downloader, "secure proxy", f"{settings['secure behind']}/echo")
    exchanged("secure proxy", ws, "by TLS and a proxy")
    ws.close()
