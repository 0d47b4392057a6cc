"""The chat, as windows of the page see it: small JSON messages, each an object with a ``"type"``.

A window has one connection, at ``/chat``. With ``/chat?compress=1`` messages are compressed, as
far as the browser offers that; else they aren't, so that one can read them on the wire.

What a window may send:

========== ================================== =================================================
type       other members                      effect
========== ================================== =================================================
``join``   ``room``, ``name``, ``resume``     enter a room, leaving the one before; ``resume``,
                                              if given, is the token of a lost connection
``leave``                                     leave the room
``say``    ``text``, ``ref``                  say something; everybody gets ``ref`` back, if
                                              given, so that the sender knows its own
``ping``                                      have the server send a ping (RFC 6455 §5.5.2)
========== ================================== =================================================

What the server sends:

============ ============================================ =======================================
type         other members                                meaning
============ ============================================ =======================================
``welcome``  ``token``, ``limits``, ``rooms``,            the connection is open; the token lets
             ``http``                                     one watch it, see :func:`watch`; ``http``
                                                          is whether plain HTTP would do, too
``joined``   ``room``, ``name``, ``members``, ``history`` you are in a room, by this name
``left``                                                  you are in no room
``arrived``  ``name``                                     somebody joined your room
``departed`` ``name``                                     somebody left it
``said``     ``number``, ``name``, ``text``, ``time``,    somebody said something; in
             ``ref``                                      ``history`` without the type
``rooms``    ``rooms``: each ``name``, ``members``        the rooms, and how many are in them
``pong``     ``latency``                                  milliseconds from ping to pong; null
                                                          if none came
``error``    ``code``, ``text``, ``ref``                  a message had no effect, and why; or,
                                                          with the code ``slow``, has to wait
============ ============================================ =======================================

Whoever sends too fast is slowed down: their messages are read more slowly, none is lost.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Container
from typing import Any, Callable

from ..exceptions import ConnectionClosed, SlowPeer
from ..pubsub.hub import PREFIX
from .rooms import Limits, Manners, Member, Refused, Rooms
from .shared_rooms import SharedRooms
from .tape import TapedConnection

__all__ = ["Chat", "Pace"]

#: Seconds in which a window must say what it watches, and a pong must come.
ANSWER_TIMEOUT = 5.0

#: Seconds after which, at the latest, the end of a watched connection is noticed.
LOOK_INTERVAL = 1.0

#: Close code for whoever may not watch a connection (4000 to 4999 are for programs).
NOT_YOURS = 4403


class Pace:
    """Tells how long to wait, so that messages are taken at a limited rate. For one thread.

    Args:
        burst: how many are taken at once.
        rate: how many per second from then on.
        clock: tells the time in seconds.
    """

    def __init__(
        self, burst: int, rate: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = burst
        self._rate = rate
        self._clock = clock
        self._left = float(burst)
        self._looked_at = clock()

    def take(self) -> float:
        """Count one more; return the seconds to wait before it is taken."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._looked_at) * self._rate)
        self._looked_at = now
        self._left -= 1
        return max(0.0, -self._left / self._rate)


