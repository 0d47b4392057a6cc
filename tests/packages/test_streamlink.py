"""streamlink's client, which is over websocket-client."""

import pytest
from support.partners import HANDLERS, assert_same, need

need("streamlink", "websocket")

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(120)]


def test_client_does_the_same_as_with_websocket_client(tmp_path):
    assert_same("streamlink_websocket", HANDLERS, tmp_path, ["websocket"])
