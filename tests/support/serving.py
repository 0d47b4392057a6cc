"""Servers for tests, on loopback, and what they log."""

import contextlib

from support.pairs import SOON, run, wait_until

from syncws import serve


def echo(ws):
    for message in ws:
        ws.send(message)


@contextlib.contextmanager
def serving(handler=echo, host="127.0.0.1", **kwargs):
    """A running server, closed at the end within a deadline."""
    with serve(handler, host, **kwargs) as server:
        yield server
        server.close(timeout=SOON)


def the_connection(server):
    """The only connection of a server. The client may know of it before the server does."""
    wait_until(lambda: server.connections)
    (connection,) = server.connections
    return connection


def assert_works(ws):
    """Check that an echo server answers on this connection, and close it."""
    with ws:
        ws.send("hello")
        assert ws.recv(SOON) == "hello"


def exchange(ws, count):
    """Send numbers to an echo server, and see them come back in order."""

    def send():
        for number in range(count):
            ws.send(str(number))

    sending = run(send)
    for number in range(count):
        assert ws.recv(timeout=SOON) == str(number)
    sending.result()


def messages(caplog, level="INFO"):
    """The messages that were logged at this level."""
    return [record.getMessage() for record in caplog.records if record.levelname == level]
