"""Windows of the demo's chat, without a browser."""

import contextlib
import json

from support.pairs import SOON

from syncws import connect
from syncws.demo import listen
from syncws.demo.chat import Chat
from syncws.demo.rooms import Limits


class Window:
    """One connection of the chat."""

    def __init__(self, ws):
        self.ws = ws
        self.welcome = self.expect("welcome")

    def send(self, **message):
        self.ws.send(json.dumps(message, ensure_ascii=False))

    def receive(self):
        return json.loads(self.ws.recv(SOON))

    def expect(self, kind):
        """The next message of this type; what comes before it is dropped."""
        while True:
            message = self.receive()
            if message["type"] == kind:
                return message

    def join(self, name, room="lobby", **more):
        self.send(type="join", room=room, name=name, **more)
        return self.expect("joined")

    def say(self, text, **more):
        self.send(type="say", text=text, **more)

    def ask(self, **message):
        """Send something that has no effect; return the error that comes back."""
        self.send(**message)
        return self.expect("error")


@contextlib.contextmanager
def chatting(**limits):
    """The demo's server with the given limits, and a function that opens a window."""
    server = listen("localhost", 0, Chat(Limits(**limits)))
    with server, contextlib.ExitStack() as stack:

        def open_window(path="chat", **options):
            return Window(stack.enter_context(connect(server.uri + path, **options)))

        yield server, open_window
