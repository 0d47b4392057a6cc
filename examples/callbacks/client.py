"""Print prices, whenever the server is there. Usage: python client.py [URI]."""

import contextlib
import json
import sys
import threading

import syncws.styles as websocket

names = ["tea"]


def say(*words):
    print(*words, flush=True)


def on_open(app):
    say("connected")
    for name in names:
        app.send(name)


def on_message(app, message):
    news = json.loads(message)
    say(news["name"], "costs", news["price"])


def on_error(app, exc):
    say("error:", exc)


def on_close(app, code, reason):
    say("closed:", code)


def read_names(app):
    for line in sys.stdin:
        name = line.strip()
        if not name:
            break
        names.append(name)
        with contextlib.suppress(websocket.WebSocketConnectionClosedException):
            app.send(name)  # otherwise on_open() sends it, once there is a connection
    app.close()


def main(uri):
    app = websocket.WebSocketApp(
        uri, on_open=on_open, on_message=on_message, on_error=on_error, on_close=on_close
    )
    threading.Thread(target=read_names, args=(app,), daemon=True).start()
    app.run_forever(ping_interval=20, ping_timeout=10, reconnect=True)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "ws://localhost:8765/")