class Chat:
    """The handlers of the chat.

    Args:
        limits: what it takes.
        hub_url: where the hub is that other processes have as well; ``None``: there are none.
        prefix: of the hub's keys.
        by_http: whether windows may use plain HTTP.

    Attributes:
        limits: the same.
        by_http: the same.

    Raises:
        HubError: the hub can't be used.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        hub_url: str | None = None,
        prefix: str = PREFIX,
        by_http: bool = True,
    ) -> None:
        self.limits = limits or Limits()
        self.by_http = by_http
        manners = Manners(
            write_json, self._choose_name, hear_themselves=True, welcome={"http": by_http}
        )
        self.rooms: Rooms | SharedRooms
        if hub_url is None:
            self.rooms = Rooms(self.limits, manners)
        else:
            self.rooms = SharedRooms(self.limits, manners, hub_url, prefix)
        self._actions: dict[str, Callable[[Member, dict[str, Any]], None]] = {
            "join": self._join,
            "leave": self._leave,
            "say": self._say,
            "ping": self._ping,
        }

    def close(self) -> None:
        """Let go of the hub, if there is one. Idempotent."""
        if isinstance(self.rooms, SharedRooms):
            self.rooms.close()

    def handle(self, ws: TapedConnection) -> None:
        """Serve one window, until its connection ends."""
        member = Member(ws, ws.tape.token)
        pace = Pace(self.limits.burst, self.limits.rate)
        slowed = False
        self.rooms.enter(member)
        try:
            for message in ws:
                delay = pace.take()
                if delay and not slowed:
                    self.rooms.tell(
                        [ws], type="error", code="slow", text="That is a lot at once. Slowly."
                    )
                slowed = delay > 0
                if slowed:
                    ws.wait_closed(delay)
                self._act(member, message)
        finally:
            self.rooms.end(member)

    def watch(self, ws: TapedConnection) -> None:
        """Show a window the frames of its connection, each as a JSON message.

        It asks for that by its first message: the token from the welcome, as text. First it gets
        an array of what came before. Each has a number, ``"n"``: what came before can arrive after
        what is new, and a window that is too slow misses some.
        """
        try:
            token = ws.recv(ANSWER_TIMEOUT)
        except TimeoutError:
            token = ""
        member = self.rooms.find(token) if isinstance(token, str) else None
        if member is None:
            ws.close(NOT_YOURS, "no such connection")
            return
        watched = member.ws
        assert isinstance(watched, TapedConnection)
        earlier = watched.tape.add_watcher(ws)
        if earlier is None:
            ws.close(NOT_YOURS, "watched already")
            return
        try:
            ws.send(f"[{','.join(earlier)}]")
            while not watched.closed:
                with contextlib.suppress(TimeoutError):
                    ws.recv(LOOK_INTERVAL)
        finally:
            watched.tape.discard_watcher(ws)
        ws.close(1000, "the connection has ended")

    def _choose_name(self, wanted: str, taken: Container[str]) -> str:
        """Return the name that is wanted, with a number if it is taken."""
        if wanted.casefold() not in taken:
            return wanted
        for number in itertools.count(2):  # pragma: no branch  # it ends within max_members
            suffix = f" {number}"
            name = wanted[: self.limits.max_name - len(suffix)].rstrip() + suffix
            if name.casefold() not in taken:
                break
        return name

    # --- what a window asks for ---

    def _act(self, member: Member, message: str | bytes) -> None:
        """Do what a message asks for, or say why not."""
        ref = ""
        try:
            request = self._parse(message)
            ref = self._find_text(request, "ref", self.limits.max_name, optional=True)
            kind = request.get("type")
            action = self._actions.get(kind) if isinstance(kind, str) else None
            if action is None:
                names = ", ".join(self._actions)
                raise Refused("bad-type", f'"type" must be one of: {names}.')
            action(member, request)
        except Refused as exc:
            self.rooms.tell([member.ws], type="error", code=exc.code, text=exc.text, ref=ref)

    def _parse(self, message: str | bytes) -> dict[str, Any]:
        if not isinstance(message, str):
            raise Refused("bad-json", "Messages are JSON, sent as text.")
        if len(message) > self.limits.max_message:
            raise Refused(
                "too-long", f"A message has at most {self.limits.max_message} characters."
            )
        try:
            request = json.loads(message)
        except (ValueError, RecursionError) as exc:
            raise Refused("bad-json", f"This is no JSON: {type(exc).__name__}.") from None
        if not isinstance(request, dict):
            raise Refused("bad-json", 'A message is an object, such as {"type": "ping"}.')
        return request

    def _find_text(
        self, request: dict[str, Any], key: str, limit: int, *, optional: bool = False
    ) -> str:
        """Return a text of a message that everybody can be sent."""
        text = request.get(key, "" if optional else None)
        if not isinstance(text, str):
            raise Refused(f"bad-{key}", f'"{key}" must be a text.')
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise Refused(f"bad-{key}", f'"{key}" has half a character.')
        if len(text) > limit:
            raise Refused(f"bad-{key}", f'"{key}" has more than {limit} characters.')
        return text

    def _find_name(self, request: dict[str, Any], key: str) -> str:
        """Return a name: in one line, without characters that can't be seen."""
        text = self._find_text(request, key, self.limits.max_name)
        name = " ".join("".join(char if char.isprintable() else " " for char in text).split())
        if not name:
            raise Refused(f"bad-{key}", f'"{key}" is empty.')
        return name

    def _join(self, member: Member, request: dict[str, Any]) -> None:
        room = self._find_name(request, "room")
        name = self._find_name(request, "name")
        resumed = self._find_text(request, "resume", self.limits.max_name, optional=True)
        self.rooms.join(member, room, name, resumed)

    def _leave(self, member: Member, request: dict[str, Any]) -> None:
        self.rooms.leave(member)

    def _say(self, member: Member, request: dict[str, Any]) -> None:
        text = self._find_text(request, "text", self.limits.max_text)
        if not text.strip():
            raise Refused("bad-text", '"text" is empty.')
        ref = self._find_text(request, "ref", self.limits.max_name, optional=True)
        self.rooms.say(member, text, ref)

    def _ping(self, member: Member, request: dict[str, Any]) -> None:
        try:
            ping = member.ws.ping()
            ping.wait(ANSWER_TIMEOUT)
        except (ConnectionClosed, SlowPeer):
            return
        latency = None if ping.latency is None else round(ping.latency * 1000, 3)
        self.rooms.tell([member.ws], type="pong", latency=latency)


def write_json(event: dict[str, Any]) -> str:
    """Return an event as a window gets it."""
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"))
