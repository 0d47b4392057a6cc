"""The reading role and what is left to a subclass, in both implementations of a channel."""

import pytest
from support.channels import Ended
from support.pairs import run

# --- the reading role ---


def test_role_is_one_threads_at_a_time(make):
    channel = make()
    assert channel._role_is_free
    assert channel._take_role()
    assert not channel._role_is_free
    assert not channel._take_role()
    assert not run(channel._take_role).result()
    channel._give_up_role()
    assert channel._role_is_free
    assert run(channel._take_role).result()
    channel._give_up_role()  # whoever took it


@pytest.mark.parametrize("held", [False, True])
def test_role_that_ended_is_nobodys(make, held):
    channel = make()
    if held:
        assert channel._take_role()
    channel._end_role()
    assert not channel._role_is_free
    assert not channel._take_role()
    channel._give_up_role()
    assert not channel._role_is_free
    assert not channel._take_role()
    channel._end_role()
    assert not channel._take_role()


def test_many_threads_that_want_the_role_get_it_one_at_a_time(make):
    channel = make()
    inside = []
    most = []

    def work():
        got = 0
        while got < 50:
            if channel._take_role():
                inside.append(1)
                most.append(len(inside))
                got += 1
                inside.pop()
                channel._give_up_role()

    workers = [run(work) for _ in range(4)]
    for worker in workers:
        worker.result()
    assert set(most) == {1}
    assert len(most) == 200


def test_activity_is_told_once_except_while_the_role_is_held(make):
    channel = make()
    assert not channel._was_active()
    assert channel._take_role()
    assert channel._was_active()
    assert channel._was_active()
    channel._give_up_role()
    assert channel._was_active()
    assert not channel._was_active()
    assert channel._take_role()
    channel._give_up_role()
    assert channel._was_active()
    assert not channel._was_active()


def test_what_has_ended_needs_nobody_who_reads(make):
    channel = make()
    channel._end_role()
    assert channel._was_active()
    assert channel._was_active()


# --- sending: what isn't sent at once is left to a subclass ---


@pytest.mark.parametrize(
    ("arguments", "keywords", "seen"),
    [
        (("x",), {}, ("x", None, None, None)),
        ((), {"message": b"x"}, (b"x", None, None, None)),
        (("x",), {"text": False}, ("x", False, None, None)),
        (("x",), {"timeout": 1, "text": True}, ("x", True, 1, None)),
        ((), {"compress": False, "message": ["x"]}, (["x"], None, None, False)),
        ((None,), {"text": None}, (None, None, None, None)),
        (("x" * 100_000,), {}, ("x" * 100_000, None, None, None)),
    ],
)
def test_arguments_of_send_reach_the_subclass(make, arguments, keywords, seen):
    channel = make()
    sent = []
    channel._send = lambda *values: sent.append(values)
    assert channel.send(*arguments, **keywords) is None
    assert sent == [seen]


@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [
        ((), {}),
        ((), {"text": True}),
        (("x", True), {}),
        (("x",), {"message": "y"}),
        (("x",), {"wrong": 1}),
        (("x",), {"text": None, "time": 1}),
    ],
)
def test_wrong_arguments_of_send_send_nothing(make, arguments, keywords):
    channel = make()
    sent = []
    channel._send = lambda *values: sent.append(values)
    with pytest.raises(TypeError, match=r"send\(\)"):
        channel.send(*arguments, **keywords)
    assert sent == []


def test_what_sending_raises_is_raised(make):
    channel = make()
    error = Ended()

    def fail(*_):
        raise error

    channel._send = fail
    with pytest.raises(Ended) as caught:
        channel.send("x")
    assert caught.value is error
