"""Headless Chromium for tests, driven by selenium.

A test module that imports from here is skipped as a whole if selenium isn't installed. Mark it
`browser` and `needs_chromium`::

    pytestmark = [pytest.mark.browser, needs_chromium]

    @pytest.fixture(scope="module")
    def chromium(tmp_path_factory):
        with running_chromium(tmp_path_factory.mktemp("profile")) as driver:
            yield driver
"""

import contextlib
import shutil

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

__all__ = [
    "DEADLINE",
    "By",
    "Keys",
    "load",
    "needs_chromium",
    "running_chromium",
    "wait_until",
]

#: Seconds for whatever should take no time at all, on a busy machine.
DEADLINE = 20.0

CHROMIUM = shutil.which("chromium")
CHROMEDRIVER = shutil.which("chromedriver")

needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER), reason="no chromium, or no chromedriver, is installed"
)

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
]


@contextlib.contextmanager
def running_chromium(profile, *flags):
    """A headless Chromium; yields its driver, which keeps the browser's console log.

    Args:
        profile: a new directory for the browser's files.
        flags: more flags for the command line.
    """
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    # No speculative connections: a server that closes would wait a second for their requests.
    options.add_experimental_option("prefs", {"net.network_prediction_options": 2})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={profile}", *flags):
        options.add_argument(flag)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("no_proxy", "*")
        driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
        try:
            driver.set_page_load_timeout(DEADLINE)
            driver.set_script_timeout(DEADLINE)
            yield driver
        finally:
            driver.quit()


def load(browser, url):
    """Load a page with syncws.js, and wait until that has run: on a busy machine get() may not."""
    browser.get(url)
    wait_until(browser, lambda: browser.execute_script("return typeof Syncws") == "function")


def wait_until(browser, condition):
    """Wait until a condition holds; return what it returned."""
    return WebDriverWait(browser, DEADLINE, poll_frequency=0.02).until(lambda _: condition())
