"""A chat in a Flask application: a page, a login, and a WebSocket that has their session."""

import sys
import threading

from flask import Flask, abort, redirect, request, session

from syncws import broadcast
from syncws.integrations.flask import Sock

PAGE = """<!doctype html><title>Chat</title>
<form method="post" action="login"><input name="name" placeholder="your name"></form>
<input id="text" placeholder="say something"><pre id="log"></pre>
<script>
const ws = new WebSocket("chat");  // browsers know where from
ws.onmessage = (event) => { log.textContent += event.data + "\\n"; };
text.onchange = () => { ws.send(text.value); text.value = ""; };
</script>"""

app = Flask(__name__)
app.secret_key = "change me"
app.config["SYNCWS_MAX_SIZE"] = 1000
sock = Sock(app)
present = set()  # connections; guarded by the lock
lock = threading.Lock()


@app.get("/")
def page():
    return PAGE


@app.post("/login")
def login():
    session["name"] = request.form["name"]
    return redirect("/")


def needs_name(view):
    return lambda **values: view(**values) if "name" in session else abort(401)


@sock.route("/chat", decorators=[needs_name])
def chat(ws):
    with lock:
        present.add(ws)
    try:
        for message in ws:
            with lock:
                everybody = set(present)
            broadcast(everybody, f"{session['name']}: {message}")
    finally:
        with lock:
            present.discard(ws)


if __name__ == "__main__":
    app.run(port=int(sys.argv[1]) if len(sys.argv) > 1 else 8765)
