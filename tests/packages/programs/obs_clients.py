"""obsws-python's clients, for requests and for events."""

import logging
import threading

import obsws_python as obs
from support.telling import mark, settings, tell

logging.getLogger("obsws_python").setLevel(logging.CRITICAL)

host, _, port = settings["ws"].rpartition("/")[2].partition(":")
address = {"host": host, "port": int(port), "password": "ünïcode", "timeout": 10}


def request(client, kind, data=None):
    try:
        answer = client.send(kind, data, raw=True)
    except Exception as exc:
        tell(kind, "raised", exc)
    else:
        tell(kind, answer if len(str(answer)) < 100 else mark(answer["text"]))


with obs.ReqClient(**address) as client:
    request(client, "Echo", {"text": "ünïcode"})
    request(client, "Echo", {"text": "x" * (2**20 + 1)})
    request(client, "Fail")

client = obs.ReqClient(**address)
request(client, "End")
request(client, "Echo")
client.disconnect()

client = obs.ReqClient(**address)
request(client, "Cut")
client.disconnect()

client = obs.ReqClient(**{**address, "timeout": 0.1})
request(client, "Nothing")
client.disconnect()

came = threading.Event()


def on_scene_created(data):
    tell("event", data.scene_name)


def on_exit_started(data):
    came.set()


with obs.EventClient(**address) as client:
    client.callback.register([on_scene_created, on_exit_started])
    request_client = obs.ReqClient(**address)
    request(request_client, "SendEvents")
    tell("events came", came.wait(10))
    request_client.disconnect()
tell("listens", client.worker.is_alive())

try:
    obs.ReqClient(**{**address, "port": 1})
except Exception as exc:
    tell("nobody", exc)
