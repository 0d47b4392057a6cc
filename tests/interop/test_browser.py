"""Against a browser: what browsers do that libraries don't."""

import contextlib
import queue
import threading

import pytest
from support.browser import DEADLINE, needs_chromium, running_chromium

import syncws

pytestmark = [pytest.mark.browser, needs_chromium]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with running_chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def browser(chromium):
    chromium.get_log("browser")  # what others left there
    return chromium


# Opens a WebSocket, does what the test says with it, and reports its end.
SCRIPT = """
const [uri, subprotocols, action, done] = arguments;
const ws = new WebSocket(uri, subprotocols);
const seen = [];
ws.binaryType = "arraybuffer";
ws.onclose = (event) => done({
  seen, code: event.code, reason: event.reason, clean: event.wasClean,
  protocol: ws.protocol, extensions: ws.extensions,
});
ws.onopen = () => eval(action.open ?? "");
ws.onmessage = (event) => { seen.push(event.data); eval(action.message ?? ""); };
"""


def run_script(browser, uri, subprotocols=(), **action):
    return browser.execute_async_script(SCRIPT, uri, list(subprotocols), action)


@contextlib.contextmanager
def serving_pages(handler, policy="", **kwargs):
    """A server of ours that also serves an empty page; its URL, and its URI."""
    headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy}

    def process_request(ws, request):
        if "Upgrade" not in request.headers:
            page = "<!doctype html><title>page</title><link rel=icon href=data:,>"
            return ws.respond(200, page, headers)
        return None

    with syncws.serve(handler, "localhost", 0, process_request=process_request, **kwargs) as server:
        yield f"http://localhost:{server.port}/", server.uri


def echo(ws):
    for message in ws:
        ws.send(message)


@pytest.mark.parametrize("compression", ["deflate", None])
def test_large_message_comes_back(browser, compression):
    with serving_pages(echo, compression=compression) as (url, uri):
        browser.get(url)
        end = run_script(
            browser,
            uri,
            open="ws.send('abcdefgh'.repeat(1 << 17))",
            message="seen[0] = seen[0] === 'abcdefgh'.repeat(1 << 17); ws.close()",
        )
    assert end["seen"] == [True]
    assert ("permessage-deflate" in end["extensions"]) == (compression is not None)


def test_binary_message_comes_back(browser):
    with serving_pages(echo) as (url, uri):
        browser.get(url)
        end = run_script(
            browser,
            uri,
            open="ws.send(new Uint8Array(256).map((_, i) => i))",
            message="seen[0] = Array.from(new Uint8Array(seen[0])); ws.close()",
        )
    assert end["seen"] == [list(range(256))]


def test_fragments_from_us_make_one_message(browser):
    def handler(ws):
        ws.send(iter(["one ", "two ", "three"]))

    with serving_pages(handler) as (url, uri):
        browser.get(url)
        end = run_script(browser, uri)
    assert end["seen"] == ["one two three"]
    assert end["code"] == 1000


def test_ping_from_us_is_answered(browser):
    latencies = queue.Queue()

    def handler(ws):
        ping = ws.ping("are you there?")
        ping.wait(DEADLINE)
        latencies.put(ping.latency)

    with serving_pages(handler) as (url, uri):
        browser.get(url)
        run_script(browser, uri)
    assert latencies.get(timeout=DEADLINE) > 0


def test_close_code_of_the_browser_is_seen_by_both(browser):
    closed = queue.Queue()

    def handler(ws):
        ws.wait_closed(DEADLINE)
        closed.put((ws.close_code, ws.close_reason))

    with serving_pages(handler) as (url, uri):
        browser.get(url)
        end = run_script(browser, uri, open="ws.close(4001, 'bye €')")
        assert closed.get(timeout=DEADLINE) == (4001, "bye €")
    assert (end["code"], end["reason"], end["clean"]) == (4001, "bye €", True)


def test_close_code_of_ours_is_seen_by_both(browser):
    closed = queue.Queue()

    def handler(ws):
        ws.close(4002, "enough")
        closed.put((ws.close_code, ws.close_reason))

    with serving_pages(handler) as (url, uri):
        browser.get(url)
        end = run_script(browser, uri)
        assert closed.get(timeout=DEADLINE) == (4002, "enough")
    assert (end["code"], end["reason"], end["clean"]) == (4002, "enough", True)


def test_tab_that_is_closed_closes_its_connection(browser):
    opened, closed = threading.Event(), queue.Queue()

    def handler(ws):
        opened.set()
        ws.wait_closed(DEADLINE)
        closed.put(ws.close_code)

    with serving_pages(handler) as (url, uri):
        first = browser.current_window_handle
        browser.switch_to.new_window("tab")
        browser.get(url)
        browser.execute_script("window.ws = new WebSocket(arguments[0])", uri)
        assert opened.wait(DEADLINE)
        browser.close()
        browser.switch_to.window(first)
        assert closed.get(timeout=DEADLINE) == 1001


def test_subprotocol_is_agreed_on(browser):
    with serving_pages(echo, subprotocols=["superchat"]) as (url, uri):
        browser.get(url)
        end = run_script(browser, uri, ["chat", "superchat"], open="ws.close()")
    assert end["protocol"] == "superchat"


@pytest.mark.parametrize("policy", ["", "sandbox allow-scripts"], ids=["another", "null"])
def test_page_of_another_origin_is_refused(browser, policy):
    with (
        syncws.serve(echo, "localhost", 0) as server,
        serving_pages(echo, policy) as (url, _),
    ):
        browser.get(url)
        end = run_script(browser, server.uri)
        [entry] = browser.get_log("browser")
    assert (end["code"], end["clean"], end["seen"]) == (1006, False, [])
    assert "Unexpected response code: 403" in entry["message"]
