"""Threads that meet in one connection get along; see thread_sanitizer.sh for what sees more."""

import sys
import threading

import pytest
from races import stress
from support.certificates import contexts


@pytest.mark.skipif(sys.platform == "win32", reason="copies descriptors of sockets")
@pytest.mark.parametrize("kind", stress.KINDS)
def test_threads_get_along(kind, monkeypatch):
    monkeypatch.setattr(stress, "make_contexts", contexts)
    monkeypatch.setattr(stress, "SOON", 45)
    stress.KINDS[kind](2)


def test_a_message_that_is_missing_is_noticed():
    ledger = stress.Ledger()
    note = ledger.reader()
    note(stress.numbered(0, 0))
    note(stress.numbered(0, 2))
    with pytest.raises(stress.Failed, match=r"^0: 2 of 3 came"):
        ledger.check([0], 3)


@pytest.mark.parametrize(("message", "text"), [("0:1:", "out of order"), ("0:2:y", "garbled")])
def test_a_message_that_is_wrong_is_noticed(message, text):
    note = stress.Ledger().reader()
    note(stress.numbered(0, 1, 10))
    with pytest.raises(stress.Failed, match=text):
        note(message)


def test_a_thread_that_fails_is_noticed():
    with pytest.raises(ZeroDivisionError):
        stress.together(lambda: None, lambda: 1 / 0)


def test_a_thread_that_hangs_is_noticed(monkeypatch):
    monkeypatch.setattr(stress, "SOON", 0.01)
    lock = threading.Lock()
    lock.acquire()
    with pytest.raises(stress.Failed, match="hang"):
        stress.together(lock.acquire)
    lock.release()
