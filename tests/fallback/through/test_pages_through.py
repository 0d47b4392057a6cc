"""Pages in Chromium: who may open and use sessions, what travels with them, what is logged."""

import contextlib
import json
import logging
import queue

import pytest
from support.browser import load, needs_chromium, running_chromium, wait_until
from support.fallback_client import FallbackClient
from support.pairs import SOON
from support.serving import serving

from syncws import Fallback

pytestmark = [pytest.mark.browser, needs_chromium]

#: Each of these calls done() with what has come of it.
OPEN = """
const socket = new Syncws(arguments[0], [], { transports: [arguments[1]], openTimeout: 3000 });
socket.onopen = () => socket.send("hello");
socket.onmessage = ({ data }) => { done(data); socket.close(); };
socket.onclose = () => done("closed");
"""
ASK = """
fetch(arguments[0], { method: "POST", credentials: "include", headers: {
  "Content-Type": "application/octet-stream",
  "Syncws-Session": arguments[1],
  "Syncws-Nonce": "n".repeat(22),
  "Syncws-Position": "0",
  "Syncws-Ack": "0",
} }).then(async (response) => done([response.status, await response.text()]), () => done("failed"));
"""
ASK_SIMPLY = """
fetch(arguments[0], {
  method: "POST", mode: "no-cors", credentials: "include", body: "x",
  headers: { "Content-Type": "text/plain", "Syncws-Session": "new" },
}).then((response) => done(response.type), () => done("failed"));
"""
SUBMIT = """
const form = document.body.appendChild(document.createElement("form"));
form.action = arguments[0];
form.method = "POST";
form.enctype = "text/plain";
form.target = "frame";
const field = form.appendChild(document.createElement("input"));
field.name = "Syncws-Session: new";
const frame = document.createElement("iframe");
frame.name = "frame";
document.body.appendChild(frame);
frame.onload = () => frame.contentDocument || done("answered"); // by the other origin
form.submit();
"""


def build_page(script):
    return f"<!doctype html><title>page</title><script src={script}></script><body>"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with running_chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


class Sites:
    """A server with sessions, and a page of another origin."""

    def __init__(self, chromium, server, other, opened, requests):
        self._chromium = chromium
        self.server = server
        self.uri = f"http://127.0.0.1:{server.port}/"
        self._pages = {
            "same": f"{self.uri}page",
            "other": f"http://127.0.0.1:{other.port}/page",
            "localhost": f"http://localhost:{server.port}/page",
        }
        self.opened = opened
        self.requests = requests

    def run(self, script, *args, on="other"):
        """Run a script on a page; return what it calls done() with."""
        load(self._chromium, self._pages[on])
        done = "const done = arguments[arguments.length - 1];"
        return self._chromium.execute_async_script(done + script, self.uri, *args)

    def cookie(self):
        self._chromium.get(self._pages["same"])
        self._chromium.add_cookie({"name": "user", "value": "ann"})


@contextlib.contextmanager
def sites(chromium, **options):
    """Args: options of the server; ``origins`` may have "other" for the other page's."""
    opened, requests = queue.Queue(), []

    def echo(ws):
        opened.put(ws)
        for message in ws:
            ws.send(message)

    def answer(script):
        def page(ws, request):
            requests.append(request)
            if request.path == "/page":
                return ws.respond(200, build_page(script), {"Content-Type": "text/html"})
            return None

        return page

    with contextlib.ExitStack() as stack:
        # The other page has its copy of the script: it needs no leave to read that.
        other = stack.enter_context(
            serving(echo, fallback=True, process_request=answer("/syncws.js"))
        )
        if options.get("origins") == "other":
            options["origins"] = [f"http://127.0.0.1:{other.port}"]
        options = {"fallback": True, "process_request": answer("/syncws.js"), **options}
        server = stack.enter_context(serving(echo, **options))
        yield Sites(chromium, server, other, opened, requests)


@pytest.fixture
def strict(chromium):
    with sites(chromium) as found:
        yield found


# --- pages of other origins ----------------------------------------------------------


@pytest.mark.parametrize("transport", ["websocket", "streaming", "polling"])
def test_another_origin_opens_nothing(strict, transport):
    assert strict.run(OPEN, transport) == "closed"
    assert strict.opened.empty()


def test_another_origin_is_not_even_told_why(strict):
    assert strict.run(ASK, "new") == "failed"
    assert strict.opened.empty()


def test_another_origin_can_not_use_a_session(strict):
    """Should it have learnt its id."""
    with FallbackClient(strict.server, Origin=strict.uri.rstrip("/")) as client:
        assert client.open().status == 200
        status, body = strict.run(ASK, client.session)
        assert (status, json.loads(body)["error"]["code"]) == (403, "origin")


def test_requests_that_need_no_leave_open_nothing(strict):
    """Browsers leave the header out of them, and forms have none."""
    assert strict.run(ASK_SIMPLY) in ("opaque", "failed")
    assert strict.run(SUBMIT) == "answered"
    assert strict.opened.empty()
    posts = [each for each in strict.requests if each.method == "POST"]
    assert len(posts) == 2
    assert not any("Syncws-Session" in each.headers for each in posts)


@pytest.mark.parametrize("transport", ["websocket", "streaming", "polling"])
def test_an_origin_that_may_can(chromium, transport):
    with sites(chromium, origins="other") as found:
        assert found.run(OPEN, transport) == "hello"
        ws = found.opened.get(timeout=SOON)
        assert ws.transport == transport
        assert found.run(OPEN, transport, on="localhost") == "closed"


# --- what travels -------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["streaming", "polling"])
@pytest.mark.parametrize("page", ["same", "other"])
def test_cookies_travel(chromium, transport, page):
    with sites(chromium, **({"origins": "other"} if page == "other" else {})) as found:
        found.cookie()
        assert found.run(OPEN, transport, on=page) == "hello"
        assert found.opened.get(timeout=SOON).request.headers["Cookie"] == "user=ann"


@pytest.mark.parametrize("transport", ["streaming", "polling"])
def test_the_session_is_in_no_url_and_no_log(chromium, transport, caplog):
    caplog.set_level(logging.DEBUG)
    with sites(chromium, fallback=Fallback(session_timeout=10)) as found:
        assert found.run(OPEN.replace("socket.close()", "0"), transport, on="same") == "hello"
        names = list(found.server._handling.fallback._sessions._sessions)
        assert len(names) == 1
        asked = chromium.execute_script(
            "return performance.getEntriesByType('resource').map((entry) => entry.name)"
        )
        assert sum(url == found.uri for url in asked) >= 2
        assert not any(names[0] in url for url in asked)
        found.opened.get(timeout=SOON).close()
        wait_until(chromium, lambda: not found.server.connections)
    said = caplog.text + str(chromium.get_log("browser"))
    assert names[0] not in said
    assert "127.0.0.1" in said  # something was logged
