"""obsws-python's clients, which are over websocket-client."""

import json
import threading

import pytest
from support.pairs import SOON
from support.partners import assert_same, need

need("obsws_python", "websocket")

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(120)]

HELLO, IDENTIFIED, EVENT, RESPONSE = 0, 2, 5, 7


class Studio:
    """What obs-websocket does, as far as it is asked for."""

    def __init__(self):
        self._wanted = threading.Event()

    def __call__(self, ws):
        self._send(ws, HELLO, authentication={"salt": "salt", "challenge": "challenge"})
        identify = json.loads(ws.recv(SOON))["d"]
        ws.received.append(identify)
        self._send(ws, IDENTIFIED, negotiatedRpcVersion=1)
        if identify["eventSubscriptions"]:
            self._wanted.wait(SOON)
            self._wanted.clear()
            self._send(ws, EVENT, eventType="SceneCreated", eventData={"sceneName": "a scene"})
            self._send(ws, EVENT, eventType="ExitStarted")
        for message in ws:
            self._answer(ws, json.loads(message)["d"])

    def _answer(self, ws, request):
        kind = request["requestType"]
        ws.received.append(kind)
        if kind == "End":
            ws.close(4011, "that is all")
        elif kind == "Cut":
            ws.abort()
        elif kind == "SendEvents":
            self._wanted.set()
        if kind not in ("End", "Cut", "Nothing"):
            status = {"result": kind != "Fail", "code": 100}
            data = request.get("requestData", {})
            self._send(ws, RESPONSE, requestType=kind, requestStatus=status, responseData=data)

    def _send(self, ws, op, **data):
        ws.send(json.dumps({"op": op, "d": data}))


def test_clients_do_the_same_as_with_websocket_client(tmp_path):
    assert_same("obs_clients", {"/": Studio()}, tmp_path, ["websocket"])
