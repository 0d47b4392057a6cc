"""Programs written for `websockets`, and what remains of them without `async` and `await`.

Each runs as it is, with that library, and translated as docs/migrating/websockets.md says; the
client prints the same both times.
"""

import re
import textwrap

import pytest
from support.snippets import run, running_server

pytest.importorskip("websockets.asyncio.server")


def translate(program):
    """Delete async and await, and change the import."""
    program = re.sub(r"\b(?:async|await) ", "", program)
    program = program.replace("asyncio.run(main())", "main()").replace("import asyncio\n", "")
    return program.replace("import websockets\n", "import syncws as websockets\n")


def server(handler, options=""):
    """A program that serves with this handler."""
    return (
        "import asyncio\nimport http\nimport json\nimport websockets\n"
        + textwrap.dedent(handler)
        + textwrap.dedent(f"""
        async def main():
            async with websockets.serve(handler, "localhost", 8765{options}) as server:
                await server.serve_forever()

        asyncio.run(main())
        """)
    )


def client(body, options="", uri="ws://localhost:8765/"):
    """A program that does this with a connection."""
    return (
        "import asyncio\nimport json\nimport websockets\n\nasync def main():\n"
        + f'    async with websockets.connect("{uri}"{options}) as ws:\n'
        + textwrap.indent(textwrap.dedent(body), "        ")
        + "\nasyncio.run(main())\n"
    )


GREETING = """
    async def handler(ws):
        name = await ws.recv()
        await ws.send(f"hello {name}, you asked for {ws.request.path}")
"""

ECHO = """
    async def handler(ws):
        async for message in ws:
            await ws.send(message)
"""

COUNTER = """
    users = set()
    value = 0

    async def handler(ws):
        global value
        users.add(ws)
        try:
            await ws.send(json.dumps({"type": "value", "value": value}))
            async for message in ws:
                event = json.loads(message)
                value += {"plus": 1, "minus": -1}[event["action"]]
                websockets.broadcast(users, json.dumps({"type": "value", "value": value}))
        finally:
            users.remove(ws)
"""

CLOSING = """
    async def handler(ws):
        await ws.send("that's all")
        await ws.close(4001, "no more today")
"""

CATCHING = """
    seen = []

    async def handler(ws):
        if ws.request.path == "/seen":
            await ws.send(" ".join(seen))
            return
        try:
            while True:
                await ws.recv()
        except websockets.exceptions.ConnectionClosedOK as exc:
            seen.append(f"ok {exc.rcvd.code} {exc.rcvd.reason}")
        except websockets.exceptions.ConnectionClosedError as exc:
            seen.append(f"error {exc.rcvd.code} {exc.rcvd.reason}")
"""

PROTOCOLS = """
    async def handler(ws):
        await ws.send(f"{ws.subprotocol} {ws.request.headers['X-Token']}")
"""

HEALTH = """
    async def handler(ws):
        await ws.send("welcome")

    async def check(connection, request):
        if request.path == "/health":
            return connection.respond(http.HTTPStatus.OK, "fine\\n")
"""

REFUSED = """
    import asyncio
    import websockets

    async def main():
        try:
            async with websockets.connect("{uri}") as ws:
                print(await ws.recv())
        except websockets.exceptions.InvalidStatus as exc:
            print(exc.response.status_code, bytes(exc.response.body))

    asyncio.run(main())
"""


def refused(uri):
    return textwrap.dedent(REFUSED).replace("{uri}", uri)


PROGRAMS = {
    "greeting": (
        server(GREETING),
        client('await ws.send("Ada")\nprint(await ws.recv())', uri="ws://localhost:8765/room?a=1"),
        "hello Ada, you asked for /room?a=1\n",
    ),
    "echo": (
        server(ECHO),
        client(
            """
            for message in ("text", b"bytes", "", "\\u00fc\\u4e2d\\U0001f600", "x" * 100000):
                await ws.send(message)
                print(await ws.recv() == message)
            await ws.send(["in ", "several ", "fragments"])
            print(await ws.recv())
            """
        ),
        "True\n" * 5 + "in several fragments\n",
    ),
    "counter": (
        server(COUNTER),
        client(
            """
            async with websockets.connect("ws://localhost:8765/") as other:
                print(await ws.recv(), await other.recv())
                for action in ("plus", "plus", "minus"):
                    await ws.send(json.dumps({"action": action}))
                    print(json.loads(await ws.recv()), json.loads(await other.recv()))
            """
        ),
        '{"type": "value", "value": 0} {"type": "value", "value": 0}\n'
        + "".join(
            f"{ {'type': 'value', 'value': n} } { {'type': 'value', 'value': n} }\n"
            for n in (1, 2, 1)
        ),
    ),
    "closing": (
        server(CLOSING),
        client(
            """
            print(await ws.recv())
            try:
                await ws.recv()
            except websockets.exceptions.ConnectionClosed as exc:
                print(type(exc).__name__, exc.rcvd.code, exc.rcvd.reason, exc.rcvd_then_sent)
            print(ws.close_code, ws.close_reason)
            """
        ),
        "that's all\nConnectionClosedError 4001 no more today True\n4001 no more today\n",
    ),
    "catching": (
        server(CATCHING),
        client(
            """
            await ws.close(1000, "bye")
            async with websockets.connect("ws://localhost:8765/") as other:
                await other.close(4000, "oops")
            seen = ""
            while "4000" not in seen:  # until the other handler has noticed
                async with websockets.connect("ws://localhost:8765/seen") as last:
                    seen = await last.recv()
            print(seen)
            """
        ),
        "ok 1000 bye error 4000 oops\n",
    ),
    "subprotocol and headers": (
        server(PROTOCOLS, ', subprotocols=["chat", "superchat"]'),
        client(
            "print(await ws.recv(), ws.subprotocol)",
            ', subprotocols=["superchat"], additional_headers={"X-Token": "t"}',
        ),
        "superchat t superchat\n",
    ),
    "an HTTP answer": (
        server(HEALTH, ", process_request=check"),
        refused("ws://localhost:8765/health"),
        "200 b'fine\\n'\n",
    ),
    "a password": (
        server(
            ECHO,
            ', process_request=websockets.basic_auth(realm="chat", credentials=("ada", "pw"))',
        ),
        client('await ws.send("in")\nprint(await ws.recv())', uri="ws://ada:pw@localhost:8765/"),
        "in\n",
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("change", [str, translate], ids=["websockets", "syncws"])
def test_a_program_does_the_same_without_async_and_await(name, change):
    serving, using, output = PROGRAMS[name]
    with running_server(change(serving)) as (port, _):
        assert run(change(using), port) == output


def test_nothing_asynchronous_is_left():
    for programs in PROGRAMS.values():
        for program in map(translate, programs[:2]):
            assert not re.search(r"async|await", program)
            assert "import syncws as websockets\n" in program
