"""The programs of docs/operating.md."""

import inspect
import re
import signal
import sys

import pytest
from support.pairs import SOON
from support.snippets import DOCS, block, run, running_server

from syncws import ConnectionClosed, connect, serve

PAGE = "operating"
TEXT = (DOCS / "operating.md").read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGTERM")
def test_operating_service():
    with running_server(block(PAGE, "service")) as (port, program):
        with connect(f"ws://localhost:{port}/") as ws:
            ws.send("hello")
            assert ws.recv(SOON) == "hello"
            program.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed):
                ws.recv(SOON)
            assert ws.close_code == 1012
        output, log = program.process.communicate(timeout=SOON)
    assert program.process.returncode == 0
    assert re.search(r"ServerStats\(connections_open=0, .*messages_received=1,", output)
    assert re.search(r"^INFO:syncws\.server:connection \d+ open: / from ", log, re.M)
    assert re.search(r"^INFO:syncws\.server:connection \d+ closed by us with 1012 ", log, re.M)


def test_operating_implementation():
    printed = run(block(PAGE, "implementation")).strip()
    assert printed in ("c", "pure")
    assert f"`{printed}`" in TEXT


def test_the_limits_of_the_page_are_those_of_the_server():
    units = {"KiB": 2**10, "MiB": 2**20, "messages": 1}
    found = {
        name: int(number) * units[unit]
        for name, number, unit in re.findall(r"^\| `(\w+)=` \| (\d+) (\w+) \|", TEXT, re.M)
    }
    parameters = inspect.signature(serve).parameters
    assert found == {name: parameters[name].default for name in found}
    assert set(found) == {"max_size", "max_header_size", "max_body_size", "max_queue", "read_limit"}
