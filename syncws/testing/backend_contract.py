"""What any backend of rooms must do, as tests: for those who write one.

Derive a class from :class:`BackendContract` whose name begins with ``Test``, say how to make a
backend, and pytest runs them all::

    class TestMine(BackendContract):
        def make(self, history=1000, ttl=86400.0):
            return MyBackend(history=history, ttl=ttl)
"""

from __future__ import annotations

import threading
import uuid

from ..pubsub.backend import Backend, Batch, Entry, Kind, Member, Position, Post

__all__ = ["BackendContract"]

#: Seconds that nothing here may take.
TIMEOUT = 20.0

#: Messages that are published while another thread reads.
MANY = 1000


class BackendContract:
    """Tests of a backend; each makes one or more, and uses rooms of its own."""

    def make(self, history: int = 1000, ttl: float = 86400.0) -> Backend:
        """Return a backend. All of them in a test that is about several share an engine."""
        raise NotImplementedError

    def setup_method(self) -> None:
        """Choose a room, and begin without backends."""
        self.room = f"contract {uuid.uuid4()} {{}}%é"
        self.backends: list[Backend] = []

    def teardown_method(self) -> None:
        """Close what was made."""
        for backend in self.backends:
            backend.close()

    def _make(self, history: int = 1000, ttl: float = 86400.0) -> Backend:
        self.backends.append(self.make(history, ttl))
        return self.backends[-1]

    def _publish(self, backend: Backend, *messages: str | bytes) -> list[Position]:
        return backend.publish([Post(self.room, message) for message in messages], TIMEOUT)

    def _read(self, backend: Backend, since: Position, limit: int = 100) -> Batch:
        return backend.read(self.room, since, limit)

    # --- publishing and reading ---

    def test_messages_come_in_order_and_as_they_were(self) -> None:
        """Text stays text, and bytes stay bytes; nothing else changes either."""
        backend = self._make()
        start, _ = backend.newest(self.room)
        messages: list[str | bytes] = [
            "",
            b"",
            "text",
            b"\x00\xff\r\n",
            "é€😀\x00",
            b"t",
            "0/2\nx",
            b"0/2\nx",
        ]
        positions = self._publish(backend, *messages)
        batch = self._read(backend, start)
        assert [entry.message for entry in batch.entries] == messages
        assert [entry.position for entry in batch.entries] == positions
        assert batch.complete
        assert len(set(positions)) == len(messages)

    def test_numbers_follow_each_other(self) -> None:
        """Each number is the one before plus one, from the one that ``newest()`` says."""
        backend = self._make()
        start, number = backend.newest(self.room)
        self._publish(backend, *"abc")
        self._publish(backend, *"de")
        entries = self._read(backend, start).entries
        assert [entry.number for entry in entries] == [number + i for i in range(1, 6)]
        assert backend.newest(self.room) == (entries[-1].position, number + 5)
        assert backend.counts([self.room]) == [number + 5]

    def test_reading_goes_on_from_any_position(self) -> None:
        """In pages of any size, too."""
        backend = self._make()
        start, _ = backend.newest(self.room)
        positions = [start, *self._publish(backend, *map(str, range(10)))]
        for skipped, position in enumerate(positions):
            batch = self._read(backend, position, 4)
            messages = [str(i) for i in range(skipped, 10)]
            assert [entry.message for entry in batch.entries] == messages[:4]
            assert batch.complete

    def test_a_position_survives_being_text(self) -> None:
        """Clients keep it as text."""
        backend = self._make()
        (position, *_) = self._publish(backend, "a", "b")
        (entry,) = self._read(backend, Position.parse(str(position))).entries
        assert entry.message == "b"

    def test_what_is_dropped_is_missed(self) -> None:
        """Whoever read before that is told so, and gets what is left."""
        backend = self._make(history=10)
        start, _ = backend.newest(self.room)
        positions = self._publish(backend, *map(str, range(1000)))
        batch = self._read(backend, start, 10000)
        assert not batch.complete
        assert batch.entries[-1].message == "999"
        assert 10 <= len(batch.entries) < 1000
        last_but_one = self._read(backend, positions[-2])
        assert last_but_one.complete
        assert [entry.message for entry in last_but_one.entries] == ["999"]

    def test_nothing_is_missed_at_the_end_while_others_publish(self) -> None:
        """Reading from there is complete, whether something came at that moment or not."""
        backend = self._make()
        position, _ = backend.newest(self.room)
        publishing = threading.Thread(
            target=lambda: [self._publish(backend, "x") for _ in range(MANY)]
        )
        publishing.start()
        try:
            self._follow(backend, position)
        finally:
            publishing.join()

    def _follow(self, backend: Backend, position: Position) -> None:
        received = 0
        while received < MANY:
            batch = self._read(backend, position)
            assert batch.complete
            received += len(batch.entries)
            if batch.entries:
                position = batch.entries[-1].position

    def test_positions_of_another_stream_are_refused(self) -> None:
        """Those of an engine that has lost everything since, say, and what was never one."""
        backend = self._make()
        (position,) = self._publish(backend, "a")
        assert self._read(backend, position).complete
        assert not self._read(backend, position._replace(epoch="other")).complete
        assert not self._read(backend, position._replace(offset="nonsense")).complete

    def test_rooms_do_not_mix(self) -> None:
        """Nor do their numbers."""
        backend = self._make()
        other = f"{self.room}'s other"
        start, _ = backend.newest(other)
        self._publish(backend, "a", "b")
        backend.publish([Post(other, "c")], TIMEOUT)
        (entry,) = backend.read(other, start, 10).entries
        assert entry.message == "c"

    def test_the_last_ones(self) -> None:
        """Oldest first."""
        backend = self._make()
        self._publish(backend, *"abcd")
        assert [entry.message for entry in backend.last(self.room, 2)] == ["c", "d"]
        assert [entry.message for entry in backend.last(self.room, 9)] == ["a", "b", "c", "d"]
        assert backend.last(f"{self.room} empty", 9) == []

    def test_kinds(self) -> None:
        """Joins and leaves are in the stream as well."""
        backend = self._make()
        posts = [Post(self.room, kind, kind) for kind in (Kind.JOIN, Kind.MESSAGE, Kind.LEAVE)]
        backend.publish(posts, TIMEOUT)
        entries = backend.last(self.room, 3)
        assert [entry.kind for entry in entries] == [post.kind for post in posts]
        assert [entry.message for entry in entries] == [post.message for post in posts]

    def test_long_messages(self) -> None:
        """Of any size up to the limit, among short ones."""
        backend = self._make()
        start, _ = backend.newest(self.room)
        messages: list[str | bytes] = [
            "é" * 500_000,
            b"\xff" * 1_000_001,
            "short",
            "x" * 32769,
            b"",
        ]
        self._publish(backend, *messages)
        position = start
        found: list[str | bytes] = []
        for _ in messages:
            (entry,) = self._read(backend, position, 1).entries
            found.append(entry.message)
            position = entry.position
        assert found == messages
        assert [entry.message for entry in self._read(backend, start).entries] == messages
        waited = self._collect(backend, start, len(messages))
        assert [entry.message for entry in waited] == messages

    # --- waiting ---

    def _collect(self, backend: Backend, since: Position, count: int) -> list[Entry]:
        entries: list[Entry] = []
        for _ in range(1000):
            if len(entries) >= count:
                break
            for batch in backend.wait({self.room: since}, TIMEOUT):
                entries += batch.entries
                since = entries[-1].position
        return entries

    def test_waiting_returns_what_is_there(self) -> None:
        """At once."""
        backend = self._make()
        start, _ = backend.newest(self.room)
        self._publish(backend, "a")
        assert [entry.message for entry in self._collect(backend, start, 1)] == ["a"]

    def test_waiting_returns_what_comes(self) -> None:
        """All of it, once, in order, while another thread publishes."""
        backend = self._make()
        start, _ = backend.newest(self.room)
        messages = [str(i) for i in range(300)]
        thread = threading.Thread(
            target=lambda: [self._publish(backend, message) for message in messages]
        )
        thread.start()
        entries = self._collect(backend, start, len(messages))
        thread.join()
        assert [entry.message for entry in entries] == messages
        assert backend.wait({self.room: entries[-1].position}, 0.01) == []

    def test_what_was_read_is_there_for_who_asks_from_before_again(self) -> None:
        """A room that was left and entered again meanwhile needs it."""
        backend = self._make()
        start, _ = backend.newest(self.room)
        (position, _) = self._publish(backend, "unheard", "heard")
        assert len(self._collect(backend, start, 2)) == 2
        assert [entry.message for entry in self._collect(backend, position, 1)] == ["heard"]

    def test_waiting_ends_when_it_is_woken(self) -> None:
        """Before, during, and as often as that is asked for."""
        backend = self._make()
        since = {self.room: backend.newest(self.room)[0]}
        backend.wake()
        backend.wake()
        for _ in range(5):
            if not backend.wait(since, 0.05):
                break
        waiting = threading.Event()
        results: list[list[Batch]] = []

        def wait() -> None:
            waiting.set()
            results.append(backend.wait(since, 10 * TIMEOUT))

        for _ in range(20):
            thread = threading.Thread(target=wait)
            thread.start()
            assert waiting.wait(TIMEOUT)
            backend.wake()
            thread.join(TIMEOUT)
            assert not thread.is_alive()
            waiting.clear()
        assert results == [[]] * 20

    def test_many_threads_publish(self) -> None:
        """Each one's messages come in its order, none is lost and none is there twice."""
        backend = self._make()
        start, number = backend.newest(self.room)

        def publish(name: int) -> None:
            for i in range(50):
                self._publish(backend, f"{name} {i}")

        threads = [threading.Thread(target=publish, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        entries = self._collect(backend, start, 400)
        for thread in threads:
            thread.join()
        assert [entry.number for entry in entries] == list(range(number + 1, number + 401))
        for name in range(8):
            own = [e.message for e in entries if str(e.message).startswith(f"{name} ")]
            assert own == [f"{name} {i}" for i in range(50)]

    # --- presence ---

    def test_who_is_there(self) -> None:
        """Joining twice is no news; nor is leaving twice."""
        backend = self._make()
        ann = Member("1", {"name": "Ann", "tags": [1, None]}, "node")
        ben = Member("2", "Ben", "node")
        assert backend.members(self.room) == []
        assert backend.join(self.room, ann)
        assert backend.join(self.room, ben)
        assert not backend.join(self.room, ann)
        assert sorted(backend.members(self.room)) == [ann, ben]
        assert backend.leave(self.room, ann)
        assert not backend.leave(self.room, ann)
        assert backend.members(self.room) == [ben]
        assert backend.leave(self.room, ben)
        assert backend.members(self.room) == []

    def test_it_answers(self) -> None:
        """To whoever wants to know whether it does."""
        backend = self._make()
        backend.ping()
        backend.publish([Post(self.room, "a")], TIMEOUT)
        backend.ping()

    def test_who_lives(self) -> None:
        """A node that has said so lives."""
        backend = self._make()
        backend.beat("node", 60.0, [self.room])
        assert backend.beat("node", 60.0, [self.room])
        assert backend.living(["node"]) == {"node"}
        assert backend.living([]) == set()
