"""The Deepgram SDK, which is over websockets."""

import pytest
from support.pairs import SOON
from support.partners import HANDLERS, assert_same, need

need("deepgram", "websockets")

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(120)]


def good(ws):
    """Answer, and close in good order."""
    ws.received.append(ws.recv(SOON))
    ws.send(b"an answer")


def end(ws):
    """Close with an error, once something came."""
    ws.received.append(ws.recv(SOON))
    ws.close(1011, "it failed")


HANDLERS = {**HANDLERS, "/good": good, "/end": end}

# What websockets raises isn't caught by the older name that the SDK has for it; ours is.
REFUSED = r'"raised", "(InvalidStatus|ApiError)"'

DIFFERENT = rf"x-deepgram-session-id: .*|{REFUSED}"


def test_listening_does_the_same_as_with_websockets(tmp_path):
    assert_same("deepgram_listen", HANDLERS, tmp_path, ["websockets"], ignore=DIFFERENT)
