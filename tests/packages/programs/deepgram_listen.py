"""The Deepgram SDK, which has its clients made by a generator as other SDKs have."""

import os

from deepgram import DeepgramClient
from deepgram.core.events import EventType
from deepgram.environment import DeepgramClientEnvironment
from support.telling import attempt, mark, settings, tell

os.environ["SSL_CERT_FILE"] = settings["authority"]


def connecting(path, server="ws"):
    url = settings[server] + path
    environment = DeepgramClientEnvironment(
        base=url.replace("ws", "http", 1), production=url, agent=url, agent_rest=url
    )
    client = DeepgramClient(api_key="key", environment=environment)
    return client.listen.v1.connect(model="nova-3")


def short(message):
    return mark(message) if isinstance(message, bytes) else repr(message)[:100]


with connecting("/echo") as connection:
    for data in b"\x00\xff", b"\xa5" * 2**20:
        connection.send_media(data)
        tell("echo", short(connection.recv()))
    connection.send_keep_alive()
    tell("echo", short(connection.recv()))
with connecting("/ping", "wss") as connection:
    connection._websocket.recv()
    tell("ping", connection._websocket.recv())
for path in "/good", "/end", "/drop":
    with connecting(path) as connection:
        for kind in EventType:
            connection.on(
                kind, lambda event, path=path, kind=kind: tell(path, kind.name, short(event))
            )
        connection.send_media(b"go on")
        connection.start_listening()
        attempt(path, connection.send_media, b"more")
for status in "401", "403":
    attempt(status, connecting(f"/{status}").__enter__)
