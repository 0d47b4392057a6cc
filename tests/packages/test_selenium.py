"""selenium's BiDi, which is over websocket-client."""

import json
import shutil

import pytest
from support.partners import assert_same, need

need("selenium.webdriver.remote.websocket_connection", "websocket")

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(120)]

CHROMIUM = shutil.which("chromium") and shutil.which("chromedriver")


def bidi(ws):
    """Answer commands; ``end`` ends the connection, with a code and a reason."""
    for message in ws:
        ws.received.append(message if len(message) < 1000 else len(message))
        command = json.loads(message)
        if command["method"] == "end":
            ws.close(4001, "that is all")
        elif command["method"] == "fail":
            answer = {"error": "as told", "message": "it failed"}
        else:
            answer = {"result": command["params"]}
        if command["method"] == "happen":
            ws.send(json.dumps({"method": "tests.happened", "params": {"number": 17}}))
        if ws.open:
            ws.send(json.dumps({"id": command["id"], **answer}))


HANDLERS = {"/bidi": bidi}


def test_bidi_does_the_same_as_with_websocket_client(tmp_path):
    assert_same(
        "selenium_bidi",
        HANDLERS,
        tmp_path,
        ["websocket"],
        settings={"browser": bool(CHROMIUM)},
    )
