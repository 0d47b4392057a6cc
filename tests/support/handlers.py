"""Applications for tests, on loopback; what their handlers see goes into a queue."""

import contextlib
import queue

from support.pairs import SOON

from syncws import connect
from syncws.styles.tornado.application import Application
from syncws.styles.tornado.handler import WebSocketHandler


class Journal(queue.SimpleQueue):
    """What happened, in order."""

    def next(self):
        return self.get(timeout=SOON)

    def left(self):
        """What nobody has taken yet; doesn't wait."""
        left = []
        with contextlib.suppress(queue.Empty):
            while True:
                left.append(self.get_nowait())
        return left


class Reporting(WebSocketHandler):
    """Records in a journal what happens to it."""

    def initialize(self, journal):
        self.journal = journal

    def open(self, *args, **kwargs):
        self.journal.put(("open", args, kwargs))

    def on_message(self, message):
        self.journal.put(("message", message))

    def on_close(self):
        self.journal.put(("close", self.close_code, self.close_reason))


@contextlib.contextmanager
def listening(application, **kwargs):
    """A server for an application or a list of rules, closed at the end within a deadline."""
    if not isinstance(application, Application):
        application = Application(application)
    server = application.listen(0, "127.0.0.1", **kwargs)
    try:
        yield server
    finally:
        server.close(timeout=SOON)


@contextlib.contextmanager
def connected(handler, kwargs=None, *, path="", pattern="/.*", settings=None, **options):
    """A client's connection to a handler; ``options`` are arguments of connect()."""
    application = Application([(pattern, handler, kwargs)], **(settings or {}))
    with listening(application) as server, connect(server.uri + path, **options) as ws:
        yield ws


@contextlib.contextmanager
def reported(handler=Reporting, **options):
    """A client's connection to a handler that keeps a journal, and the journal."""
    journal = Journal()
    with connected(handler, {"journal": journal}, **options) as ws:
        yield ws, journal
