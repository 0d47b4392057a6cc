"""Programs that use a WebSocket as pages do, and what they must say.

They have `make(url, protocols)`, `url` of an echo server that knows the subprotocol "chat",
`report(value)`, `next(target, type)` and `done()`. A browser's own WebSocket passes all of them.
"""

from dataclasses import dataclass, field

__all__ = ["PROGRAMS", "Program"]


@dataclass
class Program:
    """A program.

    Attributes:
        source: what it does.
        says: what it reports.
    """

    source: str
    says: list = field(default_factory=list)


CONVERSATION = Program(
    """
    const ws = make(url, ["chat"]);
    report([ws.url == url, ws.readyState, ws.protocol, ws.extensions, ws.binaryType]);
    for (const type of ["open", "message", "error", "close"]) {
      ws.addEventListener(type, () => report(type));
    }
    ws.onopen = (event) => {
      report([event.target == ws, ws.readyState, ws.protocol]);
      ws.send("hellö");
    };
    ws.onmessage = (event) => {
      report([event.data, event.origin == new URL(url).origin, event instanceof MessageEvent]);
      ws.close(4000, "bÿe");
      report(ws.readyState);
      ws.close();
    };
    ws.onclose = ({ code, reason, wasClean }) => {
      report([code, reason, wasClean, ws.readyState]);
      done();
    };
    """,
    [
        [True, 0, "", "", "blob"],
        "open",
        [True, 1, "chat"],
        "message",
        ["hellö", True, True],
        2,
        "close",
        [4000, "bÿe", True, 3],
    ],
)

DATA = Program(
    """
    const ws = make(url);
    ws.binaryType = "arraybuffer";
    await next(ws, "open");
    const bytes = Uint8Array.from({ length: 70000 }, (_, i) => i * 7);
    const blob = new Blob([bytes.subarray(0, 300)]);
    const view = new DataView(bytes.buffer, 3, 200);
    const kept = bytes.slice();
    const texts = ["", "text", 42, null];
    const sent = [...texts, blob, "after the blob", bytes, bytes.buffer, view, "\\ud800"];
    for (const data of sent) ws.send(data);
    bytes.fill(0); // what was sent stays as it was
    const came = [];
    await new Promise((resolve) => {
      ws.onmessage = ({ data }) => came.push(data) == sent.length && resolve();
    });
    const equal = (a, b) => `${new Uint8Array(a)}` == `${b}`;
    report(came.filter((data) => typeof data == "string"));
    report([
      equal(came[4], kept.slice(0, 300)),
      equal(came[6], kept),
      equal(came[7], kept),
      equal(came[8], kept.slice(3, 203)),
    ]);
    done();
    """,
    [["", "text", "42", "null", "after the blob", "�"], [True] * 4],
)

BINARY_TYPE = Program(
    """
    const ws = make(url);
    await next(ws, "open");
    ws.send(new Uint8Array([1, 2, 3]));
    const { data } = await next(ws, "message");
    report([data instanceof Blob, [...new Uint8Array(await data.arrayBuffer())]]);
    ws.binaryType = "arraybuffer";
    ws.binaryType = "nonsense";
    report(ws.binaryType);
    ws.send(new Uint8Array([4, 5]));
    const { data: buffer } = await next(ws, "message");
    report([buffer instanceof ArrayBuffer, buffer.byteLength, [...new Uint8Array(buffer)]]);
    done();
    """,
    [[True, [1, 2, 3]], "arraybuffer", [True, 2, [4, 5]]],
)

ARGUMENTS = Program(
    """
    const attempt = (act) => {
      try {
        act();
        report("fine");
      } catch (error) {
        report([error.name, error instanceof DOMException]);
      }
    };
    for (const wrong of ["ftp://example.com/", "ws://["]) attempt(() => make(wrong));
    for (const wrong of ["a b", "", ["a", "a"], ["a", "b,c"]]) attempt(() => make(url, wrong));
    const ws = make(url);
    attempt(() => ws.send("too early"));
    await next(ws, "open");
    attempt(() => ws.close(1001));
    attempt(() => ws.close(5000));
    attempt(() => ws.close(1000, "ü".repeat(62)));
    report(ws.readyState);
    attempt(() => ws.close(1000, "x".repeat(123)));
    attempt(() => ws.send("too late"));
    attempt(() => ws.close(1001));
    done();
    """,
    [
        *[["SyntaxError", True]] * 6,
        ["InvalidStateError", True],
        *[["InvalidAccessError", True]] * 2,
        ["SyntaxError", True],
        1,
        "fine",
        "fine",
        ["InvalidAccessError", True],
    ],
)

ADDRESSES = Program(
    """
    for (const address of [url.replace("ws", "http"), new URL(url)]) {
      const ws = make(address);
      report(ws.url == url);
      ws.close();
    }
    done();
    """,
    [True, True],
)

CLOSE_CODES = Program(
    """
    for (const args of [[], [1000], [3000, "a reason"], [undefined, undefined]]) {
      const ws = make(url);
      await next(ws, "open");
      ws.close(...args);
      const { code, reason, wasClean } = await next(ws, "close");
      report([code, reason, wasClean]);
    }
    done();
    """,
    [[1005, "", True], [1000, "", True], [3000, "a reason", True], [1005, "", True]],
)

CLOSE_TOO_EARLY = Program(
    """
    const ws = make(url);
    for (const type of ["open", "error", "close"]) ws.addEventListener(type, () => report(type));
    ws.close();
    report(ws.readyState);
    const { code, reason, wasClean } = await next(ws, "close");
    report([code, reason, wasClean, ws.readyState]);
    done();
    """,
    [2, "error", "close", [1006, "", False, 3]],
)

CONSTANTS = Program(
    """
    const ws = make(url);
    for (const holder of [ws, ws.constructor]) {
      report([holder.CONNECTING, holder.OPEN, holder.CLOSING, holder.CLOSED]);
    }
    report(ws instanceof EventTarget);
    done();
    """,
    [[0, 1, 2, 3], [0, 1, 2, 3], True],
)

HANDLERS = Program(
    """
    const ws = make(url);
    const first = () => report("first");
    ws.onmessage = first;
    report([ws.onmessage == first, ws.onopen]);
    ws.addEventListener("message", () => report("listener"));
    await next(ws, "open");
    const exchange = async () => {
      ws.send("x");
      await next(ws, "message");
    };
    await exchange();
    ws.onmessage = () => report("second");
    await exchange();
    ws.onmessage = null;
    report(ws.onmessage);
    await exchange();
    done();
    """,
    [[True, None], "first", "listener", "second", "listener", None, "listener"],
)

TASKS = Program(
    """
    const ws = make(url);
    await next(ws, "open");
    for (let i = 0; i < 1000; i++) ws.send(i);
    const receive = async () => {
      const { data } = await next(ws, "message");
      await null;
      return data;
    };
    let lost = 0;
    for (let i = 0; i < 1000; i++) lost += await receive() != i;
    report(lost);
    done();
    """,
    [0],
)

#: By what they are about.
PROGRAMS = {
    "a conversation": CONVERSATION,
    "all kinds of data": DATA,
    "blobs and array buffers": BINARY_TYPE,
    "wrong arguments": ARGUMENTS,
    "addresses of http and URL objects": ADDRESSES,
    "codes and reasons of close()": CLOSE_CODES,
    "close() before it is open": CLOSE_TOO_EARLY,
    "constants": CONSTANTS,
    "handlers that are replaced": HANDLERS,
    "messages awaited one by one": TASKS,
}
