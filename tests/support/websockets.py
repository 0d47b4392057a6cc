"""Servers and clients for the tests of the websocket-client style."""

import threading

from support.pairs import SOON
from support.scripted import build_response, mute_after, says, scripted_server
from support.wire import build_frames

from syncws import styles as websocket
from syncws.styles import WebSocketApp


def connecting(server, **options):
    """A connection of that style, with a timeout."""
    return websocket.create_connection(server.uri, **{"timeout": SOON, **options})


def sends(*frames):
    """A server that sends frames after the handshake, and then nothing."""
    return scripted_server(mute_after(build_response, build_frames(frames)))


def sends_and_ends(*frames):
    """A server that sends frames after the handshake, and ends the connection."""
    return scripted_server(says(build_response, build_frames(frames)))


def forever(function, *args):
    """Call a function again and again, until it raises."""
    while True:
        function(*args)


class Watched(WebSocketApp):
    """An application that records what happens."""

    def __init__(self, uri, **functions):
        self.events = []
        self.opened = threading.Event()
        names = ("on_open", "on_message", "on_error", "on_close")
        super().__init__(uri, **{**{name: self._note(name) for name in names}, **functions})

    def _note(self, name):
        def function(app, *args):
            self.events.append((name, *args))
            if name == "on_open":
                self.opened.set()

        return function

    def names(self):
        """The names of the functions that were called, in order."""
        return [event[0] for event in self.events]


class Recorder:
    """Callbacks for an application that record their calls and arguments."""

    def __init__(self, *names):
        self.calls = []
        self.functions = {name: self._make(name) for name in names}

    def _make(self, name):
        def function(app, *args):
            assert isinstance(app, WebSocketApp)
            self.calls.append((name, *args))

        return function

    def app(self, uri, **functions):
        return WebSocketApp(uri, **{**self.functions, **functions})


def recorder():
    return Recorder("on_open", "on_message", "on_error", "on_close")
