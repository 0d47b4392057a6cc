"""Numbered messages both ways at the same time: what was lost, came twice, or out of order.

Each side may be a window ahead of what it has received, so that many requests are needed for many
messages, however much one of them may carry. Message by message, all that is sent is known to both.
"""

import contextlib
import http.client
import json
import pathlib
import queue
import subprocess
from urllib.parse import parse_qs, urlsplit

from support import peers
from support.serving import serving

from syncws import ConnectionClosed, Fallback, connect

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "syncws" / "browser" / "syncws.mjs"
EXCHANGE = pathlib.Path(__file__).with_name("exchange.js")

#: What syncws.js is told to use.
POLLING = {"transports": ["polling"]}
STREAMING = {"transports": ["streaming", "polling"]}
ANY = {"transports": ["websocket", "streaming", "polling"]}

#: Seconds after which an exchange is taken for one that hangs.
LIMIT = 200

#: What the page is that a browser loads from the server.
PAGE = "<!doctype html><title>numbers</title><script src=/syncws.js></script>"


def make_message(number):
    """A message: every third is binary, and one of a thousand is large."""
    text = f"{number}:" + "é!" * (number * 7 % 31 if number % 997 else 60000)
    return text if number % 3 else text.encode()


class Numbers:
    """Sends and checks numbered messages over one connection.

    Attributes:
        received: how many messages have come.
        wrong: the first one that wasn't the next one, or ``None``.
    """

    def __init__(self, ws, count, window):
        self.received = 0
        self.wrong = None
        self._ws = ws
        self._count = count
        self._window = window
        self._sent = 0

    def send(self):
        """Send as many as may be sent by now."""
        while self._sent < min(self._count, self.received + self._window):
            self._ws.send(make_message(self._sent))
            self._sent += 1

    def receive(self):
        """Exchange all messages."""
        self.send()
        while self.received < self._count:
            message = self._ws.recv()
            if self.wrong is None and message != make_message(self.received):
                self.wrong = f"{message[:20]!r} in place of {self.received}"
            self.received += 1
            self.send()


class Server:
    """A server of numbers, and what has come of each connection."""

    def __init__(self, server, outcomes):
        self.port = server.port
        self.server = server
        self._outcomes = outcomes

    def outcome(self):
        """What the handler has seen, once it is over."""
        return self._outcomes.get(timeout=LIMIT)


def make_handler(outcomes):
    """A handler that exchanges messages, and says in a queue what has come of it.

    ``closes`` in the query says who closes the connection.
    """

    def handler(ws):
        query = {name: value for name, (value,) in parse_qs(urlsplit(ws.path).query).items()}
        count = int(query["count"])
        numbers = Numbers(ws, count, int(query["window"]))
        transports = {ws.transport}
        try:
            numbers.receive()
            if query["closes"] == "client":
                ws.recv()
            ws.close(4001, f"all {count} ✓")
        except ConnectionClosed:
            if not numbers.received:  # the opening was repeated, and nobody wants this session
                return
        transports.add(ws.transport)
        outcomes.put(
            {
                "received": numbers.received,
                "wrong": numbers.wrong,
                "code": ws.close_code,
                "reason": ws.close_reason,
                "transports": transports,
            }
        )

    return handler


@contextlib.contextmanager
def serving_numbers(*, streaming=True, **options):
    """A server whose page has syncws.js.

    Args:
        streaming: whether it offers streams.
        options: of the server.
    """
    outcomes = queue.Queue()

    def page(ws, request):
        if urlsplit(request.path).path == "/page":
            return ws.respond(200, PAGE, {"Content-Type": "text/html"})
        return None

    options = {
        "fallback": Fallback(session_timeout=20, streaming=streaming),
        "process_request": page,
        **options,
    }
    with serving(make_handler(outcomes), **options) as server:
        start_thread(server)
        yield Server(server, outcomes)


def start_thread(server):
    """Have a server start the thread for HTTP, which is there before the test then."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=LIMIT)
    with contextlib.closing(connection):
        connection.request("GET", "/", headers={"Syncws-Session": "none"})
        assert connection.getresponse().status == 400


# --- clients -----------------------------------------------------------------------


def exchange_in_node(uri, options):
    """Exchange messages by syncws.js in Node; return what it says."""
    source = f"""
        import {{ Syncws }} from {json.dumps(SCRIPT.as_uri())};
        import {json.dumps(EXCHANGE.as_uri())};
        const result = await exchange(Syncws, {json.dumps(uri)}, {json.dumps(options)});
        console.log(JSON.stringify(result));
        process.exit();
    """
    command = [peers.find("node", "nodejs"), "--input-type=module", "-e", source]
    done = subprocess.run(command, capture_output=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def exchange_in_page(driver, uri, options):
    """Exchange messages by syncws.js in a browser; return what it says."""
    from support.browser import load  # it needs selenium

    parts = urlsplit(uri)
    load(driver, f"http://{parts.netloc}/page")
    driver.set_script_timeout(LIMIT)
    source = EXCHANGE.read_text(encoding="utf-8")
    source += "localStorage.clear();"  # what has worked before
    call = "exchange(Syncws, arguments[0], arguments[1]).then(arguments[2]);"
    return driver.execute_async_script(source + call, uri, options)


def exchange_in_python(uri, options):
    """Exchange messages by the library's own client; return the same as the others."""
    count, window = options["count"], options["window"]
    uri = f"http{uri[2:]}&count={count}&window={window}"
    with connect(uri, compression=None) as ws:
        numbers = Numbers(ws, count, window)
        transports = [ws.transport]
        numbers.receive()
        if ws.transport not in transports:
            transports.append(ws.transport)
        if "closes=client" in uri:
            ws.close(4002, f"all {count} ✓")
        else:
            with contextlib.suppress(ConnectionClosed):
                ws.recv()
    return {
        "received": numbers.received,
        "wrong": numbers.wrong,
        "code": ws.close_code,
        "reason": ws.close_reason,
        "wasClean": ws.close_code != 1006,
        "transports": transports,
    }


def exchange(route, options, closes="server", *, count=2000, window=20, run=exchange_in_node):
    """Exchange messages by a route, and check that both sides have had all, once and in order.

    Returns:
        The transports that the client has used, in order.
    """
    result = run(route.uri(closes), {**options, "count": count, "window": window})
    outcome = route.server.outcome()
    assert (result["wrong"], outcome["wrong"]) == (None, None)
    assert (result["received"], outcome["received"]) == (count, count)
    end = (4001 if closes == "server" else 4002, f"all {count} ✓")
    assert (result["code"], result["reason"]) == end
    assert (outcome["code"], outcome["reason"]) == end, repr((outcome, result))[:2000]
    assert result["wasClean"]
    return result["transports"]
