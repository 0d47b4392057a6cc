"""The realtime client of the OpenAI SDK, against a server that knows a few of its events."""

import os
import ssl

from openai import OpenAI
from support.telling import attempt, mark, settings, tell


def client_for(server, path, **options):
    """A client whose addresses are those of one of our servers."""
    return OpenAI(
        api_key="sk-tests",
        base_url=settings[server].replace("ws", "http", 1) + "/v1",
        websocket_base_url=settings[server] + path,
        **options,
    )


def connecting(path, server="ws", **options):
    return client_for(server, path).realtime.connect(model="gpt-realtime", **options)


def short(event):
    """What there is to know of an event."""
    text = event.to_json(indent=None)
    return text if len(text) < 300 else mark(text)


trust = ssl.create_default_context(cafile=settings["authority"])

with connecting("/echo", extra_headers={"X-Custom": "yes"}, extra_query={"a": "b"}) as connection:
    tell("open", short(connection.recv()))
    connection.session.update(session={"type": "realtime", "instructions": "Be ünïcode."})
    tell("updated", short(connection.recv()))
    connection.input_audio_buffer.append(audio="QUJD" * 2**19)
    tell("large", short(connection.recv()))
    connection.send_raw(b'{"type": "response.cancel"}')
    tell("binary", connection.recv_bytes())
    connection.send_raw('{"type": "response.cancel"}')
    tell("text", connection.recv_bytes())
    connection.close(code=4000, reason="over and out")
    attempt("received after close", connection.recv)
    attempt("sent after close", connection.send_raw, "more")

with connecting("/ping") as connection:
    tell("ping", connection.recv_bytes(), connection.recv_bytes())

with connecting("/end") as connection:
    connection.send_raw("go on")
    tell("end", connection.recv_bytes())
    attempt("the end", connection.recv)
    attempt("sent at the end", connection.send_raw, "more")

with connecting("/good") as connection:
    events = list(connection)
    tell("a good end", [short(event) for event in events])

with connecting("/events") as connection:
    connection.on("session.created", lambda event: tell("handler", event.type))
    attempt("dispatched", connection.dispatch_events)

with connecting("/drop") as connection:
    connection.send_raw("go on")
    attempt("cut", connection.recv)


def again(event):
    tell("reconnecting", event.attempt, event.max_attempts, event.close_code)


options = {"on_reconnecting": again, "initial_delay": 0.01, "max_retries": 3}
with connecting("/unreliable", **options) as connection:
    connection.send_raw("go on")
    for event in connection:
        tell("again", short(event))
        connection.session.update(session={"type": "realtime"})
        tell("again", short(connection.recv()))
        break

for status in ("401", "403"):
    try:
        connecting(f"/{status}").enter()
    except Exception as exc:
        response = exc.response
        tell(status, exc, response.status_code, response.headers["X-Reason"])
        tell(status, response.reason_phrase, bytes(response.body))
attempt("nobody", OpenAI(api_key="sk", base_url="http://127.0.0.1:1/").realtime.connect().enter)

options = {"websocket_connection_options": {"ssl": trust, "max_size": 10_000, "open_timeout": 10}}
with connecting("/echo", "wss", **options) as connection:
    tell("secure", short(connection.recv()))
    connection.input_audio_buffer.append(audio="QUJD" * 2**12)
    attempt("too large", connection.recv)
attempt("not trusted", connecting("/echo", "wss").enter)

proxy = {"proxy": settings["proxy"]}
with connecting("/echo", "behind", websocket_connection_options=proxy) as connection:
    tell("proxy", short(connection.recv()))
os.environ["WS_PROXY"] = settings["proxy"]
with connecting("/echo", "behind") as connection:
    tell("proxy of the environment", short(connection.recv()))
del os.environ["WS_PROXY"]
proxy["ssl"] = trust
with connecting("/echo", "secure behind", websocket_connection_options=proxy) as connection:
    tell("secure proxy", short(connection.recv()))
