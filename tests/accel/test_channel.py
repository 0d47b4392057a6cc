"""The base of a connection, in both implementations, without a socket."""

import gc
import inspect
import sys
import threading
import types
import weakref

import pytest
from support.channels import Ended, Fragments, import_c, make_channel
from support.pairs import SOON, run, wait_until

from syncws.accel import pure

# --- arguments ---


def test_recv_returns_what_is_there_without_waiting(make):
    channel = make("text", b"bytes")
    assert channel.recv() == "text"
    assert channel.recv(0) == b"bytes"
    assert channel.waits == []


@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [
        ((5, False), {}),
        ((5,), {"decode": False}),
        ((), {"timeout": 5, "decode": False}),
        ((), {"decode": False, "timeout": 5}),
    ],
)
def test_arguments_may_be_given_by_position_or_name(make, arguments, keywords):
    channel = make()
    channel.script = [["é"]]
    assert channel.recv(*arguments, **keywords) == b"\xc3\xa9"
    [(remaining, timeout)] = channel.waits
    assert timeout == 5
    assert 0 < remaining <= 5


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        ((1, 2, 3), {}, "argument"),
        ((), {"wrong": 1}, "unexpected keyword argument 'wrong'"),
        ((1,), {"timeout": 1}, "multiple values for argument 'timeout'"),
        ((1, None), {"decode": True}, "multiple values for argument 'decode'"),
        ((), {"timeout": 1, "decode": None, "é": 2}, "unexpected keyword argument 'é'"),
    ],
)
def test_wrong_arguments_take_nothing(make, arguments, keywords, message):
    channel = make("x")
    with pytest.raises(TypeError, match=message):
        channel.recv(*arguments, **keywords)
    assert channel.recv() == "x"


def test_timeout_that_is_no_number_is_an_error(make):
    channel = make()
    with pytest.raises(TypeError):
        channel.recv("soon")
    assert channel.waits == []


@pytest.mark.parametrize("name", ["recv", "send"])
def test_documentation_and_signature_are_the_same(name):
    ours, theirs = getattr(import_c().Channel, name), getattr(pure.Channel, name)
    assert inspect.getdoc(ours) == inspect.getdoc(theirs)
    ours, theirs = inspect.signature(ours).parameters, inspect.signature(theirs).parameters
    assert list(ours) == list(theirs)
    for name, parameter in ours.items():
        assert parameter.default == theirs[name].default
        assert parameter.kind == theirs[name].kind or name == "self"


# --- converting ---


@pytest.mark.parametrize(
    ("message", "decode", "received"),
    [
        ("é", None, "é"),
        ("é", True, "é"),
        ("é", False, b"\xc3\xa9"),
        (b"\xc3\xa9", None, b"\xc3\xa9"),
        (b"\xc3\xa9", True, "é"),
        (b"\xc3\xa9", False, b"\xc3\xa9"),
        ("", False, b""),
        (b"", True, ""),
        (b"x", 1, "x"),
        ("x", 0, b"x"),
    ],
)
def test_messages_are_converted_as_asked(make, message, decode, received):
    channel = make(message)
    result = channel.recv(decode=decode)
    assert result == received
    assert type(result) is type(received)
    assert channel._queue.count == channel._queue.size == 0


def test_message_that_needs_no_conversion_is_not_copied(make):
    message = "x" * 1000
    channel = make(message, message)
    assert channel.recv() is message
    assert channel.recv(decode=True) is message


def test_bytes_that_are_not_text_stay_first(make):
    channel = make(b"\xff", "next")
    for _ in range(2):
        with pytest.raises(UnicodeDecodeError):
            channel.recv(decode=True)
    assert channel._queue.count == 2
    assert channel.recv() == b"\xff"
    assert channel.recv() == "next"


def test_truth_that_can_not_be_told_takes_nothing(make):
    class Undecided:
        def __bool__(self):
            raise ZeroDivisionError

    channel = make("x")
    with pytest.raises(ZeroDivisionError):
        channel.recv(decode=Undecided())
    assert channel.recv() == "x"


