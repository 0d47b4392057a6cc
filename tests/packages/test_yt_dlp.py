"""yt-dlp's handler of WebSockets, which is over websockets."""

import pytest
from support.partners import HANDLERS, assert_same, need, refuse

need("yt_dlp", "websockets")

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(120)]

PAGES = {"/page": refuse(200, "a page")}


# Its timeout for closing is 0: then websockets sends no close frame.
CLOSES = r"closed \[100[06], ''\]"


def test_handler_does_the_same_as_with_websockets(tmp_path):
    assert_same("yt_dlp_websocket", HANDLERS, tmp_path, ["websockets"], pages=PAGES, ignore=CLOSES)
