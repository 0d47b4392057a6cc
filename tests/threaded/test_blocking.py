import threading

import pytest
from support.pairs import run

from syncws.threaded import blocking
from syncws.threaded.blocking import wait_for_lock


@pytest.mark.parametrize("in_main_thread", [True, False])
def test_lock_is_waited_for_with_and_without_a_limit(in_main_thread, monkeypatch):
    monkeypatch.setattr(blocking, "SIGNAL_INTERVAL", 0.001)
    call = (lambda f, *args: f(*args)) if in_main_thread else (lambda *args: run(*args).result())
    lock = threading.Lock()
    assert call(wait_for_lock, lock, 0)
    assert not call(wait_for_lock, lock, 0)
    assert not call(wait_for_lock, lock, 0.01)
    releasing = threading.Timer(0.02, lock.release)
    releasing.start()
    assert call(wait_for_lock, lock, -1)
    releasing.join()
