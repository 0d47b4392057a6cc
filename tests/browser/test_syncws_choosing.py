"""syncws.js tries WebSocket first, and remembers what worked."""

import contextlib
import socket
import threading

import pytest
from support.fallback_peer import FallbackPeer, echo
from support.node import needs_node, run_node
from support.serving import serving

pytestmark = [pytest.mark.once, needs_node]

TELL = """
    const tell = async (options) => {
      const ws = new Syncws(url, [], options);
      const { type } = await Promise.race([next(ws, "open"), next(ws, "close")]);
      report([type, ws.transport]);
      if (type == "open") {
        ws.send("hello");
        const { data } = await next(ws, "message");
        report(data);
        ws.close();
        await next(ws, "close");
      }
    };
"""

STORAGE = """
    const kept = {};
    globalThis.localStorage = {
      getItem: (key) => kept[key] ?? null,
      setItem: (key, value) => {
        kept[key] = value;
      },
    };
"""

FORBIDDEN = """
    Object.defineProperty(globalThis, "localStorage", {
      get() {
        throw new DOMException("no", "SecurityError");
      },
    });
"""


def upgrades(peer):
    return [each for each in peer.seen if "upgrade" in each.headers]


@contextlib.contextmanager
def silent_for_websockets(peer):
    """A proxy that answers no request with Upgrade; the peer is behind it."""
    with peer.running() as url, contextlib.ExitStack() as stack:
        port = int(url.split(":")[2].split("/")[0])
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        sockets = []

        def pump(source, target):
            with contextlib.suppress(OSError):
                while data := source.recv(65536):
                    target.sendall(data)
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_WR)

        def serve(client):
            with contextlib.suppress(OSError):
                head = b""
                while b"\r\n\r\n" not in head:
                    data = client.recv(65536)
                    if not data:
                        return
                    head += data
                if b"upgrade: websocket" in head.lower():
                    return
                server = socket.create_connection(("127.0.0.1", port))
                sockets.append(server)
                server.sendall(head)
                start(pump, server, client)
                pump(client, server)

        def start(function, *args):
            thread = threading.Thread(target=function, args=args)
            threads.append(thread)
            thread.start()

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    sockets.append(client)
                    start(serve, client)

        threads = []
        start(accept)
        try:
            yield url.replace(str(port), str(listener.getsockname()[1]))
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for each in sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(20)
            for each in sockets:
                each.close()


def test_websocket_is_used_where_it_opens():
    with serving(fallback=True) as server:
        url = f"ws://127.0.0.1:{server.port}/"
        said = run_node(TELL + "await tell(); await done();", url)
    assert said == [["open", "websocket"], "hello"]


def test_http_is_used_where_websocket_fails():
    peer = FallbackPeer(echo)
    with peer.running() as url:
        assert run_node(TELL + "await tell(); await done();", url) == [
            ["open", "streaming"],
            "hello",
        ]
    assert len(upgrades(peer)) == 1


def test_http_is_used_where_websocket_does_not_open_in_time():
    with silent_for_websockets(FallbackPeer(echo)) as url:
        said = run_node(TELL + "await tell({ openTimeout: 300 }); await done();", url)
    assert said == [["open", "streaming"], "hello"]


def test_http_is_used_where_there_is_no_websocket():
    source = TELL + "delete globalThis.WebSocket; await tell(); await done();"
    with FallbackPeer(echo).running() as url:
        assert run_node(source, url) == [["open", "streaming"], "hello"]


def test_nothing_is_tried_after_the_page_has_closed_at_once():
    source = """
        delete globalThis.WebSocket;
        const ws = new Syncws(url);
        ws.onopen = ws.onerror = ws.onclose = ({ type }) => report(type);
        ws.close();
        await next(ws, "close");
        setTimeout(() => {
          report(ws.readyState);
          done();
        }, 500);
    """
    peer = FallbackPeer(echo)
    with peer.running() as url:
        assert run_node(source, url) == ["error", "close", 3]
    assert not peer.seen