@pytest.mark.parametrize(("decode", "received"), [(None, "abc"), (True, "abc"), (False, b"abc")])
def test_fragments_convert_themselves(make, decode, received):
    channel = make()
    message = Fragments()
    channel._queue.begin(message)
    channel._queue.complete(message, 3)
    with pytest.raises(UnicodeDecodeError):
        channel.recv(decode="fails")
    assert channel._queue.count == 1
    assert channel.recv(decode=decode) == received
    assert channel._queue.count == channel._queue.size == 0


def test_message_under_way_is_waited_for(make):
    channel = make()
    message = Fragments()
    channel._queue.begin(message)
    with pytest.raises(TimeoutError):
        channel.recv(0)
    channel.script = [lambda: channel._queue.complete(message, 3)]
    assert channel.recv() == "abc"


# --- waiting ---


def test_without_a_timeout_there_is_no_limit(make):
    channel = make()
    channel.script = [["x"]]
    assert channel.recv() == "x"
    assert channel.waits == [(None, None)]


@pytest.mark.parametrize("timeout", [0, 0.0, -1, -0.5, float("nan")])
def test_timeouts_up_to_0_only_look(make, timeout):
    channel = make()
    with pytest.raises(TimeoutError):
        channel.recv(timeout)
    assert [remaining for remaining, _ in channel.waits] == [0]


def test_waiting_for_nothing_goes_on_with_the_time_that_remains(make):
    channel = make()
    channel.script = [[], [], ["x"]]
    assert channel.recv(1000) == "x"
    remaining = [left for left, _ in channel.waits]
    assert len(remaining) == 3
    assert 990 < remaining[2] <= remaining[1] <= remaining[0] <= 1000
    assert {timeout for _, timeout in channel.waits} == {1000}


def test_time_that_is_over_is_none_left(make):
    channel = make()
    channel.script = [lambda: threading.Event().wait(0.002), ["x"]]
    assert channel.recv(0.001) == "x"
    assert channel.waits[1][0] == 0


@pytest.mark.parametrize("exc", [TimeoutError, Ended, KeyboardInterrupt])
def test_what_waiting_raises_is_raised(make, exc):
    channel = make()
    error = exc("why")
    channel.script = [error]
    with pytest.raises(exc) as caught:
        channel.recv()
    assert caught.value is error


def test_methods_that_a_subclass_lacks_are_missed(accel):
    class Connection(accel.Channel):
        def __init__(self):
            self._queue = accel.MessageQueue()

    with pytest.raises((NotImplementedError, AttributeError)):
        Connection().recv()
    connection = Connection()
    connection._queue.put(["x"])
    connection._queue.waiting = 1
    with pytest.raises((NotImplementedError, AttributeError)):
        connection.recv()
    connection._queue.waiting = 0
    assert connection.recv() == "x"


# --- others that wait ---


def test_callers_that_wait_are_seen_to_before_a_message_is_taken(make):
    channel = make("a", "b")
    channel._queue.waiting = 1
    assert channel.recv() == "a"
    assert channel.passed == [2]
    channel._queue.waiting = 0
    assert channel.recv() == "b"
    assert channel.passed == [2]


def test_callers_that_wait_are_left_alone_where_somebody_reads(make):
    channel = make("a", "b")
    channel._queue.waiting = 1
    assert channel._take_role()
    assert channel.recv() == "a"
    assert channel.passed == []
    channel._end_role()
    assert channel.recv() == "b"
    assert channel.passed == []


def test_nothing_is_taken_where_passing_on_fails(make):
    channel = make("a")
    channel._queue.waiting = 1

    def fail():
        raise KeyboardInterrupt

    channel._pass_on = fail
    with pytest.raises(KeyboardInterrupt):
        channel.recv()
    channel._queue.waiting = 0
    assert channel.recv() == "a"


def test_message_that_another_thread_takes_meanwhile_is_not_received_twice(make):
    channel = make("a", "b")
    channel._queue.waiting = 1
    # What passes on is where another thread comes in.
    taken = []

    def other():
        if not taken:
            channel._queue.waiting = 0
            taken.append(channel.recv())

    channel._pass_on = other
    assert channel.recv() == "b"
    assert taken == ["a"]


