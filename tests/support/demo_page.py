"""The demo's page in headless Chromium. Test modules import the fixtures, too."""

import contextlib
import re

import pytest
from support.browser import By, Keys, running_chromium, wait_until

__all__ = ["DESKTOP", "PHONE", "Page", "chromium", "open_page"]

PHONE = (360, 740)
DESKTOP = (1280, 800)

#: What the network does is said in the console, too: a server that is gone, or closes. A broken
#: policy has other words.
OF_NETWORK = re.compile("ERR_CONNECTION|status of 503")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    # Of two windows, only one is in front; the other shall not be throttled.
    flags = ["--disable-renderer-backgrounding", "--disable-background-timer-throttling"]
    with running_chromium(tmp_path_factory.mktemp("profile"), *flags) as driver:
        yield driver


class Page:
    """The demo's page in a window of its own."""

    def __init__(self, browser, port, fragment="", size=DESKTOP):
        self.browser = browser
        browser.switch_to.new_window("tab")
        self.handle = browser.current_window_handle
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {
                "width": size[0],
                "height": size[1],
                "deviceScaleFactor": 1,
                "mobile": size == PHONE,
            },
        )
        browser.get(f"http://localhost:{port}/{fragment}")
        self.wait_for_state("Online")

    def look(self):
        """Put the window in front, for what follows."""
        self.browser.switch_to.window(self.handle)
        return self

    def find(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector):
        script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)"
        return self.browser.execute_script(script, selector)

    def wait_for_state(self, text):
        wait_until(self.browser, lambda: self.texts("#state") == [text])

    def wait_for(self, selector, *texts):
        """Wait until these are the texts of what the selector finds."""
        with contextlib.suppress(Exception):  # then the assertion shows what there is
            wait_until(self.browser, lambda: self.texts(selector) == list(texts))
        assert self.texts(selector) == list(texts)

    def rename(self, name):
        self.find("#name").send_keys(Keys.CONTROL, "a", Keys.CONTROL, name, Keys.ENTER)
        wait_until(self.browser, lambda: f"{name} (you)" in self.texts("#members li"))

    def say(self, text):
        self.find("#text").send_keys(text, Keys.ENTER)

    def is_too_wide(self):
        script = "return document.documentElement.scrollWidth > innerWidth"
        return self.browser.execute_script(script)


@pytest.fixture
def open_page(chromium, request):
    """A function that opens a page; at the end nothing is in the console that must not be.

    Without a port it is the page of the fixture ``server``.
    """
    first = chromium.current_window_handle
    pages = []

    def open_one(fragment="", size=DESKTOP, port=None):
        port = port or request.getfixturevalue("server").port
        pages.append(Page(chromium, port, fragment, size))
        return pages[-1]

    yield open_one
    for page in pages:
        if page.handle not in chromium.window_handles:
            continue
        page.look()
        page.browser.execute_script("localStorage.clear()")
        entries = page.browser.get_log("browser")
        page.browser.close()
        assert [each for each in entries if not OF_NETWORK.search(each["message"])] == []
    chromium.switch_to.window(first)
