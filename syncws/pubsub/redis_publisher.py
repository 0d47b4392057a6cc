"""Publishing to Redis: in order, and once, whatever happens to the connection meanwhile.

When a connection breaks, nobody knows whether what was sent last was done, and it may still be done
later: a server that was stopped reads what waits in the sockets. So all that a hub publishes has a
number, each room keeps that of the last thing it got from the hub, and a script refuses what isn't
newer. What is sent again is thus added once.

That takes an order: one thread at a time sends, and takes along what others want to publish. So
many threads that publish need fewer round trips than they would each with a connection.
"""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from hashlib import sha1
from typing import Any, Callable

from ..exceptions import HubError, HubUnavailable
from ..threaded.deadline import Deadline
from .backend import Kind, Post

__all__ = ["RedisPublisher"]

#: Bytes of an entry; longer messages are parts, so that nobody is sent too much at once.
PART_SIZE = 2**15

#: Posts that are sent in one round trip.
MOST_POSTS = 512

#: Milliseconds that a room remembers what a hub has published last: much longer than what was sent
#: to a server can be on its way.
MEMORY = 3_600_000

#: Seconds between tries.
BACK_OFF = 0.1

#: KEYS: stream, newest number, last of this hub. ARGV: number of this hub's, entries to keep,
#: milliseconds to keep the room and to keep the last, number to begin with; then fields and values.
SCRIPT = """
local last = redis.call('GET', KEYS[3])
if last then
    local number, id = string.match(last, '^(%d+) (.*)$')
    if tonumber(number) == tonumber(ARGV[1]) then return id end
    if tonumber(number) > tonumber(ARGV[1]) then return '' end
end
redis.call('SET', KEYS[2], ARGV[5], 'NX')
redis.call('INCR', KEYS[2])
local n = redis.call('GET', KEYS[2])
local id
for i = 6, #ARGV, 2 do
    id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'n', n, ARGV[i], ARGV[i + 1])
end
id = id .. '-' .. n
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('SET', KEYS[3], ARGV[1] .. ' ' .. id, 'PX', ARGV[4])
return id
"""

#: How a message is called in an entry.
FIELDS = {Kind.JOIN: b"j", Kind.LEAVE: b"l"}


