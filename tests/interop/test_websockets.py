"""Against `websockets`, asyncio and sync: as its server, and as its client.

Both ends of a connection are at hand in each test. Ours is the connection itself; theirs is
wrapped, so that its calls block, whichever flavor it is.
"""

import asyncio
import concurrent.futures
import contextlib
import functools
import itertools
import queue
import random
import ssl
import threading
from typing import NamedTuple

import pytest
import websockets.asyncio.client
import websockets.asyncio.server
import websockets.exceptions
import websockets.sync.client
import websockets.sync.server
from support.certificates import authority, client_context

import syncws

pytestmark = pytest.mark.interop

DEADLINE = 20.0


# --- their ends ------------------------------------------------------------------


class SyncEnd:
    """A connection of websockets.sync."""

    def __init__(self, ws):
        self.ws = ws

    def send(self, message):
        self.ws.send(message)

    def recv(self):
        return self.ws.recv(timeout=DEADLINE)

    def recv_fragments(self):
        return list(self.ws.recv_streaming())

    def ping(self, data):
        """Whether the pong came."""
        pong = self.ws.ping(data)
        return bool(pong.wait(DEADLINE))

    def close(self, code=1000, reason=""):
        self.ws.close(code, reason)

    def how_closed(self):
        """Code and reason, once it is closed."""
        with contextlib.suppress(websockets.exceptions.ConnectionClosed):
            while True:
                self.recv()
        return self.ws.protocol.close_code, self.ws.protocol.close_reason


class AsyncioEnd(SyncEnd):
    """A connection of websockets.asyncio, with calls that block."""

    def __init__(self, ws, loop):
        super().__init__(ws)
        self.loop = loop

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(DEADLINE)

    def send(self, message):
        self._call(self.ws.send(message))

    def recv(self):
        return self._call(self.ws.recv())

    def recv_fragments(self):
        async def collect():
            return [fragment async for fragment in self.ws.recv_streaming()]

        return self._call(collect())

    def ping(self, data):
        async def ping():
            await (await self.ws.ping(data))
            return True

        return self._call(ping())

    def close(self, code=1000, reason=""):
        self._call(self.ws.close(code, reason))

    async def dispose(self):
        """Free what remains once it is closed."""
        await self.ws.wait_closed()
        self.ws.transport.close()  # asyncio of Python 3.9 and 3.10 warns without this, with TLS


class SyncFlavor:
    """Clients and servers of websockets.sync."""

    @contextlib.contextmanager
    def server(self, **kwargs):
        """The port of a server, and a queue of its ends."""
        ends, threads, done = queue.Queue(), [], threading.Event()

        def handler(ws):
            threads.append(threading.current_thread())
            ends.put(SyncEnd(ws))
            done.wait(DEADLINE)

        with websockets.sync.server.serve(handler, "127.0.0.1", 0, **kwargs) as server:
            serving = threading.Thread(target=server.serve_forever)
            serving.start()
            try:
                yield server.socket.getsockname()[1], ends
            finally:
                done.set()
                server.shutdown()
                for thread in (serving, *threads):
                    thread.join(DEADLINE)
                    assert not thread.is_alive()

    @contextlib.contextmanager
    def client(self, uri, **kwargs):
        with websockets.sync.client.connect(uri, **kwargs) as ws:
            yield SyncEnd(ws)


class AsyncioFlavor:
    """Clients and servers of websockets.asyncio, in a loop that runs in a thread."""

    def __init__(self, loop):
        self.loop = loop

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(DEADLINE)

    @contextlib.contextmanager
    def server(self, **kwargs):
        """The port of a server, and a queue of its ends."""
        ends = queue.Queue()

        async def handler(ws):
            end = AsyncioEnd(ws, self.loop)
            ends.put(end)
            await end.dispose()

        async def start():
            return await websockets.asyncio.server.serve(handler, "127.0.0.1", 0, **kwargs)

        async def stop():
            server.close()
            await server.wait_closed()

        server = self._call(start())
        try:
            yield server.sockets[0].getsockname()[1], ends
        finally:
            self._call(stop())

    @contextlib.contextmanager
    def client(self, uri, **kwargs):
        async def connect():
            return await websockets.asyncio.client.connect(uri, **kwargs)

        end = AsyncioEnd(self._call(connect()), self.loop)
        try:
            yield end
        finally:
            end.close()
            self._call(end.dispose())


