"""yt-dlp's handler of WebSockets, which is over websockets."""

import pytest
from support.partners import HANDLERS, assert_same, need, refuse

need("yt_dlp", "websockets")

pytestmark = pytest.mark.interop

PAGES = {"/page": refuse(200, "a page")}


def test_handler_does_the_same_as_with_websockets(tmp_path):
    assert_same("yt_dlp_websocket", HANDLERS, tmp_path, ["websockets"], PAGES)
