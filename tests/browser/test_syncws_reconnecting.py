"""syncws.js connects again if it is told to, and goes on where it was."""

import threading
from urllib.parse import parse_qs, urlsplit

import pytest
from support.fallback_peer import FallbackPeer, Faults
from support.node import needs_node, run_node
from support.serving import serving

from syncws.pubsub import Hub

pytestmark = [pytest.mark.once, needs_node]

TRANSPORTS = ["websocket", "streaming", "polling"]


def options(transport, **more):
    rest = "".join(f", {name}: {value}" for name, value in more.items())
    return f'{{ transports: ["{transport}"]{rest} }}'


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    return request.param


class Cutting:
    """A handler that ends its first connections in some way."""

    def __init__(self, *endings):
        self.endings = list(endings)
        self.paths = []

    def __call__(self, ws):
        self.paths.append(ws.path)
        if self.endings:
            self.endings.pop(0)(ws)
        else:
            for message in ws:
                ws.send(message)


def running(handler):
    return serving(handler, fallback=True)


REPORTING = """
    for (const type of ["open", "error", "reconnecting", "close"]) {
      ws.addEventListener(type, ({ code }) => report([type, ws.readyState, code ?? null]));
    }
"""


def test_it_does_not_by_default(transport):
    handler = Cutting(lambda ws: ws.close(1011))
    with running(handler) as server:
        source = f"""
            const ws = new Syncws(url, [], {options(transport)});
            {REPORTING}
            ws.onclose = done;
        """
        said = run_node(source, f"ws://127.0.0.1:{server.port}/")
    assert said == [["open", 1, None], ["close", 3, 1011]]


def test_it_opens_again_after_a_failure(transport):
    handler = Cutting(lambda ws: ws.abort(), lambda ws: ws.close(1012))
    with running(handler) as server:
        source = f"""
            const ws = new Syncws(url, [], {options(transport, reconnect="{ minDelay: 10 }")});
            {REPORTING}
            await next(ws, "open");
            await next(ws, "open");
            await next(ws, "open");
            ws.send("hello");
            const {{ data }} = await next(ws, "message");
            report(data);
            ws.close(1000);
            ws.onclose = done;
        """
        said = run_node(source, f"ws://127.0.0.1:{server.port}/")
    assert said == [
        ["open", 1, None],
        ["reconnecting", 0, 1006],
        ["open", 1, None],
        ["reconnecting", 0, 1012],
        ["open", 1, None],
        "hello",
        ["close", 3, 1000],
    ]


def test_an_ordinary_end_is_the_end(transport):
    with running(lambda ws: ws.send("all")) as server:
        source = f"""
            const ws = new Syncws(url, [], {options(transport, reconnect="true")});
            {REPORTING}
            ws.onclose = done;
        """
        said = run_node(source, f"ws://127.0.0.1:{server.port}/")
    assert said == [["open", 1, None], ["close", 3, 1000]]


def test_delays_grow_and_vary_until_it_gives_up():
    source = """
        const ws = new Syncws(url, [], {
          transports: ["polling"],
          reconnect: { minDelay: 16, maxDelay: 64, attempts: 5 },
        });
        ws.onreconnecting = ({ attempt, delay }) => report([attempt, delay]);
        ws.onerror = () => report("error");
        ws.onclose = ({ code }) => {
          report(code);
          done();
        };
    """
    refusal = (503, b'{"error": {"code": "refused", "message": ""}}', {})
    with FallbackPeer(None, refuse=lambda number: refusal).running() as url:
        *attempts, error, code = run_node(source, url)
    assert [attempt for attempt, _ in attempts] == [1, 2, 3, 4, 5]
    for (_, delay), most in zip(attempts, [16, 32, 64, 64, 64]):
        assert most / 2 <= delay <= most
    assert (error, code) == ("error", 1006)


def test_it_waits_for_as_long_as_the_server_says():
    source = """
        const ws = new Syncws(url, [], { transports: ["polling"], reconnect: { minDelay: 16 } });
        const { delay } = await next(ws, "reconnecting");
        report(delay);
        const began = Date.now();
        await next(ws, "open");
        report(Date.now() - began >= 950);
        done();
    """
    busy = (503, b'{"error": {"code": "busy", "message": ""}}', {"Retry_After": 1})
    peer = FallbackPeer(lambda session: None, refuse=lambda number: busy if number == 1 else None)
    with peer.running() as url:
        assert run_node(source, url) == [1000, True]


def test_what_is_refused_for_good_is_not_tried_again():
    source = """
        const ws = new Syncws(url, [], { transports: ["polling"], reconnect: true });
        ws.onreconnecting = () => report("reconnecting");
        ws.onclose = () => {
          report("close");
          done();
        };
    """
    refusal = (401, b'{"error": {"code": "refused", "message": ""}}', {})
    with FallbackPeer(None, refuse=lambda number: refusal).running() as url:
        assert run_node(source, url) == ["close"]


