import pytest
from support.pairs import SOON, run, wait_until

from syncws.threaded.latch import Latch


def test_latch_that_is_not_set_times_out():
    latch = Latch()
    assert not latch.wait(0)
    assert not latch.wait(0.01)
    assert not latch.is_set()
    assert latch._waiters == []


def test_latch_wakes_everybody_who_waits_and_lets_everybody_else_pass():
    latch = Latch()
    waiting = [run(latch.wait) for _ in range(5)]
    wait_until(lambda: len(latch._waiters) == 5)
    latch.set()
    assert [waiter.result() for waiter in waiting] == [True] * 5
    latch.set()
    assert latch.wait()
    assert latch.is_set()


@pytest.mark.parametrize("attempt", range(50))
def test_latch_set_while_others_start_to_wait_loses_nobody(attempt):
    latch = Latch()
    waiting = [run(latch.wait, SOON) for _ in range(3)]
    setting = [run(latch.set) for _ in range(2)]
    assert [waiter.result() for waiter in waiting] == [True] * 3
    for setter in setting:
        setter.result()