@pytest.fixture(scope="module")
def flavors():
    """Both flavors by name."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="asyncio-loop")
    thread.start()
    try:
        yield {"asyncio": AsyncioFlavor(loop), "sync": SyncFlavor()}
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(DEADLINE)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


# --- connecting both -------------------------------------------------------------


class Setup(NamedTuple):
    """Who talks to whom, and how."""

    role: str  # ours
    flavor: str  # theirs
    tls: bool = False
    compression: bool = False

    def __str__(self):
        tls, compression = "tls" if self.tls else "plain", "deflate" if self.compression else "none"
        return f"{self.role}-to-{self.flavor}-{tls}-{compression}"


ROLES_AND_FLAVORS = list(itertools.product(("client", "server"), ("asyncio", "sync")))
ALL_SETUPS = [
    Setup(*who, tls, compression)
    for who in ROLES_AND_FLAVORS
    for tls in (False, True)
    for compression in (False, True)
]
PLAIN_SETUPS = [Setup(*who) for who in ROLES_AND_FLAVORS]
COMPRESSED_SETUPS = [Setup(*who, compression=True) for who in ROLES_AND_FLAVORS]

every_setup = pytest.mark.parametrize("setup", ALL_SETUPS, ids=str)
every_plain_setup = pytest.mark.parametrize("setup", PLAIN_SETUPS, ids=str)
every_compressed_setup = pytest.mark.parametrize("setup", COMPRESSED_SETUPS, ids=str)
every_flavor = pytest.mark.parametrize("flavor", ["asyncio", "sync"])


@contextlib.contextmanager
def our_server(**kwargs):
    """The port of our server, and a queue of its connections."""
    connections, done = queue.Queue(), threading.Event()

    def handler(ws):
        connections.put(ws)
        done.wait(DEADLINE)

    with syncws.serve(handler, "127.0.0.1", 0, **kwargs) as server:
        try:
            yield server.port, connections
        finally:
            done.set()


@functools.cache
def contexts():
    """Both sides of TLS, the server's first."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert("127.0.0.1").configure_cert(server)
    # websockets.sync reads and writes in two threads from the start. A session ticket, which
    # servers send after the TLS handshake, makes its client lose the request now and then.
    server.num_tickets = 0
    return server, client_context()


def make_uri(setup, port, path="/"):
    return f"{'wss' if setup.tls else 'ws'}://127.0.0.1:{port}{path}"


@pytest.fixture
def pair(flavors, monkeypatch):
    """Open a connection: return our end and theirs, each with further arguments."""
    monkeypatch.setenv("no_proxy", "*")
    with contextlib.ExitStack() as stack:

        def open_pair(setup, ours=None, theirs=None, path="/"):
            flavor = flavors[setup.flavor]
            both = {"compression": "deflate" if setup.compression else None}
            server_side = {"ssl": contexts()[0]} if setup.tls else {}
            client_side = {"ssl": contexts()[1]} if setup.tls else {}
            ours, theirs = {**both, **(ours or {})}, {**both, **(theirs or {})}
            if setup.role == "client":
                port, ends = stack.enter_context(flavor.server(**server_side, **theirs))
                uri = make_uri(setup, port, path)
                our_end = stack.enter_context(syncws.connect(uri, **client_side, **ours))
                return our_end, ends.get(timeout=DEADLINE)
            port, ends = stack.enter_context(our_server(**server_side, **ours))
            uri = make_uri(setup, port, path)
            their_end = stack.enter_context(flavor.client(uri, **client_side, **theirs))
            return ends.get(timeout=DEADLINE), their_end

        yield open_pair


