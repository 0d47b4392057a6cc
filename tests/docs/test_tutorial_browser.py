"""The page of the tutorial's sixth step, in a browser."""

import pytest
from support.browser import By, Keys, needs_chromium, running_chromium, wait_until
from support.snippets import block, free_port
from support.transcripts import Terminal, write_files

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


def shown(chromium):
    return [line.text for line in chromium.find_elements(By.CSS_SELECTOR, "li")]