@pytest.mark.parametrize("kind", ["whole", "text", "fragments"])
def test_message_is_put_back_where_a_signal_handler_raises_after_it_was_taken(kind):
    """In Python only: in C there is no point between."""
    module = types.SimpleNamespace(Channel=pure.Channel, MessageQueue=pure.MessageQueue)
    channel = make_channel(module)
    queue = channel._queue
    if kind == "fragments":
        message = Fragments()
        queue.begin(message)
        queue.complete(message, 3)
    else:
        message = b"abc" if kind == "whole" else "abc"
        queue.put([message])
    take = queue.take

    def interrupted(item, receipt):
        take(item, receipt)
        raise KeyboardInterrupt

    queue.take = interrupted
    with pytest.raises(KeyboardInterrupt):
        channel.recv()
    queue.take = take
    assert (queue.count, queue.size) == (1, 3 if kind == "fragments" else message.__sizeof__())
    assert channel.recv(decode=True) == "abc"


def test_message_that_somebody_else_took_between_looking_and_taking_is_looked_for_again(make):
    channel = make()
    queue = channel._queue

    class Slow(Fragments):
        def message(self, decode):
            receipt = [None]
            assert queue.take(self, receipt)  # by another thread, during the conversion
            return "never seen"

    slow = Slow()
    queue.begin(slow)
    queue.complete(slow, 3)
    queue.put(["next"])
    assert channel.recv() == "next"
    assert queue.count == queue.size == 0


@pytest.mark.parametrize("is_taken", [True, False])
def test_only_a_message_that_is_still_there_can_be_wrong(make, is_taken):
    channel = make()
    queue = channel._queue

    class Torn(Fragments):
        def message(self, decode):
            if is_taken:
                assert queue.take(self, [None])  # by a thread that streams it
            return str(b"\xa4", "utf-8")  # what is left begins within a character

    torn = Torn()
    queue.begin(torn)
    queue.complete(torn, 3)
    queue.put(["next"])
    if is_taken:
        assert channel.recv() == "next"
    else:
        for _ in range(2):
            with pytest.raises(UnicodeDecodeError):
                channel.recv()


def test_each_message_goes_to_one_thread(make):
    messages = [str(number) for number in range(2000)]
    channel = make(*messages)

    def work():
        received = []
        while channel._queue.count:
            try:
                received.append(channel.recv(0))
            except TimeoutError:
                break
        return received

    workers = [run(work) for _ in range(4)]
    received = [message for worker in workers for message in worker.result()]
    assert sorted(received, key=int) == messages


def test_room_is_made_by_receiving(make):
    channel = make("a", "b", "c", high=2, low=1)
    channel._queue.room = room = threading.Lock()
    room.acquire()
    channel.recv()
    assert room.locked()
    channel.recv()
    assert not room.locked()


# --- iteration ---


def test_iteration_ends_with_the_normal_end(make):
    channel = make("a", b"b")
    channel.script = [["c"], Ended()]
    assert list(channel) == ["a", b"b", "c"]
    assert [timeout for _, timeout in channel.waits] == [None, None]


@pytest.mark.parametrize("exc", [TimeoutError, EOFError, KeyboardInterrupt])
def test_iteration_raises_what_is_no_normal_end(make, exc):
    channel = make("a")
    channel.script = [exc()]
    iterator = iter(channel)
    assert iter(iterator) is iterator
    assert next(iterator) == "a"
    with pytest.raises(exc):
        next(iterator)


def test_subclasses_of_the_normal_end_are_one(make):
    class Sub(Ended):
        pass

    channel = make()
    channel.script = [Sub()]
    assert list(channel) == []


def test_iterations_of_one_channel_share_its_messages(make):
    channel = make("a", "b", "c")
    first, second = iter(channel), iter(channel)
    assert [next(first), next(second), next(first)] == ["a", "b", "c"]


def test_loop_may_be_left_and_begun_again(make):
    channel = make("a", "b")
    for message in channel:
        assert message == "a"
        break
    assert channel.recv() == "b"


# --- what is done in C, on request ---


def test_channel_without_a_descriptor_reads_and_sends_nothing(make):
    channel = make()
    assert not channel._direct
    assert not channel._has_leftover
    assert not channel._ended_reading
    assert channel._error_number == 0
    assert channel._direct_received == channel._direct_bytes_received == 0
    assert channel._direct_sent == channel._direct_bytes_sent == 0
    channel._end_role()
    assert not channel._direct