class _Job:
    """What a thread wants to publish.

    Attributes:
        calls: keys and arguments of the script, for each post; the first argument is its number.
        results: what the script returned, once it is done.
        error: why it is not done, or ``None``.
        abandoned: whether its thread has given up.
    """

    __slots__ = ("abandoned", "calls", "error", "results")

    def __init__(self, calls: list[tuple[list[str], list[Any]]]) -> None:
        self.calls = calls
        self.results: list[str] | None = None
        self.error: HubError | None = None
        self.abandoned = False

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to do for it."""
        return self.results is not None or self.error is not None


class RedisPublisher:
    """Publishes for one hub. Any thread may use it.

    Args:
        client: the client for commands.
        errors: makes a context in which redis-py's exceptions become ours.
        keys: returns a room's keys.
        history: entries of each room that are kept, more or less.
        ttl: milliseconds after which a room that nobody uses is forgotten.
    """

    def __init__(
        self,
        client: Any,
        errors: Callable[[], AbstractContextManager[None]],
        keys: Callable[[str], tuple[str, str, str]],
        *,
        history: int,
        ttl: int,
    ) -> None:
        self._client = client
        self._errors = errors
        self._keys = keys
        self._history = history
        self._ttl = ttl
        self._sha = sha1(SCRIPT.encode()).hexdigest()  # as Redis calls it
        self.renew("")

    def renew(self, node: str) -> None:
        """Begin anew, with a name that no hub has had: at first, and in a forked child."""
        self._node = node
        # What waits, in order; only methods that are atomic are called.
        self._queue: deque[_Job] = deque()
        # Held by the thread that sends, for as long as that takes. It alone uses what follows, and
        # takes jobs from the queue.
        self._sending = threading.Lock()
        self._sender: int | None = None
        self._taken: list[_Job] = []  # from the queue; perhaps they were sent before
        self._number = 0

    def publish(self, posts: Sequence[Post], timeout: float) -> list[str]:
        """Add entries in this order; return the offset after each; of some nobody knows it: "".

        These were sent again with others, after the answer was lost.

        Raises:
            HubError: the server refuses; or this is a signal handler that has interrupted this
                very method, which can't wait for what it has interrupted.
            HubUnavailable: it can't be reached in time.
        """
        if self._sender == threading.get_ident():
            raise HubError("a signal handler can't publish while the main thread does")
        deadline = Deadline(timeout)
        job = _Job([self._make_call(post) for post in posts])
        self._queue.append(job)
        try:
            while not job.is_over:
                if not self._sending.acquire(timeout=deadline.lock_timeout()):
                    raise HubUnavailable("Redis did not answer in time")
                try:
                    self._sender = threading.get_ident()
                    self._send(job, deadline)
                finally:
                    self._sender = None
                    self._sending.release()
        except BaseException:
            job.abandoned = True
            raise
        if job.error is not None:
            raise job.error
        assert job.results is not None
        return job.results

    def _make_call(self, post: Post) -> tuple[list[str], list[Any]]:
        stream, counter, _ = self._keys(post.room)
        base = uuid.uuid4().int >> 84 << 4
        arguments: list[Any] = [0, self._history, self._ttl, MEMORY, base]
        is_text = isinstance(post.message, str)
        data = post.message.encode() if isinstance(post.message, str) else post.message
        if post.kind != Kind.MESSAGE:
            arguments += [FIELDS[post.kind], data]
        elif len(data) <= PART_SIZE:
            arguments += [b"t" if is_text else b"b", data]
        else:
            parts = [data[start : start + PART_SIZE] for start in range(0, len(data), PART_SIZE)]
            for i, part in enumerate(parts):
                arguments += [b"T" if is_text else b"B", b"%d/%d\n%b" % (i, len(parts), part)]
        return [stream, counter, f"{stream}:p:{self._node}"], arguments

    def _send(self, own: _Job, deadline: Deadline) -> None:
        """Send what waits, until the own job is done. With the lock for that.

        Raises:
            HubError: the server refuses all of it.
            HubUnavailable: it can't be reached in time; whoever sends next sends that again.
        """
        while not own.is_over:
            self._take()
            try:
                self._try(self._taken)
                self._taken = []
            except HubUnavailable:
                if deadline.expired:
                    raise
                threading.Event().wait(min(BACK_OFF, deadline.remaining() or 0.0))
            except HubError as exc:
                for job in self._taken:
                    job.error = exc
                self._taken = []

    def _take(self) -> None:
        """Take jobs from the queue, the oldest first, and give them numbers in that order."""
        self._taken = [job for job in self._taken if not (job.abandoned or job.is_over)]
        count = sum(len(job.calls) for job in self._taken)
        while self._queue and count < MOST_POSTS:
            job = self._queue.popleft()
            if not job.abandoned:
                for _, arguments in job.calls:
                    self._number += 1
                    arguments[0] = self._number
                count += len(job.calls)
                self._taken.append(job)

    def _try(self, jobs: list[_Job]) -> None:
        """Send jobs, and note what became of each.

        Raises:
            HubError: the server refuses all of it.
            HubUnavailable: it can't be reached.
        """
        with self._errors():
            answers = self._run(jobs)
            kinds = {type(answer).__name__: answer for answer in answers}
            if "NoScriptError" in kinds:
                self._client.script_load(SCRIPT)
                answers = self._run(jobs)
            elif "BusyLoadingError" in kinds:  # it has just started
                raise kinds["BusyLoadingError"]
        for job in jobs:
            own, answers = answers[: len(job.calls)], answers[len(job.calls) :]
            wrong = [answer for answer in own if isinstance(answer, Exception)]
            if wrong:
                job.error = HubError(f"Redis refuses: {wrong[0]}")
                job.error.__cause__ = wrong[0]
            else:
                job.results = [answer.decode() for answer in own]

    def _run(self, jobs: list[_Job]) -> list[Any]:
        """Call the script for all that these jobs publish; return what it returned."""
        pipeline = self._client.pipeline(transaction=False)
        for job in jobs:
            for keys, arguments in job.calls:
                pipeline.execute_command("EVALSHA", self._sha, len(keys), *keys, *arguments)
        answers: list[Any] = pipeline.execute(raise_on_error=False)
        return answers
