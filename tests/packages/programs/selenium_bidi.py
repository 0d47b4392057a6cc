"""selenium's BiDi: the connection by itself, and with a browser if there is one."""

import shutil
import tempfile
import threading

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.websocket_connection import WebSocketConnection
from support.telling import at_once, attempt, mark, settings, tell

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--no-proxy-server"]


def command(method, **params):
    """A command as the modules of BiDi make them."""
    answer = yield {"method": method, "params": params}
    return answer


def connected(path, server="ws", timeout=10):
    return WebSocketConnection(settings[server] + path, timeout, 0.01)


class Event:
    """An event that BiDi tells of."""

    event_class = "tests.happened"

    @staticmethod
    def from_json(params):
        return params


def exchange():
    connection = connected("/bidi")
    happened = threading.Event()
    number = connection.add_callback(
        Event, lambda params: (tell("exchange", "event", params), happened.set())
    )
    tell("exchange", connection.execute(command("session.status", text="ünïcode")))
    answer = connection.execute(command("echo", text="x" * (2**20 + 1)))
    tell("exchange", "large", mark(answer["text"]))
    attempt("exchange", connection.execute, command("fail"))
    connection.execute(command("happen"))
    tell("exchange", "it happened", happened.wait(10))
    connection.remove_callback(Event, number)
    tell("exchange", connection.send_cmd("session.status", {}))
    connection.close()


def secure():
    connection = connected("/bidi?tls", "wss")
    tell("secure", connection.execute(command("session.status", text="by TLS")))
    connection.close()


def end():
    connection = connected("/bidi?end", timeout=1)
    attempt("end", connection.execute, command("end"))
    attempt("end", connection.execute, command("session.status"))
    connection.close()


def refused(status):
    connection = connected(f"/{status}", timeout=0.5)
    attempt(status, connection.execute, command("session.status"))
    connection.close()


def browse():
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    options.enable_bidi = True
    for flag in FLAGS:
        options.add_argument(flag)
    with tempfile.TemporaryDirectory() as profile:
        options.add_argument(f"--user-data-dir={profile}")
        driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            look_around(driver)
        finally:
            driver.quit()


def look_around(driver):
    logged = threading.Event()
    driver.script.add_console_message_handler(
        lambda entry: (tell("browser", "console", entry.level, entry.text), logged.set())
    )
    tell("browser", driver.session_id is not None)
    driver.get("data:text/html;charset=utf-8,<title>a page</title><p>ünïcode")
    driver.execute_script("console.log('said the page')")
    tell("browser", "console came", logged.wait(20))
    tell("browser", "script", driver.script.execute("() => document.title"))
    tell(
        "browser", "large script", mark(driver.script.execute("() => 'x'.repeat(2 ** 21)")["value"])
    )
    tell("browser", "sent", driver.script.execute("(text) => text.length", "y" * 2**21))
    attempt("browser", driver.script.execute, "() => { throw new Error('as told') }")
    context = driver.browsing_context.create(type="tab")
    tell("browser", "contexts", len(driver.browsing_context.get_tree()))
    driver.browsing_context.close(context)
    tell("browser", "contexts", len(driver.browsing_context.get_tree()))


at_once(
    exchange,
    secure,
    end,
    lambda: refused("401"),
    lambda: refused("403"),
    *([browse] if settings["browser"] else []),
)
