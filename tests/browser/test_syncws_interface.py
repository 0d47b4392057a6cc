"""syncws.js has the interface of the browser's WebSocket, over each transport."""

import contextlib

import pytest
from support.fallback_peer import CLOSE, FallbackPeer, echo
from support.node import needs_node, run_node
from support.pairs import wait_until
from support.serving import serving
from support.socket_programs import PROGRAMS

pytestmark = [pytest.mark.once, needs_node]

TRANSPORTS = ["websocket", "streaming", "polling"]
OVER_HTTP = ["streaming", "polling"]


def choose(ws, offered):
    return "chat" if "chat" in offered else None


@contextlib.contextmanager
def echo_server():
    with serving(select_subprotocol=choose, fallback=True) as server:
        yield f"ws://127.0.0.1:{server.port}/chat?room=news"


def run(transport, source, url):
    options = f'{{ transports: ["{transport}"] }}'
    make = f"const make = (url, protocols) => new Syncws(url, protocols, {options});"
    return run_node(make + source, url)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_it_does_what_a_websocket_does(name, transport):
    if (name, transport) == ("messages awaited one by one", "websocket"):
        pytest.skip("Node's own WebSocket has several messages in one task")
    with echo_server() as url:
        assert run(transport, PROGRAMS[name].source, url) == PROGRAMS[name].says


@pytest.mark.parametrize("transport", OVER_HTTP)
@pytest.mark.parametrize("name", PROGRAMS)
def test_it_does_so_with_another_server(name, transport):
    with FallbackPeer(echo).running() as url:
        assert run(transport, PROGRAMS[name].source, url) == PROGRAMS[name].says


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_it_says_what_carries_the_messages(transport):
    source = """
        const ws = make(url);
        report(ws.transport);
        await next(ws, "open");
        report(ws.transport);
        const { data } = await next(ws, "message");
        report([data, ws.transport]);
        done();
    """

    def tell(ws):
        # What the first request for messages says, which comes over a connection of its own.
        wait_until(lambda: ws.transport == transport)
        ws.send(ws.transport)

    with serving(tell, fallback=True) as server:
        url = f"ws://127.0.0.1:{server.port}/"
        assert run(transport, source, url) == ["", transport, [transport, transport]]


@pytest.mark.parametrize("transport", OVER_HTTP)
def test_buffered_amount_is_what_the_server_does_not_have(transport):
    source = """
        const ws = make(url);
        await next(ws, "open");
        ws.send("hé");
        ws.send(new Uint8Array(1000));
        ws.send(new Blob(["12345"]));
        report(ws.bufferedAmount);
        for (let count = 0; count < 3; count++) await next(ws, "message");
        while (ws.bufferedAmount) await new Promise(setImmediate);
        ws.close();
        ws.send("1234567");
        report(ws.bufferedAmount);
        await next(ws, "close");
        ws.send("89");
        report(ws.bufferedAmount);
        done();
    """
    with echo_server() as url:
        assert run(transport, source, url) == [1008, 7, 9]


@pytest.mark.parametrize("transport", OVER_HTTP)
def test_messages_that_are_sent_together_share_a_request(transport):
    source = """
        const ws = make(url);
        await next(ws, "open");
        for (let i = 0; i < 20000; i++) ws.send("message " + i);
        let count = 0;
        ws.onmessage = () => ++count == 20000 && done();
    """
    peer = FallbackPeer(echo)
    with peer.running() as url:
        run(transport, source, url)
    sizes = [len(request.body) for request in peer.named("POST") if request.body]
    assert len(sizes) <= 4
    assert max(sizes) <= 262144


@pytest.mark.parametrize("transport", OVER_HTTP)
def test_no_more_messages_come_after_close(transport):
    def talk(session):
        session.send(b"".join(b"\x81\x01%d" % (i % 10) for i in range(1000)))
        while session.recv()[0] != CLOSE:
            pass
        session.send(b"\x88\x00")
        session.finish()

    source = """
        const ws = make(url);
        let count = 0;
        ws.onmessage = () => ++count == 5 && ws.close(1000);
        const { code, wasClean } = await next(ws, "close");
        report([count, code, wasClean]);
        done();
    """
    with FallbackPeer(talk).running() as url:
        assert run(transport, source, url) == [[5, 1005, True]]


@pytest.mark.parametrize("transport", OVER_HTTP)
def test_a_blob_that_cannot_be_read_ends_the_connection(transport):
    source = """
        class Gone extends Blob {
          arrayBuffer() {
            return Promise.reject(new Error("no such file"));
          }
        }
        const ws = make(url);
        await next(ws, "open");
        ws.send(new Gone(["x"]));
        ws.send("after it");
        ws.onmessage = ({ data }) => report(data);
        const { code, wasClean } = await next(ws, "close");
        report([code, wasClean]);
        done();
    """
    with echo_server() as url:
        assert run(transport, source, url)[-1] == [1006, False]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_handler_that_sends_as_much_as_it_receives_does_not_block(transport):
    source = """
        const ws = make(url);
        await next(ws, "open");
        const text = "x".repeat(1000);
        for (let i = 0; i < 5000; i++) ws.send(i + text);
        let due = 0;
        const began = Date.now();
        ws.onmessage = ({ data }) => {
          if (data != due + text) report(data);
          if (++due < 5000) return;
          report(Date.now() - began < 15000);
          done();
        };
    """
    with echo_server() as url:
        assert run(transport, source, url) == [True]