def test_http_is_used_where_the_page_may_not_use_websockets():
    source = """
        globalThis.WebSocket = class {
          constructor() {
            throw new DOMException("no", "SecurityError");
          }
        };
        await tell();
        await done();
    """
    with FallbackPeer(echo).running() as url:
        assert run_node(TELL + source, url) == [["open", "streaming"], "hello"]


@pytest.mark.parametrize("storage", ["", STORAGE, FORBIDDEN])
def test_what_worked_is_tried_first_the_next_time(storage):
    peer = FallbackPeer(echo)
    with peer.running() as url:
        said = run_node(storage + TELL + "await tell(); await tell(); await done();", url)
    assert said == [["open", "streaming"], "hello"] * 2
    assert len(upgrades(peer)) == 1


def test_polling_is_remembered_as_well():
    peer = FallbackPeer(echo, opening={"streaming": False})
    source = "await tell(); await tell(); report(Object.keys(kept).length); await done();"
    with peer.running() as url:
        said = run_node(STORAGE + TELL + source, url)
    assert said == [*[["open", "polling"], "hello"] * 2, 1]


def test_it_is_forgotten_after_a_while():
    peer = FallbackPeer(echo)
    source = "await tell({ remember: -1 }); await tell({ remember: -1 }); await done();"
    with peer.running() as url:
        run_node(STORAGE + TELL + source, url)
    assert len(upgrades(peer)) == 2


def test_what_worked_and_fails_now_is_not_the_only_one_tried():
    with serving() as server:
        url = f"ws://127.0.0.1:{server.port}/"
        source = """
            kept["syncws " + new URL(url).origin] = JSON.stringify(["polling", Date.now() + 1e6]);
            await tell();
            await done();
        """
        assert run_node(STORAGE + TELL + source, url) == [["open", "websocket"], "hello"]


@pytest.mark.parametrize("junk", ["x", "null", "[]", "{}", "3", '["nonsense", 99999999999999]'])
def test_junk_in_the_storage_does_no_harm(junk):
    source = f"""
        globalThis.localStorage = {{ getItem: () => {junk!r}, setItem() {{}} }};
        await tell();
        await done();
    """
    with FallbackPeer(echo).running() as url:
        assert run_node(TELL + source, url) == [["open", "streaming"], "hello"]


def test_only_the_transports_that_are_named_are_tried():
    peer = FallbackPeer(echo)
    with peer.running() as url:
        source = """
            await tell({ transports: ["websocket"] });
            await tell({ transports: ["polling"] });
            await done();
        """
        said = run_node(TELL + source, url)
    assert said == [["close", ""], ["open", "polling"], "hello"]
    assert all("event-stream" not in each.headers.get("accept", "") for each in peer.seen)


REFUSAL = b'{"error": {"code": "refused", "message": "no, thanks"}}'


@pytest.mark.parametrize(
    ("response", "openings", "message"),
    [
        ((403, REFUSAL, {"Content_Type": "application/json"}), 1, "no, thanks"),
        ((503, REFUSAL, {"Content_Type": "application/json"}), 1, "no, thanks"),
        ((404, b"<h1>Not Found</h1>", {}), 1, ""),
        ((502, b"<h1>Bad Gateway</h1>", {}), 5, ""),
        ((200, b"<h1>Welcome</h1>", {}), 5, None),
    ],
)
def test_what_is_refused_is_an_error(response, openings, message):
    peer = FallbackPeer(echo, refuse=lambda number: response)
    source = """
        const ws = new Syncws(url);
        ws.onerror = ({ message }) => report(message);
        const { code, wasClean } = await next(ws, "close");
        report([code, wasClean, ws.readyState]);
        done();
    """
    with peer.running() as url:
        said, *rest = run_node(source, url)
    assert message in (said, None)
    assert rest == [[1006, False, 3]]
    news = [each for each in peer.seen if each.headers.get("syncws-session") == "new"]
    assert len(news) == openings


def test_a_server_that_is_not_there_is_an_error():
    source = """
        const ws = new Syncws(url);
        ws.onerror = () => report("error");
        const { code } = await next(ws, "close");
        report(code);
        done();
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert run_node(source, f"ws://127.0.0.1:{port}/") == ["error", 1006]
