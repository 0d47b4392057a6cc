"""What a program does with a connection that isn't open yet: in process_request and the like."""

import pytest
from support.pairs import run, wait_until
from support.serving import assert_works, messages, serving

from syncws import InvalidMessage, InvalidState, connect

HOOKS = {
    "process_request": lambda act: {"process_request": lambda ws, request: act(ws)},
    "process_response": lambda act: {"process_response": lambda ws, request, response: act(ws)},
    "select_subprotocol": lambda act: {"select_subprotocol": lambda ws, offered: act(ws)},
}


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize(
    "end",
    [
        lambda ws: ws.abort(),
        lambda ws: ws.fail(),
        lambda ws: ws.fail(1006),
        lambda ws: ws.close(),
        lambda ws: ws.__exit__(None, None, None),
    ],
    ids=["abort", "fail", "fail without a frame", "close", "with"],
)
def test_the_program_may_end_a_connection_that_is_not_open_yet(hook, end, caplog):
    def act(ws):
        end(ws)
        closed.append(ws.closed)

    closed = []
    caplog.set_level("INFO")
    with serving(lambda ws: None, **HOOKS[hook](act)) as server:
        with pytest.raises(InvalidMessage):
            connect(server.uri)
        wait_until(lambda: server.stats().refusals)
        assert server.stats().refusals == {"status": 1}
    assert closed == [True]
    assert not messages(caplog, "ERROR")
    assert "the program ended the connection" in messages(caplog)[-1]


@pytest.mark.parametrize(
    "call",
    [
        lambda ws: ws.send("hello"),
        lambda ws: ws.send(["a", "b"]),
        lambda ws: ws.send_many(["hello"]),
        lambda ws: ws.recv(),
        lambda ws: ws.recv(0),
        lambda ws: next(ws.recv_streaming()),
        lambda ws: next(iter(ws)),
        lambda ws: ws.ping(),
        lambda ws: ws.pong(),
        lambda ws: ws.ensure_open(),
        lambda ws: ws.wait_closed(),
        lambda ws: ws.close_exc,
    ],
)
def test_what_needs_an_open_connection_says_that_it_is_not_open_yet(call, caplog):
    def process_request(ws, request):
        try:
            call(ws)
        except Exception as exc:
            raised.append(type(exc))

    raised = []
    with serving(process_request=process_request) as server:
        assert_works(connect(server.uri))
    assert raised == [InvalidState]
    assert not messages(caplog, "ERROR")


def test_another_thread_may_end_a_connection_that_is_not_open_yet(caplog):
    def process_request(ws, request):
        run(ws.abort).result()
        states.append(ws.closed)  # this thread still uses the socket

    states = []
    with serving(process_request=process_request) as server:
        with pytest.raises((InvalidMessage, ConnectionError)):
            connect(server.uri)
        wait_until(lambda: server.stats().refusals)
        wait_until(lambda: not server.stats().connections_opening)
    assert states == [False]
    assert not messages(caplog, "ERROR")
