"""Publishing to Redis: in order, and once, whatever happens to the connection meanwhile.

When a connection breaks, nobody knows whether what was sent last was done, and it may still be done
later: a server that was stopped reads what waits in the sockets. So all that a hub publishes has a
number, each room keeps that of the last thing it got from the hub, and a script refuses what isn't
newer. What is sent again is thus added once.

That takes an order: one thread at a time sends, and takes along what others want to publish. So
many threads that publish need fewer round trips than they would each with a connection. The others
sleep until theirs is done, or until it is their turn to send: the oldest's first.
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
from ..locks import make_rlock
from ..threaded.deadline import Deadline
from ..threaded.latch import Latch
from .backend import Kind, Post

__all__ = ["RedisPublisher", "make_base"]

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


def make_base() -> int:
    """Return a number to begin with: not one that a room may have had before it was forgotten."""
    return uuid.uuid4().int >> 84 << 4


class _Job:
    """What a thread wants to publish.

    Attributes:
        calls: keys and arguments of the script, for each post; the first argument is its number.
        thread: whose it is.
        numbered: whether its posts have numbers; perhaps they were sent before.
        sends: whether it is this thread's turn to send.
        bell: held until it is over, or that turn has come.
        results: what the script returned, once it is done.
        error: why it is not done, or ``None``.
    """

    def __init__(self, calls: list[tuple[list[str], list[Any]]]) -> None:
        self.calls = calls
        self.thread = threading.get_ident()
        self.numbered = False
        self.sends = False
        self.bell = threading.Lock()
        self.bell.acquire()
        self.results: list[str] | None = None
        self.error: HubError | None = None

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
        # Guards the queue, for a few instructions. Re-entrant, because a signal handler may publish
        # while the main thread does.
        self._lock = make_rlock()
        self._queue: deque[_Job] = deque()  # what isn't over and wasn't given up, in order
        self._somebody_sends = False  # the thread of one of the jobs, or one that is to wake up
        self._number = 0  # of whoever sends

    def publish(self, posts: Sequence[Post], timeout: float) -> list[str]:
        """Add entries in this order; return the offset after each; of some nobody knows it: "".

        These were sent again with others, after the answer was lost.

        Raises:
            HubError: the server refuses; or this is a signal handler that has interrupted this
                very method, when it was its turn: it can't wait for what it has interrupted.
            HubUnavailable: it can't be reached in time.
        """
        deadline = Deadline(timeout)
        job = _Job([self._make_call(post) for post in posts])
        try:
            self._enter(job)
            if not job.sends:
                job.bell.acquire(timeout=deadline.lock_timeout())
            if job.sends:
                self._send(job, deadline)
            elif not job.is_over:
                raise HubUnavailable("Redis did not answer in time")
        except HubUnavailable:
            if job.results is None:
                raise
        finally:  # a signal handler may have raised
            self._leave(job)
        if job.error is not None:
            raise job.error
        assert job.results is not None
        return job.results

    def _enter(self, job: _Job) -> None:
        """Put a job in the queue; it is its turn if nobody sends."""
        with self._lock:
            if self._sends_in(job.thread):
                raise HubError("a signal handler can't publish while the main thread does")
            self._queue.append(job)
            if not self._somebody_sends:
                self._somebody_sends = job.sends = True

    def _sends_in(self, thread: int) -> bool:
        return any(job.sends and job.thread == thread for job in self._queue)

    def _leave(self, job: _Job) -> None:
        """Let others go on, once a job is over or given up."""
        with self._lock:
            self._take_out(job)
            if not job.sends:
                return
            job.sends = False
            following = self._find_next()
            self._somebody_sends = following is not None
            if following is not None:
                following.sends = True
                following.bell.release()

    def _take_out(self, job: _Job) -> None:
        if job in self._queue:  # it may have been given up
            self._queue.remove(job)

    def _find_next(self) -> _Job | None:
        """Return the job whose turn it is to send: the oldest, of threads that surely can.

        Of the main thread's it is the newest: that is a signal handler's, and the others can't go
        on before it has ended.
        """
        main = threading.main_thread().ident
        others = (job for job in self._queue if job.thread != main)
        return next(others, self._queue[-1] if self._queue else None)

    def _make_call(self, post: Post) -> tuple[list[str], list[Any]]:
        stream, counter, _ = self._keys(post.room)
        arguments: list[Any] = [0, self._history, self._ttl, MEMORY, make_base()]
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
        """Send what waits, until the own job is done, when it is its turn.

        Raises:
            HubUnavailable: the server can't be reached in time; whoever sends next sends it again.
        """
        while not own.is_over:
            jobs = self._choose()
            try:
                self._try(jobs)
            except HubUnavailable:
                if deadline.expired:
                    raise
                Latch().wait(min(BACK_OFF, deadline.remaining() or 0.0))
                continue
            except HubError as exc:
                for job in jobs:
                    job.error = exc
            self._finish(jobs)

    def _choose(self) -> list[_Job]:
        """Return what to send now, the oldest first, with numbers in that order."""
        with self._lock:
            waiting = list(self._queue)
        jobs: list[_Job] = []
        count = 0
        for job in waiting:
            jobs.append(job)
            count += len(job.calls)
            if count >= MOST_POSTS:
                break
        for job in jobs:
            if not job.numbered:
                for _, arguments in job.calls:
                    self._number += 1
                    arguments[0] = self._number
                job.numbered = True
        return jobs

    def _finish(self, jobs: list[_Job]) -> None:
        """Take jobs that are over from the queue, and wake their threads."""
        with self._lock:
            for job in jobs:
                self._take_out(job)
        for job in jobs:
            if not job.sends:
                job.bell.release()

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
                job.error = self._translate(wrong[0])
            else:
                job.results = [answer.decode() for answer in own]

    def _translate(self, exc: Exception) -> HubError:
        try:
            with self._errors():
                raise exc
        except HubError as translated:
            return translated

    def _run(self, jobs: list[_Job]) -> list[Any]:
        """Call the script for all that these jobs publish; return what it returned."""
        calls = [call for job in jobs for call in job.calls]
        # All or none: were one not done, and the next one done, it would not be let in later.
        pipeline = self._client.pipeline(transaction=len(calls) > 1)
        for keys, arguments in calls:
            pipeline.execute_command("EVALSHA", self._sha, len(keys), *keys, *arguments)
        answers: list[Any] = pipeline.execute(raise_on_error=False)
        return answers
