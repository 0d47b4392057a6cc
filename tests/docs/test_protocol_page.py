"""docs/protocol.md: its programs run, its traces are real, its tables are the library's."""

import os
import re
import subprocess
import sys
from datetime import datetime
from io import StringIO

import pytest
from support.serving import echo, serving
from support.snippets import DOCS, ROOT, block, run

from syncws import ServerConnection, ServerProtocol, State
from syncws.cli.trace_lines import Tracer, trace_lines
from syncws.sansio.close import CloseCode, explain, is_sendable
from syncws.sansio.handshake import accept_value
from syncws.sansio.state import TRANSITIONS
from syncws.wiretap.dissector import Dissector, Exchange, HttpHead
from syncws.wiretap.tap import tapped

PAGE = "protocol"
TEXT = (DOCS / "protocol.md").read_text(encoding="utf-8")
TRACES = dict(re.findall(r"<!-- trace-(\w+) -->\n```text\n(.*?)^```", TEXT, re.M | re.S))

#: A line of a trace: the connection, the time, the direction, the rest. And one with bytes.
LINE = re.compile(r"(#\d+ )?([\d:.]{15}| {15})  ([→←])  (.*)")
BYTES = re.compile(
    r"(?:#\d+ )? {20}((?:[0-9a-f]{2} )+)(?:\| ((?:[0-9a-f]{2} ?)+)(\.\.\.)?)?.*header.*"
)


def printed(name):
    """What the page says that a program prints."""
    return re.search(rf"<!-- {name}-printed -->\n```\n(.*?)```", TEXT, re.S)[1]


