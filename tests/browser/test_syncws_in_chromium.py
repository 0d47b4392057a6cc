"""syncws.js in a browser: it does what the browser's own WebSocket does."""

import pytest
from support.browser import load, needs_chromium, running_chromium
from support.node import BROWSER
from support.serving import serving
from support.socket_programs import PROGRAMS

from syncws import Headers, Response

pytestmark = [pytest.mark.browser, needs_chromium]

KINDS = ["native", "websocket", "streaming", "polling"]

RUN = """
    const [kind, url, done_] = arguments;
    const reports = [];
    const report = (value) => reports.push(value);
    const done = () => done_(reports);
    const next = (target, type) => new Promise((resolve) => {
      target.addEventListener(type, resolve, { once: true });
    });
    const make = (url, protocols) => kind == "native"
      ? new WebSocket(url, protocols)
      : new Syncws(url, protocols, { transports: [kind] });
    (async () => {
      %s
    })().catch((error) => done_([...reports, String(error)]));
"""


def page(connection, request):
    """Answer plain requests: a page, and the script."""
    if "Syncws-Session" in request.headers or "Upgrade" in request.headers:
        return None
    if request.path == "/syncws.js":
        body, kind = (BROWSER / "syncws.js").read_bytes(), "text/javascript"
    else:
        body = b"<!DOCTYPE html><title>Test</title><script src='/syncws.js'></script>"
        kind = "text/html; charset=utf-8"
    headers = Headers([("Content-Type", kind), ("Content-Length", str(len(body)))])
    return Response(200, "OK", headers, body)


def choose(ws, offered):
    return "chat" if "chat" in offered else None


@pytest.fixture
def server():
    with serving(
        select_subprotocol=choose, process_request=page, fallback=True, host="localhost"
    ) as server:
        yield server


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with running_chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_it_does_what_the_browsers_own_does(name, kind, server, chromium):
    load(chromium, f"http://localhost:{server.port}/")
    url = f"ws://localhost:{server.port}/chat?room=news"
    said = chromium.execute_async_script(RUN % PROGRAMS[name].source, kind, url)
    assert said == PROGRAMS[name].says


@pytest.mark.parametrize("kind", ["websocket", "streaming", "polling"])
def test_many_messages_come_in_order(kind, server, chromium):
    load(chromium, f"http://localhost:{server.port}/")
    source = """
        const ws = make(url);
        await next(ws, "open");
        let due = 0;
        ws.onmessage = ({ data }) => {
          if (data != due++) report([data, due]);
          if (due == 20000) done();
        };
        for (let i = 0; i < 20000; i++) ws.send(i);
    """
    url = f"ws://localhost:{server.port}/"
    assert chromium.execute_async_script(RUN % source, kind, url) == []


def test_a_page_that_is_left_ends_its_session(server, chromium):
    load(chromium, f"http://localhost:{server.port}/")
    source = """
        const ws = make(url);
        await next(ws, "open");
        done();
    """
    url = f"ws://localhost:{server.port}/leaving"
    chromium.execute_async_script(RUN % source, "polling", url)
    (connection,) = [each for each in server.connections if each.path == "/leaving"]
    chromium.get(f"http://localhost:{server.port}/elsewhere")
    assert connection.wait_closed(timeout=20)
    assert connection.close_code == 1006