# --- messages --------------------------------------------------------------------

NOISE = random.Random(0).randbytes(1 << 17)

MESSAGES = {
    "text": "hello",
    "unicode": "äöü € \U0001f600 \x00",
    "empty text": "",
    "binary": bytes(range(256)),
    "empty binary": b"",
    "64 KiB": NOISE[: 1 << 16],
    # Of noise, compression would make more than the limit of 1 MiB.
    "1 MiB binary": NOISE[:1000] * 1048 + bytes(576),
    "1 MiB text": "abcdefgh" * (1 << 17),
}


@every_setup
@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_message_arrives(pair, setup, message):
    ours, theirs = pair(setup)
    ours.send(message)
    assert theirs.recv() == message
    theirs.send(message)
    assert ours.recv(DEADLINE) == message


FRAGMENTS = {
    "text": ["frag", "", "mented €"],
    "binary": [b"\x00", NOISE[:70_000], b"", b"\xff"],
    "one": ["alone"],
}


@every_setup
@pytest.mark.parametrize("fragments", FRAGMENTS.values(), ids=FRAGMENTS)
def test_fragmented_message_arrives(pair, setup, fragments):
    ours, theirs = pair(setup)
    whole = fragments[0][:0].join(fragments)
    ours.send(iter(fragments))
    assert theirs.recv() == whole
    theirs.send(list(fragments))
    assert ours.recv(DEADLINE) == whole


@every_setup
def test_fragments_can_be_received_one_by_one(pair, setup):
    ours, theirs = pair(setup)
    fragments = ["one", "two", "three"]
    ours.send(fragments)
    assert theirs.recv_fragments() == fragments
    ours.send(iter(fragments))  # whose end isn't known before: an empty one
    assert [fragment for fragment in theirs.recv_fragments() if fragment] == fragments
    theirs.send(fragments)
    assert "".join(ours.recv_streaming()) == "onetwothree"


@every_setup
def test_messages_flow_both_ways_at_once(pair, setup):
    ours, theirs = pair(setup)
    messages = [f"message {i} " * (i % 50) for i in range(300)]

    def send_all(end):
        for message in messages:
            end.send(message)

    def receive_all(recv):
        return [recv() for _ in messages]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        sending = [pool.submit(send_all, end) for end in (ours, theirs)]
        receiving = [
            pool.submit(receive_all, recv) for recv in (lambda: ours.recv(DEADLINE), theirs.recv)
        ]
        for future in (*sending, *receiving):
            future.result(DEADLINE)
        assert [future.result() for future in receiving] == [messages, messages]


@every_plain_setup
@pytest.mark.parametrize("sender", ["ours", "theirs"])
def test_message_over_the_limit_closes_the_connection(pair, setup, sender):
    ours, theirs = pair(setup, ours={"max_size": 1000}, theirs={"max_size": 1000})
    if sender == "ours":
        ours.send("x" * 1001)
        assert ours.wait_closed(DEADLINE)
        assert ours.close_code == 1009
    else:
        theirs.send("x" * 1001)
        with pytest.raises(syncws.ConnectionClosedError) as caught:
            ours.recv(DEADLINE)
        assert isinstance(caught.value.__cause__, syncws.PayloadTooBig)
        assert theirs.how_closed()[0] == 1009


# --- compression -----------------------------------------------------------------


@every_setup
def test_compression_is_used_where_both_want_it(pair, setup):
    ours, theirs = pair(setup)
    expected = ["permessage-deflate"] if setup.compression else []
    assert [extension.name for extension in ours.extensions] == expected
    assert [extension.name for extension in theirs.ws.protocol.extensions] == expected
    text = "abcdefgh" * 10_000
    ours.send(text)
    assert theirs.recv() == text
    assert (ours.stats.bytes_sent < len(text) / 10) == setup.compression


