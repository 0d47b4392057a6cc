"""The implementations that need an event loop; see implementations.py for the works."""

import asyncio
import itertools

from corpora import some_order_books

HOST = "127.0.0.1"


def run(coroutine, *, uvloop):
    """Run it on uvloop, if it should be and is there."""
    if uvloop:
        try:
            from uvloop import run as run_on_uvloop
        except ImportError:
            pass
        else:
            return run_on_uvloop(coroutine)
    return asyncio.run(coroutine)


def parse_order(text):
    """The number and the payload of the messages that "COUNT SIZE" asks for."""
    count, size = map(int, text.split())
    return count, b"x" * size


def texts(work, count, size):
    """That many texts for round trips."""
    if work == "roundtrip":
        return itertools.repeat("x" * size, count)
    return itertools.islice(itertools.cycle(some_order_books(size)), count)


async def work_as_client(work, count, size, recv, send_text, send_bytes):
    """Do the work of a client with coroutine functions."""
    if work.startswith("roundtrip"):
        for text in texts(work, count, size):
            await send_text(text)
            await recv()
    elif work == "receive":
        await send_text("go")
        for _ in range(count):
            await recv()
        await send_text("ok")
    else:
        data = b"x" * size
        await send_text("go")
        await recv()
        for _ in range(count):
            await send_bytes(data)
        await recv()


# --- websockets --------------------------------------------------------------------


async def serve_websockets(work, port, context):
    from websockets.asyncio.server import broadcast, serve

    async def handler(ws):
        if work == "fanout":
            async for message in ws:
                if message == "hi":
                    await ws.send(message)
                else:
                    broadcast(server.connections, message)
        elif work == "echo":
            async for message in ws:
                await ws.send(message)
        elif work == "sink":
            async for message in ws:
                if message == "done":
                    await ws.send("ok")
        else:
            async for message in ws:
                count, payload = parse_order(message)
                for _ in range(count):
                    await ws.send(payload)

    async with serve(handler, HOST, port, ssl=context) as server:
        await server.serve_forever()


async def run_websockets(work, uri, count, size):
    from websockets.asyncio.client import connect

    async with connect(uri) as ws:
        await work_as_client(work, count, size, ws.recv, ws.send, ws.send)


# --- aiohttp -----------------------------------------------------------------------


async def serve_aiohttp(work, port, context):
    from aiohttp import WSMsgType, web

    connections = set()

    async def handler(request):
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        if work == "fanout":
            connections.add(ws)
            async for message in ws:
                for each in [ws] if message.data == "hi" else list(connections):
                    await each.send_str(message.data)
            connections.discard(ws)
        elif work == "echo":
            async for message in ws:
                if message.type is WSMsgType.TEXT:
                    await ws.send_str(message.data)
        elif work == "sink":
            async for message in ws:
                if message.data == "done":
                    await ws.send_str("ok")
        else:
            async for message in ws:
                count, payload = parse_order(message.data)
                for _ in range(count):
                    await ws.send_bytes(payload)
        return ws

    app = web.Application()
    app.add_routes([web.get("/", handler)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, port, ssl_context=context).start()
    await asyncio.Event().wait()


async def run_aiohttp(work, uri, count, size):
    import aiohttp

    async with aiohttp.ClientSession() as session, session.ws_connect(uri, compress=15) as ws:
        await work_as_client(work, count, size, ws.receive, ws.send_str, ws.send_bytes)


# --- Tornado -----------------------------------------------------------------------


async def serve_tornado(work, port, context):
    from tornado.web import Application
    from tornado.websocket import WebSocketHandler

    connections = set()

    class Compressing(WebSocketHandler):
        def get_compression_options(self):
            return {}

    class Fanout(Compressing):
        def open(self):
            connections.add(self)

        def on_message(self, message):
            for each in [self] if message == "hi" else connections:
                each.write_message(message)

        def on_close(self):
            connections.discard(self)

    class Echo(Compressing):
        def on_message(self, message):
            self.write_message(message)

    class Sink(Compressing):
        def on_message(self, message):
            if message == "done":
                self.write_message("ok")

    class Source(Compressing):
        async def on_message(self, message):
            count, payload = parse_order(message)
            for _ in range(count):
                await self.write_message(payload, binary=True)

    handler = {"echo": Echo, "sink": Sink, "source": Source, "fanout": Fanout}[work]
    Application([("/", handler)]).listen(port, HOST, ssl_options=context)
    await asyncio.Event().wait()


async def run_tornado(work, uri, count, size):
    from tornado.websocket import websocket_connect

    ws = await websocket_connect(uri, compression_options={})

    def send_bytes(data):
        return ws.write_message(data, binary=True)

    await work_as_client(work, count, size, ws.read_message, ws.write_message, send_bytes)


# --- picows ------------------------------------------------------------------------


async def serve_picows(work, port, context):
    from picows import WSListener, WSMsgType, ws_create_server

    transports = set()

    class Listener(WSListener):
        def __init__(self):
            self.paused, self.left, self.payload = False, 0, b""

        def on_ws_connected(self, transport):
            self.transport = transport
            transports.add(transport)

        def on_ws_disconnected(self, transport):
            transports.discard(transport)

        def on_ws_frame(self, transport, frame):
            if frame.msg_type == WSMsgType.CLOSE:
                transport.disconnect()
            elif work == "fanout":
                payload = frame.get_payload_as_bytes()
                for each in [transport] if payload == b"hi" else transports:
                    each.send(frame.msg_type, payload)
            elif work == "echo":
                transport.send(frame.msg_type, frame.get_payload_as_bytes())
            elif work == "sink":
                # What the others hand over, too: a message of its own, not the buffer.
                if frame.get_payload_as_bytes() == b"done":
                    transport.send(WSMsgType.TEXT, b"ok")
            else:
                self.left, self.payload = parse_order(frame.get_payload_as_ascii_text())
                self.send_rest()

        def send_rest(self):
            while self.left and not self.paused:
                self.left -= 1
                self.transport.send(WSMsgType.BINARY, self.payload)

        def pause_writing(self):
            self.paused = True

        def resume_writing(self):
            self.paused = False
            self.send_rest()

    server = await ws_create_server(lambda request: Listener(), HOST, port, ssl=context)
    await server.serve_forever()


async def run_picows(work, uri, count, size):
    from picows import WSListener, WSMsgType, ws_connect

    done = asyncio.get_running_loop().create_future()
    payload = b"x" * size

    class Listener(WSListener):
        def __init__(self):
            self.paused, self.left = False, count

        def on_ws_connected(self, transport):
            self.transport = transport
            if work == "roundtrip":
                transport.send(WSMsgType.TEXT, payload)
            else:
                transport.send(WSMsgType.TEXT, b"go")

        def on_ws_frame(self, transport, frame):
            message = frame.get_payload_as_bytes()
            if work == "send":
                if message == b"go":
                    self.send_rest()
                else:
                    done.set_result(None)
                return
            self.left -= 1
            if self.left == 0:
                if work == "receive":
                    transport.send(WSMsgType.TEXT, b"ok")
                done.set_result(None)
            elif work == "roundtrip":
                transport.send(WSMsgType.TEXT, payload)

        def send_rest(self):
            while self.left and not self.paused:
                self.left -= 1
                self.transport.send(WSMsgType.BINARY, payload)

        def pause_writing(self):
            self.paused = True

        def resume_writing(self):
            self.paused = False
            if work == "send":
                self.send_rest()

    await ws_connect(Listener, uri)
    await done