def table(heading):
    """The rows of the table below a heading, or a line before it."""
    rows = re.search(r"(?:^\|.*\n)+", TEXT.partition(f"\n{heading}")[2], re.M)[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


# --- programs ----------------------------------------------------------------------


def test_protocol_accept():
    accept = run(block(PAGE, "accept")).strip()
    assert f"Sec-WebSocket-Accept: {accept}\n" in TRACES["hello"]
    assert f"It prints `{accept}`" in TEXT


def test_protocol_unmask():
    assert run(block(PAGE, "unmask")) == printed("unmask")


def test_protocol_lengths():
    assert run(block(PAGE, "lengths")) == printed("lengths")


def test_protocol_inflate():
    assert run(block(PAGE, "inflate")) == "spam " * 14 + "\n"


def test_protocol_sansio():
    assert run(block(PAGE, "sansio")) == printed("sansio")


def test_protocol_fragments():
    output, trace = watch_server("fragments")
    assert output == "Hello\n"
    assert sorted(trace) == sorted(shape(TRACES["fragments"]))  # the ends may cross


def test_protocol_wrong():
    output, trace = watch_server("wrong")
    assert output == "1007 (invalid data) unexpected end of data at position 3\n"
    assert sorted(trace) == sorted(shape(TRACES["wrong"]))


# --- traces: what the library prints now ----------------------------------------------


def shape(trace):
    """The lines of a trace without what is another each time."""
    for pattern, replacement in (
        (r"^(#\d+ )?([\d:.]{15}|\s{15})", ""),
        (r"mask=[0-9a-f]{8}", "mask=*"),
        (
            r"((?:[0-9a-f]{2} )+)[0-9a-f]{2} [0-9a-f]{2} [0-9a-f]{2} [0-9a-f]{2} \|.*masked.*",
            r"\1*",
        ),
        (r"80 80 (?:[0-9a-f]{2} ?){4}", "80 80 *"),  # nothing that could be masked
        (r"\bc1 .*", "c1 *"),  # how well it is compressed depends on the version of zlib
        (r"length=\d+ +compressed", "compressed"),
        (r"(Key|Accept|Date|User-Agent|Server|Host): .*", r"\1"),
    ):
        trace = re.sub(pattern, replacement, trace, flags=re.M)
    return trace.splitlines()


def watch_server(name):
    """Run a program of the page; return its output, and the shape of what the server traces."""
    stream = StringIO()
    tracer = Tracer(stream)
    tracer.arrows = "→←"
    create = tapped(ServerConnection, lambda ws: tracer.observer())
    with serving(echo, create_connection=create) as server:
        output = run(block(PAGE, name), server.port)
    lines = stream.getvalue()
    return output, shape(lines[re.search(r"^.*TEXT ", lines, re.M).start() :])


@pytest.mark.parametrize(
    ("name", "line", "options"),
    [("hello", "hello", ["--no-compression"]), ("compressed", "spam " * 14, [])],
)
def test_a_client_traces_what_the_page_shows(name, line, options):
    with serving() as server:
        process = subprocess.run(
            [sys.executable, "-m", "syncws", "connect", "--trace", *options, server.uri],
            input=line + "\n",
            capture_output=True,
            encoding="utf-8",
            cwd=ROOT,
            env={**os.environ, "PYTHONUTF8": "1"},
            timeout=30,
        )
    lines = [line for line in shape(process.stderr) if not line.startswith("Connection closed")]
    assert lines == shape(TRACES[name])


# --- traces: what the page's own bytes say ----------------------------------------------


def records(trace):
    """The parts of a trace: time, direction, lines, and bytes; the ends of streams have none."""
    parts = []
    for line in trace.splitlines():
        found, data = LINE.fullmatch(line), BYTES.fullmatch(line)
        if data is not None:
            header, payload, cut = data.groups()
            payload = bytes.fromhex(payload or "")
            if cut:  # what is left out is the end of the reason
                payload = payload[:2] + re.search('reason "(.*)"', parts[-1][2][-1])[1].encode()
            parts[-1][2].append(line)
            parts[-1][3] += bytes.fromhex(header) + payload
        elif found[2].strip():
            parts.append([found[2], found[3], [line], b""])
        else:
            parts[-1][2].append(line)
    for when, arrow, lines, data in parts:
        texts = [match[4] for match in map(LINE.fullmatch, lines) if match]
        if not data and texts != ["(end of the stream)"]:
            data = "\r\n".join([*texts, "", ""]).encode()
        yield when, arrow == "→", lines, data


@pytest.mark.parametrize("name", TRACES)
def test_the_bytes_that_are_shown_mean_what_the_lines_say(name):
    trace = TRACES[name]
    exchange = Exchange()
    take = {True: exchange.sent, False: exchange.received}
    if "HTTP" not in trace:  # it begins after the opening handshake
        take = {sent: Dissector(http=False).receive_data for sent in take}
    label = re.match(r"(#\d+ )?", trace)[0]
    for when, sent, lines, data in records(trace):
        if not data:
            continue
        (record,) = take[sent](data)
        if "HTTP" not in trace:
            record = type("Seen", (), {"sent": sent, "what": record})
        assert trace_lines(record, datetime.strptime(when, "%H:%M:%S.%f"), label=label) == lines


def test_each_accept_value_answers_its_key():
    for trace in TRACES.values():
        heads = [
            HttpHead(data.decode(), len(data))
            for _, _, _, data in records(trace)
            if b"HTTP" in data
        ]
        for request, response in zip(heads[::2], heads[1::2]):
            (key,) = request.get_all("Sec-WebSocket-Key")
            assert response.get_all("Sec-WebSocket-Accept") == [accept_value(key)]


# --- tables ------------------------------------------------------------------------


def test_the_table_of_states_is_the_librarys():
    assert table("### States") == [
        [state.name, transition.value, following.name]
        for (state, transition), following in TRANSITIONS.items()
    ]


def test_the_table_of_close_codes_is_the_librarys():
    assert [(code, name, wire) for code, name, _, wire in table("### Close codes")] == [
        (str(int(code)), explain(code), "yes" if is_sendable(code) else "never")
        for code in CloseCode
    ]


VIOLATIONS = table("Some ways to break the rules")


@pytest.mark.parametrize("row", VIOLATIONS, ids=[row[0] for row in VIOLATIONS])
def test_a_violation_has_the_close_code_that_the_table_says(row):
    _, data, code, _ = row
    protocol = ServerProtocol(state=State.OPEN)
    protocol.receive_data(bytes.fromhex(data.strip("`")))
    assert protocol.close_sent.code == int(code)
