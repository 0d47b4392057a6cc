"""The realtime client of the OpenAI SDK, which is over websockets."""

import json

import pytest
from support.partners import HANDLERS, assert_same, drop, need

need("openai", "websockets")

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(120)]


def send_event(ws, kind, **details):
    ws.send(json.dumps({"type": kind, "event_id": "event_1", **details}))


def echo(ws):
    """Begin a session, and answer events with events, what isn't JSON with itself."""
    send_event(ws, "session.created", session={"id": "sess_1", "type": "realtime"})
    for message in ws:
        ws.received.append(message if len(message) < 1000 else len(message))
        event = json.loads(message)
        if event["type"] == "session.update":
            send_event(ws, "session.updated", session=event["session"])
        elif event["type"] == "input_audio_buffer.append":
            send_event(ws, "response.output_audio.delta", delta=event["audio"])
        else:
            ws.send(message)


def events(ws):
    """Begin a session, and close in good order."""
    send_event(ws, "session.created", session={"id": "sess_1", "type": "realtime"})
    ws.close(1000, "enough")


def unreliable(ws):
    (echo if ws.count else drop)(ws)


HANDLERS = {
    **HANDLERS,
    "/echo": echo,
    "/good": events,
    "/events": events,
    "/unreliable": unreliable,
}


def test_realtime_client_does_the_same_as_with_websockets(tmp_path):
    assert_same("openai_realtime", HANDLERS, tmp_path, ["websockets"])
