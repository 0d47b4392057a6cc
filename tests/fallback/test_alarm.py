"""A time that may be put off."""

from syncws.fallback import alarm as alarm_module
from syncws.fallback.alarm import Alarm


class Clock:
    """Stands for a reactor, and for its time."""

    def __init__(self):
        self.now = 0.0
        self.timers = []

    def call_at(self, when, function):
        self.timers.append((when, function))

    def go_on(self, seconds):
        """Let time pass, and what is due then be called."""
        self.now += seconds
        due = [timer for timer in self.timers if timer[0] <= self.now]
        self.timers = [timer for timer in self.timers if timer[0] > self.now]
        for _, function in due:
            function()


def make(monkeypatch):
    clock, called = Clock(), []
    monkeypatch.setattr(alarm_module, "clock", lambda: clock.now)
    return clock, called, Alarm(clock, lambda: called.append(clock.now))


def test_it_is_put_off_with_one_timer(monkeypatch):
    clock, called, alarm = make(monkeypatch)
    for _ in range(100):
        clock.go_on(1)
        alarm.set(clock.now + 10)
        assert len(clock.timers) == 1
    clock.go_on(5)
    clock.go_on(5)
    assert called == [110]
    clock.go_on(100)
    assert called == [110]
    assert clock.timers == []


def test_it_may_come_earlier(monkeypatch):
    clock, called, alarm = make(monkeypatch)
    alarm.set(10)
    alarm.set(5)
    clock.go_on(5)
    assert called == [5]
    clock.go_on(5)
    assert called == [5]


def test_the_timer_of_a_later_time_does_nothing_before_an_earlier_one_was_put_off(monkeypatch):
    clock, called, alarm = make(monkeypatch)
    alarm.set(10)
    alarm.set(5)
    clock.go_on(4)
    alarm.set(20)
    clock.go_on(6)  # the timers of 5, which looks again at 20, and of 10
    assert called == []
    clock.go_on(10)
    assert called == [20]


def test_it_may_be_cancelled(monkeypatch):
    clock, called, alarm = make(monkeypatch)
    alarm.set(5)
    alarm.cancel()
    clock.go_on(5)
    assert called == []
    alarm.set(12)
    clock.go_on(7)
    assert called == [12]
