"""The page of the tutorial's sixth step, in a browser."""

import pytest
from support.browser import By, Keys, needs_chromium, running_chromium, wait_until
from support.pairs import SOON
from support.snippets import PORT, block, free_port
from support.transcripts import Terminal, changes, write_files

from syncws import connect

pytestmark = [pytest.mark.browser, needs_chromium]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with running_chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.mark.parametrize("folder", ["tutorial", "zh/tutorial"])
def test_the_page_of_the_sixth_step_chats(chromium, folder, tmp_path):
    port = free_port()
    (tmp_path / "rooms.py").write_text(block(f"{folder}/5-rooms", "server"), encoding="utf-8")
    write_files(f"{folder}/6-lasting", tmp_path, port)
    server = Terminal(["server.py"], tmp_path)
    try:
        server.take()
        chromium.get(f"http://localhost:{port}/chat/garden")
        chromium.find_element(By.CSS_SELECTOR, "input").send_keys("Ann", Keys.ENTER)
        wait_until(chromium, lambda: [line[:5] for line in shown(chromium)] == ["* Ann"])
        chromium.find_element(By.CSS_SELECTOR, "input").send_keys("<b>hello</b>", Keys.ENTER)
        wait_until(chromium, lambda: len(shown(chromium)) == 2)
        said = shown(chromium)[1]
        assert said.startswith("Ann")
        assert said.endswith("<b>hello</b>")
        server.press("^C")
        server.finish(anything=True)
        wait_until(chromium, lambda: len(shown(chromium)) > 2)
    finally:
        server.kill()


#: As if a proxy were there that lets no WebSocket through: nobody listens where it goes.
NO_WEBSOCKET = """
const Real = WebSocket;
globalThis.WebSocket = class extends Real {
  constructor(url) { super(url.replace(/:\\d+/, ":NOBODY")); }
};
"""


@pytest.mark.parametrize("folder", ["tutorial", "zh/tutorial"])
def test_the_page_of_the_sixth_step_chats_where_websocket_does_not_get_through(
    chromium, folder, tmp_path
):
    page, port = f"{folder}/6-lasting", free_port()
    (tmp_path / "rooms.py").write_text(block(f"{folder}/5-rooms", "server"), encoding="utf-8")
    write_files(page, tmp_path, port)
    for name, path in (("server", "server.py"), ("page", "page.html")):
        text = (tmp_path / path).read_text(encoding="utf-8")
        for old, new in changes(page, f"fallback-{name}"):
            old, new = (each.replace(PORT, str(port)) for each in (old, new))
            assert text.count(old) == 1
            text = text.replace(old, new)
        (tmp_path / path).write_text(text, encoding="utf-8")
    script = {"source": NO_WEBSOCKET.replace("NOBODY", str(free_port()))}
    added = chromium.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)
    server = Terminal(["server.py"], tmp_path)
    try:
        server.take()
        chromium.get(f"http://localhost:{port}/chat/garden")
        chromium.find_element(By.CSS_SELECTOR, "input").send_keys("Ann", Keys.ENTER)
        wait_until(chromium, lambda: [line[:5] for line in shown(chromium)] == ["* Ann"])
        assert chromium.execute_script("return ws.transport") == "streaming"
        with connect(f"ws://localhost:{port}/chat/garden") as ws:
            ws.send('{"name": "Bob"}')
            assert "Bob" in ws.recv(SOON)
            wait_until(chromium, lambda: len(shown(chromium)) == 2)
            chromium.find_element(By.CSS_SELECTOR, "input").send_keys("by HTTP", Keys.ENTER)
            assert "by HTTP" in ws.recv(SOON)
            ws.send('{"text": "by WebSocket"}')
            wait_until(chromium, lambda: shown(chromium)[-1].endswith("by WebSocket"))
        server.press("^C")
        server.finish(anything=True)
        wait_until(chromium, lambda: len(shown(chromium)) > 5)
    finally:
        server.kill()
        chromium.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def shown(chromium):
    return [line.text for line in chromium.find_elements(By.CSS_SELECTOR, "li")]
