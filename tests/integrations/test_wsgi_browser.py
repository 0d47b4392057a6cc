"""A browser, on a page that the same application serves."""

import pytest
from support.browser import DEADLINE, needs_chromium, running_chromium
from support.wsgi_servers import BAD, WsgiServer, wait_for

pytestmark = [pytest.mark.browser, needs_chromium]

KINDS = ["werkzeug", "gunicorn-gthread", "gunicorn-gevent", "cheroot", "pywsgi"]

# Twenty connections one after the other; reports what came back, and how each was closed.
COME_AND_GO = """
const [path, done] = arguments;
const uri = `ws://${location.host}${path}`;
const seen = [];
function next(number) {
  const ws = new WebSocket(uri);
  ws.onopen = () => ws.send(`message ${number}`);
  ws.onmessage = (event) => { seen.push(event.data); ws.close(1000); };
  ws.onclose = (event) => {
    if (event.code !== 1000 || number === 19) done([seen, event.code]);
    else next(number + 1);
  };
}
next(0);
"""

SEND_LARGE = """
const done = arguments[0];
const ws = new WebSocket(`ws://${location.host}/echo`);
ws.binaryType = "arraybuffer";
ws.onopen = () => ws.send(new Uint8Array(3000000));
ws.onmessage = (event) => { done(event.data.byteLength); ws.close(); };
"""

HOLD = """
const done = arguments[0];
window.ws = new WebSocket(`ws://${location.host}/hold`);
window.ws.onmessage = (event) => done(event.data);
"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with running_chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    started = {kind: WsgiServer(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}
    yield started
    for server in started.values():
        server.close()


@pytest.fixture(params=KINDS)
def server(servers, request):
    return servers[request.param]


def test_connections_of_a_page_come_and_go(chromium, server):
    chromium.set_script_timeout(DEADLINE)
    chromium.get(f"http://127.0.0.1:{server.port}/")
    seen, code = chromium.execute_async_script(COME_AND_GO, "/echo")
    assert seen == [f"message {number}" for number in range(20)]
    assert code == 1000
    assert chromium.execute_async_script(SEND_LARGE) == 3_000_000
    first = chromium.current_window_handle
    chromium.switch_to.new_window("tab")
    chromium.get(f"http://127.0.0.1:{server.port}/")
    assert chromium.execute_async_script(HOLD) == "ready"
    chromium.close()  # the tab, and the connection with it
    chromium.switch_to.window(first)
    wait_for(lambda: "closed by the client with 1001" in server.log, server)
    chromium.get(f"http://127.0.0.1:{server.port}/")  # it serves pages as before
    assert chromium.title == "page"
    wait_for(lambda: server.status()["open"] == 0, server)
    assert not BAD.search(server.log), server.log


def test_page_of_another_origin_is_refused(chromium, servers):
    elsewhere, server = servers["werkzeug"], servers["cheroot"]
    chromium.get(f"http://127.0.0.1:{elsewhere.port}/")
    script = """
    const [uri, done] = arguments;
    new WebSocket(uri).onclose = (event) => done(event.code);
    """
    uri = f"ws://127.0.0.1:{server.port}/echo"
    assert chromium.execute_async_script(script, uri) == 1006
    wait_for(lambda: "would accept it" in server.log, server)