def test_python_never_reads_by_descriptor():
    channel = pure.Channel()
    assert channel._go_direct(1, 2, 3) is False
    assert channel._post_now(b"\x81\x00", False) == 0
    assert channel._post_now(b"\x81\x00", True) == 0
    channel._push()
    assert not channel._direct


def test_python_leaves_waiting_to_a_subclass():
    channel = pure.Channel()
    with pytest.raises(NotImplementedError):
        channel._await_message(None, None)
    with pytest.raises(NotImplementedError):
        channel._pass_on()
    with pytest.raises(NotImplementedError):
        channel.send("x")


def test_c_checks_what_it_is_given():
    c = import_c()

    class Connection(c.Channel):
        pass

    channel = Connection()
    with pytest.raises(RuntimeError, match="__init__"):
        channel.recv()
    for wrong in (None, [], pure.MessageQueue()):
        with pytest.raises(TypeError, match="_queue is a MessageQueue"):
            channel._queue = wrong
    with pytest.raises(TypeError):
        channel._go_direct()
    with pytest.raises(TypeError):
        channel._go_direct(0, None, 1, None, None, None, [], bytearray(), False)
    with pytest.raises(RuntimeError):
        channel._feed(b"x")
    with pytest.raises(RuntimeError):
        channel._read(0)
    assert channel._take_pending() == []


# --- memory ---


def test_receiving_leaves_no_reference(make):
    message = bytes(range(200))
    before = sys.getrefcount(message)
    channel = make()
    channel._queue.put([message] * 3)
    assert sys.getrefcount(message) == before + 3
    for decode in (None, False):
        assert channel.recv(decode=decode) is message
    assert sys.getrefcount(message) == before + 1
    with pytest.raises(UnicodeDecodeError):
        channel.recv(decode=True)
    assert sys.getrefcount(message) == before + 1
    assert next(iter(channel)) is message
    assert sys.getrefcount(message) == before


def test_sending_leaves_no_reference(make):
    channel = make()
    channel._send = lambda *_: None
    message = bytes(range(200))
    before = sys.getrefcount(message)
    for keywords in ({}, {"text": False}, {"timeout": 1, "compress": True}):
        channel.send(message, **keywords)
        channel.send(message=message, **keywords)
        with pytest.raises(TypeError):
            channel.send(message, message, **keywords)
    gc.collect()
    assert sys.getrefcount(message) == before


def test_timeouts_leave_no_reference(make):
    channel = make()
    timeout = 0.0001
    before = sys.getrefcount(channel)
    for _ in range(50):
        with pytest.raises(TimeoutError):
            channel.recv(timeout)
        channel.waits.clear()
    gc.collect()  # what tracebacks hold
    assert sys.getrefcount(channel) == before


def test_channel_in_a_cycle_is_collected(make):
    channel = make("x")
    channel.me = channel
    channel.iterator = iter(channel)
    next(channel.iterator)
    gone = weakref.ref(channel)
    del channel
    gc.collect()
    assert gone() is None


def test_channel_and_queue_in_a_cycle_are_collected(make):
    channel = make()
    message = Fragments()
    message.channel = channel
    channel._queue.begin(message)
    channel._queue.room = lock = threading.Lock()
    lock.acquire()
    gone, message_gone = weakref.ref(channel), weakref.ref(message)
    del channel, message
    gc.collect()
    assert gone() is None
    assert message_gone() is None
    assert lock.locked()


def test_iterator_keeps_its_channel(make):
    channel = make("x")
    gone = weakref.ref(channel)
    iterator = iter(channel)
    del channel
    gc.collect()
    assert next(iterator) == "x"
    del iterator
    wait_until(lambda: gc.collect() is not None and gone() is None, SOON)


def test_what_was_collected_is_sent_before_anything_is_received(make):
    channel = make("a")
    sent = []
    channel._flush_batch = lambda: sent.append(channel._queue.count)
    channel.recv()
    assert not sent
    channel._queue.put(["b"])
    channel._batching = True
    assert channel.recv() == "b"
    assert sent == [1]


def test_iteration_that_has_ended_stays_ended(make):
    channel = make("a")
    channel.script = [Ended(), ["never seen"]]
    iterator = iter(channel)
    assert iter(iterator) is iterator
    assert list(iterator) == ["a"]
    assert next(iterator, None) is None
    assert len(channel.waits) == 1