@pytest.mark.parametrize("where", ["in the event's handler", "while it waits"])
def test_close_ends_the_attempts(where):
    act = {
        "in the event's handler": "ws.onreconnecting = () => ws.close();",
        "while it waits": "ws.onreconnecting = () => setTimeout(() => ws.close(), 10);",
    }[where]
    handler = Cutting(lambda ws: ws.close(1012))
    with running(handler) as server:
        source = f"""
            const ws = new Syncws(url, [], {options("polling", reconnect="true")});
            {REPORTING}
            {act}
            ws.onclose = done;
        """
        said = run_node(source, f"ws://127.0.0.1:{server.port}/")
    assert said[0] == ["open", 1, None]
    assert said[1][0] == "reconnecting"
    assert said[2:] == [["error", 3, None], ["close", 3, 1006]]
    assert len(handler.paths) == 1


def test_without_a_network_it_waits_for_one():
    handler = Cutting(lambda ws: ws.close(1012))
    with running(handler) as server:
        source = f"""
            Object.defineProperty(globalThis, "navigator", {{ value: {{ onLine: true }} }});
            const ws = new Syncws(url, [], {options("polling", reconnect="{ minDelay: 600000 }")});
            {REPORTING}
            ws.onoffline = () => report("offline");
            ws.ononline = () => report("online");
            await next(ws, "reconnecting");
            navigator.onLine = false;
            page.dispatchEvent(new Event("offline"));
            setTimeout(() => {{
              navigator.onLine = true;
              page.dispatchEvent(new Event("online"));
            }}, 50);
            await next(ws, "open");
            done();
        """
        said = run_node(source, f"ws://127.0.0.1:{server.port}/")
    assert said == [
        ["open", 1, None],
        ["reconnecting", 0, 1012],
        "offline",
        "online",
        ["open", 1, None],
    ]


def test_requests_that_wait_are_sent_again_once_there_is_a_network():
    source = """
        Object.defineProperty(globalThis, "navigator", { value: { onLine: true } });
        const ws = new Syncws(url, [], { transports: ["polling"] });
        await next(ws, "open");
        ws.send("offline now");
        ws.onmessage = ({ data }) => report(data);
        await next(ws, "message");
        navigator.onLine = false;
        page.dispatchEvent(new Event("offline"));
        ws.send("while offline");
        await new Promise((resolve) => setTimeout(resolve, 300));
        report("online");
        navigator.onLine = true;
        page.dispatchEvent(new Event("online"));
        await next(ws, "message");
        done();
    """
    lost = threading.Event()

    def talk(session):
        session.recv()
        lost.set()
        session.say("go offline")
        assert session.recv()[1] == b"while offline"
        session.say("back")

    count = [0]

    def lose(number):
        # The network takes the first request after that, and no more are sent.
        if lost.is_set() and not count[0] and number > 1:
            count[0] += 1
            return True
        return False

    peer = FallbackPeer(talk, Faults(lose_request=lose))
    with peer.running() as url:
        assert run_node(source, url) == ["go offline", "online", "back"]


def envelope(room, entry):
    return f"{entry.position}|{entry.message}"


def test_a_page_goes_on_with_a_room_where_it_was(transport):
    with Hub(envelope=envelope) as hub:

        def news(ws):
            room = ws.group("news")
            since = parse_qs(urlsplit(ws.path).query).get("since", [None])[0]
            if since is None:
                room.add(ws)
                room.publish("first")
                ws.recv()  # the page has it
                room.discard(ws)
                room.publish("missed")
                ws.abort()
            else:
                room.add(ws, since=since)
                room.publish("new")
            ws.wait_closed()

        with serving(news, fallback=True, hub=hub) as server:
            more = options(
                transport,
                reconnect="{ minDelay: 10 }",
                since="({ data }) => data.split('|')[0]",
            )
            source = f"""
                const ws = new Syncws(url, [], {more});
                const original = ws.url;
                ws.onmessage = ({{ data }}) => {{
                  report(data.split("|")[1]);
                  if (data.endsWith("new")) done();
                  ws.send("got it");
                }};
                ws.onreconnecting = () => report(ws.url == original);
            """
            said = run_node(source, f"ws://127.0.0.1:{server.port}/news?lang=en")
    assert said == ["first", True, "missed", "new"]


def test_the_position_is_a_parameter_of_the_url():
    handler = Cutting()
    positions = ["a/1", "", "b&c=é"]

    def talk(ws):
        handler.paths.append(ws.path)
        if positions:
            ws.send(positions.pop(0))
            ws.recv()
            ws.close(1012)

    with running(talk) as server:
        source = f"""
            const ws = new Syncws(url, [], {
            options(
                "websocket",
                reconnect="{ minDelay: 10 }",
                since="({ data }) => data || undefined",
            )
        });
            ws.onmessage = () => ws.send("got it");
            ws.onclose = done;
        """
        run_node(source, f"ws://127.0.0.1:{server.port}/?since=0/0&x=1")
    queries = [parse_qs(urlsplit(path).query) for path in handler.paths]
    assert queries == [
        {"since": ["0/0"], "x": ["1"]},
        {"since": ["a/1"], "x": ["1"]},
        {"since": ["a/1"], "x": ["1"]},
        {"since": ["b&c=é"], "x": ["1"]},
    ]
