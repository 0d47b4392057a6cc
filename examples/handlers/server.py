"""Rooms to chat in, and a page that lists them. Usage: python server.py [PORT]."""

import sys
import threading

from syncws import Application, WebSocketHandler, broadcast, run_forever
from syncws.styles import HTTPError, RequestHandler

rooms = {}
lock = threading.Lock()


class Room(WebSocketHandler):
    def prepare(self):
        self.name = self.get_argument("name", "")
        if not self.name:
            raise HTTPError(403, "somebody has no name")

    def open(self, room):
        self.room = room
        with lock:
            rooms.setdefault(room, {})[self] = self.name
        self.tell(f"{self.name} is here")

    def on_message(self, message):
        self.tell(f"{self.name}: {message}")

    def on_close(self):
        with lock:
            del rooms[self.room][self]
        self.tell(f"{self.name} left")

    def tell(self, text):
        with lock:
            connections = [member.ws_connection for member in rooms[self.room]]
        broadcast([each for each in connections if each is not None], text)


class Page(RequestHandler):
    def get(self):
        with lock:
            for room, members in rooms.items():
                self.write(f"{room}: {', '.join(sorted(members.values()))}\n")
        self.set_header("Content-Type", "text/plain; charset=UTF-8")


def main(port):
    application = Application([(r"/rooms/([a-z]+)", Room), (r"/", Page)])
    server = application.listen(port, "localhost")
    print(f"listening on {server.uri} - Ctrl-C stops it", flush=True)
    run_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8765)
