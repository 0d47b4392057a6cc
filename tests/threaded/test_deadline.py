import threading

from syncws.threaded import deadline
from syncws.threaded.deadline import Deadline


def test_no_timeout_is_no_limit():
    forever = Deadline(None)
    assert forever.remaining() is None
    assert forever.lock_timeout() == -1
    assert not forever.expired


def test_deadline_runs_down_to_zero_and_no_further(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(deadline, "clock", lambda: now[0])
    limit = Deadline(5)
    assert limit.remaining() == 5
    assert not limit.expired
    now[0] = 103.5
    assert limit.remaining() == 1.5
    assert limit.lock_timeout() == 1.5
    now[0] = 106
    assert limit.remaining() == 0
    assert limit.lock_timeout() == 0
    assert limit.expired


def test_deadline_beyond_what_a_lock_takes_is_cut():
    assert Deadline(1e30).lock_timeout() == threading.TIMEOUT_MAX