@every_plain_setup
@pytest.mark.parametrize("wanted_by", ["ours", "theirs"])
def test_compression_is_not_used_when_one_does_not_want_it(pair, setup, wanted_by):
    ours, theirs = pair(setup, **{wanted_by: {"compression": "deflate"}})
    assert ours.extensions == []
    ours.send("a" * 1000)
    assert theirs.recv() == "a" * 1000


SETTINGS = {
    "no server context": syncws.Deflate(server_no_context_takeover=True),
    "no client context": syncws.Deflate(client_no_context_takeover=True),
    "no context": syncws.Deflate(server_no_context_takeover=True, client_no_context_takeover=True),
    "small server window": syncws.Deflate(server_max_window_bits=9),
    "small client window": syncws.Deflate(client_max_window_bits=9),
    "large windows": syncws.Deflate(
        server_max_window_bits=15, client_max_window_bits=15, compress_window_bits=15
    ),
    "all": syncws.Deflate(True, True, 10, 11, compress_window_bits=9, level=9, min_size=0),
}


@every_compressed_setup
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_parameters_of_compression_are_agreed_on(pair, setup, settings):
    ours, theirs = pair(setup, ours={"compression": settings})
    assert [extension.name for extension in ours.extensions] == ["permessage-deflate"]
    far = NOISE[:20_000].hex()
    for message in ("same again " * 30, "same again " * 30, far + far, "", NOISE[:5000]):
        ours.send(message)
        assert theirs.recv() == message
        theirs.send(message)
        assert ours.recv(DEADLINE) == message


# --- pings and closing -----------------------------------------------------------


@every_setup
@pytest.mark.parametrize("data", [b"", b"ping", b"\x00" * 125], ids=["empty", "short", "longest"])
def test_ping_is_answered(pair, setup, data):
    ours, theirs = pair(setup)
    ping = ours.ping(data)
    assert ping.wait(DEADLINE)
    assert ping.latency > 0
    assert theirs.ping(data)


CLOSINGS = [(1000, ""), (1000, "bye"), (1001, "gone"), (1011, "oops"), (3000, ""), (4999, "ä" * 61)]
every_closing = pytest.mark.parametrize(("code", "reason"), CLOSINGS)


@every_plain_setup
@every_closing
def test_closing_by_us_is_seen_by_both(pair, setup, code, reason):
    ours, theirs = pair(setup)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        seen = pool.submit(theirs.how_closed)
        ours.close(code, reason)
        assert seen.result(DEADLINE) == (code, reason)
    assert (ours.close_code, ours.close_reason) == (code, reason)


@every_plain_setup
@every_closing
def test_closing_by_them_is_seen_by_both(pair, setup, code, reason):
    ours, theirs = pair(setup)
    theirs.close(code, reason)
    assert theirs.how_closed() == (code, reason)
    with pytest.raises(syncws.ConnectionClosed) as caught:
        ours.recv(DEADLINE)
    assert (caught.value.code, caught.value.reason) == (code, reason)
    assert isinstance(caught.value, syncws.ConnectionClosedOK) == (code in (1000, 1001))


@every_plain_setup
def test_close_without_a_code_is_seen_as_1005(pair, setup):
    ours, theirs = pair(setup)
    ours.close(None)
    assert theirs.how_closed() == (1005, "")
    assert ours.close_code == 1005


@every_setup
@pytest.mark.parametrize("sender", ["ours", "theirs"])
def test_what_was_sent_before_closing_arrives(pair, setup, sender):
    ours, theirs = pair(setup)
    messages = [f"{i}" for i in range(10)]
    first, second = (ours, theirs) if sender == "ours" else (theirs, ours)
    for message in messages:
        first.send(message)
    first.close()
    assert [second.recv() for _ in messages] == messages
    with pytest.raises((syncws.ConnectionClosedOK, websockets.exceptions.ConnectionClosedOK)):
        second.recv()


@every_plain_setup
def test_connection_that_is_cut_is_seen_by_them(pair, setup):
    ours, theirs = pair(setup)
    ours.abort()
    assert theirs.how_closed() == (1006, "")


# --- the opening handshake -------------------------------------------------------


