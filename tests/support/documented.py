"""The server that the programs in websocket-client's documentation talk to."""

import contextlib
import threading

from support.serving import echo, serving

from syncws import Router


def greet(ws):
    ws.send("welcome")
    echo(ws)


def count(ws):
    for number in range(3):
        ws.send(f"number {number}")
    ws.close(1001, "that's all")


def echo_bytes(ws):
    for message in ws:
        ws.send(message if isinstance(message, bytes) else message.upper())


def say_subprotocol(ws):
    ws.send(str(ws.subprotocol))


def say_headers(ws):
    headers = ws.request.headers
    for name in ("Origin", "X-Custom", "Cookie", "Host"):
        ws.send(f"{name}: {headers.get(name, '-')}".replace(str(ws.local_address[1]), "PORT"))


def stay_silent(ws):
    ws.wait_closed()


def ping(ws):
    ws.ping(b"are you there?").wait(10)
    ws.send("you are")
    ws.wait_closed()


def fragments(ws):
    ws.send(["one ", "message ", "in pieces"])


class Unreliable:
    """Cuts its first two connections, and echoes on the third."""

    def __init__(self):
        self._left = 2
        self._lock = threading.Lock()

    def __call__(self, ws):
        with self._lock:
            self._left -= 1
            stays = self._left < 0
        if stays:
            greet(ws)
        else:
            ws.abort()


def refuse(ws, request):
    return ws.respond(403, "members only\n") if request.path == "/private" else None


def choose(ws, offered):
    return next((each for each in offered if each in ("chat", "other")), None)


@contextlib.contextmanager
def documented_server():
    router = Router()
    for path, handler in {
        "/": greet,
        "/private": greet,
        "/count": count,
        "/bytes": echo_bytes,
        "/subprotocol": say_subprotocol,
        "/headers": say_headers,
        "/silent": stay_silent,
        "/ping": ping,
        "/fragments": fragments,
        "/unreliable": Unreliable(),
    }.items():
        router.route(path)(handler)
    with serving(router, process_request=refuse, select_subprotocol=choose) as running:
        yield running
