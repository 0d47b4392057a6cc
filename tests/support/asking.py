"""What servers answer to requests, and to clients that they refuse."""

import pytest
from support.scripted import build_request, exchange
from support.serving import serving

from syncws import InvalidStatus, connect


def ask(request=None, **kwargs):
    """What a server made with these arguments answers."""
    with serving(**kwargs) as server:
        return exchange(server, build_request() if request is None else request)


def status(answer):
    return int(answer[0].split(" ")[1])


def refused(**kwargs):
    """The refusal that a client of a server made with these arguments gets."""
    with serving(**kwargs) as server, pytest.raises(InvalidStatus) as info:
        connect(server.uri)
    return info.value.response


def refused_as_full(server, **kwargs):
    """The refusal that a client of a server gets that has no room for it."""
    with pytest.raises(InvalidStatus) as info:
        connect(server.uri, **kwargs)
    assert info.value.response.status_code == 503
    assert info.value.response.headers["Retry-After"] == "5"
    return info.value.response


def echo_once(ws):
    ws.send(ws.recv())