@every_plain_setup
@pytest.mark.parametrize(
    ("client_has", "server_has", "agreed"),
    [
        (["chat", "superchat"], ["superchat"], "superchat"),
        (["a", "b"], ["b", "c"], "b"),
        (["chat"], None, None),
        (None, None, None),
    ],
)
def test_subprotocol_is_agreed_on(pair, setup, client_has, server_has, agreed):
    client, server = {"subprotocols": client_has}, {"subprotocols": server_has}
    roles = (client, server) if setup.role == "client" else (server, client)
    ours, theirs = pair(setup, *roles)
    assert ours.subprotocol == agreed
    assert theirs.ws.subprotocol == agreed


def add_header(ws, request, response):
    response.headers["X-Answer"] = "from the server"
    return response


@every_setup
def test_request_and_headers_are_seen_by_the_other_end(pair, setup):
    client = {"additional_headers": [("X-Asked", "one"), ("X-Asked", "two")]}
    server = {"process_response": add_header}
    roles = (client, server) if setup.role == "client" else (server, client)
    ours, theirs = pair(setup, *roles, path="/a%20path?query=1")
    at_client, at_server = (ours, theirs.ws) if setup.role == "client" else (theirs.ws, ours)
    assert at_server.request.path == "/a%20path?query=1"
    assert at_server.request.headers.get_all("X-Asked") == ["one", "two"]
    assert at_client.response.headers["X-Answer"] == "from the server"
    assert ours.response.headers["Server"]
    assert ours.request.headers["User-Agent"]


@every_plain_setup
@pytest.mark.parametrize("status", [401, 403, 404, 503])
def test_refusal_is_seen_by_the_client(pair, setup, status):
    def refuse(ws, request):
        return ws.respond(status, "not for you\n")

    server = {"process_request": refuse}
    if setup.role == "client":
        with pytest.raises(syncws.InvalidStatus) as caught:
            pair(setup, theirs=server)
    else:
        with pytest.raises(websockets.exceptions.InvalidStatus) as caught:
            pair(setup, ours=server)
    assert caught.value.response.status_code == status
    assert caught.value.response.body == b"not for you\n"


@every_flavor
def test_client_from_another_origin_is_refused(pair, flavor):
    setup = Setup("server", flavor)
    with pytest.raises(websockets.exceptions.InvalidStatus) as caught:
        pair(setup, theirs={"origin": "https://elsewhere.example"})
    assert caught.value.response.status_code == 403


@every_flavor
def test_server_that_wants_another_origin_refuses_us(pair, flavor):
    setup = Setup("client", flavor)
    with pytest.raises(syncws.InvalidStatus) as caught:
        pair(setup, theirs={"origins": ["https://here.example"]})
    assert caught.value.response.status_code == 403
    ours, _ = pair(
        setup,
        ours={"origin": "https://here.example"},
        theirs={"origins": ["https://here.example"]},
    )
    assert ours.open


@every_flavor
def test_certificate_that_nobody_vouches_for_is_refused(flavors, pair, flavor):
    distrusting = ssl.create_default_context()
    with flavors[flavor].server(ssl=contexts()[0]) as (port, ends):
        with pytest.raises(ssl.SSLCertVerificationError):
            syncws.connect(f"wss://127.0.0.1:{port}/", ssl=distrusting)
        with syncws.connect(f"wss://127.0.0.1:{port}/", ssl=client_context()) as ours:
            ends.get(timeout=DEADLINE).send("the next one is served")
            assert ours.recv(DEADLINE) == "the next one is served"
    with our_server(ssl=contexts()[0]) as (port, ends):
        uri = f"wss://127.0.0.1:{port}/"
        with (
            pytest.raises(ssl.SSLCertVerificationError),
            flavors[flavor].client(uri, ssl=distrusting),
        ):
            pass
        with flavors[flavor].client(uri, ssl=client_context()) as theirs:
            ends.get(timeout=DEADLINE).send("the next one is served")
            assert theirs.recv() == "the next one is served"
