"""Applications with the fallback, called by hand or in waitress, in this process."""

import contextlib
import io
import json
import threading

import pytest
from support.fallback_user import BYTES, new_nonce
from support.pairs import SOON
from support.wsgi_requests import Started

from syncws.integrations.wsgi_roster import roster


@contextlib.contextmanager
def serving(app, threads=20):
    """waitress, in a thread; yields its port."""
    waitress_server = pytest.importorskip("waitress.server")
    wasyncore = pytest.importorskip("waitress.wasyncore")
    sockets = {}
    server = waitress_server.create_server(
        app, sockets, host="127.0.0.1", port=0, threads=threads, clear_untrusted_proxy_headers=False
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield server.effective_port
    finally:
        app.close()
        # Its loop ends with the last of its sockets.
        server.trigger.pull_trigger(lambda: wasyncore.close_all(sockets))
        thread.join(SOON)
        assert not thread.is_alive()
        server.task_dispatcher.shutdown()
        assert roster._waiting == 0


def make_environ(method="GET", path="/x", body=b"", **changes):
    environ = {
        "REQUEST_METHOD": method,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "REMOTE_ADDR": "192.0.2.1",
        "wsgi.url_scheme": "http",
        "wsgi.multithread": True,
        "wsgi.input": io.BytesIO(body),
        "HTTP_HOST": "localhost",
    }
    environ.update(changes)
    return {key: value for key, value in environ.items() if value is not None}


def opening(**changes):
    return make_environ(
        "POST",
        HTTP_SYNCWS_SESSION="new",
        HTTP_SYNCWS_NONCE=new_nonce(),
        CONTENT_TYPE=BYTES,
        CONTENT_LENGTH="0",
        **changes,
    )


def call(app, environ):
    """Status, headers and body of an answer."""
    started = Started()
    result = app(environ, started)
    body = b"".join(result)
    getattr(result, "close", lambda: None)()
    return started.status, dict(started.headers), body


def code(body):
    return json.loads(body)["error"]["code"]
