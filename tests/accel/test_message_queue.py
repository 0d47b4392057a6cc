"""The queue of received messages, in both implementations."""

import subprocess
import sys
import threading

import pytest
from support.pairs import SOON, run

from syncws.accel import pure


@pytest.fixture(params=["c", "pure"])
def make(request):
    """The class, of one implementation."""
    if request.param == "pure":
        return pure.MessageQueue
    return pytest.importorskip("syncws.accel._speedups").MessageQueue


class Whole:
    """Stands for a message in fragments."""

    cost = 5

    def message(self, decode):
        return ("whole", decode)


def take(queue):
    receipt = [None]
    message = queue.first()
    assert queue.take(message, receipt)
    assert receipt[0] is message
    return message


def take_all(queue):
    messages = []
    while queue.first() is not None:
        messages.append(take(queue))
    return messages


def cost(*messages):
    """The memory that messages take."""
    return sum(message.__sizeof__() for message in messages)


def held_lock():
    lock = threading.Lock()
    lock.acquire()
    return lock


# --- messages ---


def test_new_queue_is_empty(make):
    queue = make()
    assert queue.first() is None
    assert (queue.count, queue.size, queue.streamed, queue.waiting) == (0, 0, 0, 0)
    assert queue.bounded
    assert not queue.used
    assert not queue.is_full
    assert queue.room is None


def test_messages_come_out_in_order_as_they_are(make):
    queue = make()
    messages = ["text", b"bytes", "", b"", "\N{GRINNING FACE}"]
    queue.put(messages[:2])
    queue.put([])
    queue.put(messages[2:])
    assert queue.count == 5
    taken = take_all(queue)
    assert [id(message) for message in taken] == [id(message) for message in messages]
    assert queue.count == queue.size == 0


@pytest.mark.parametrize(
    "message", [1, None, bytearray(b"x"), ["x"], type("Text", (str,), {})("x")]
)
def test_something_else_than_a_message_is_refused_and_what_came_before_it_stays(make, message):
    queue = make()
    with pytest.raises(TypeError, match="a message is str or bytes"):
        queue.put(["before", message, "after"])
    assert take_all(queue) == ["before"]


@pytest.mark.parametrize("arguments", [(), (["x"], ["y"]), (1,)])
def test_put_takes_one_list(make, arguments):
    with pytest.raises(TypeError):
        make().put(*arguments)


@pytest.mark.parametrize("method", ["begin", "complete", "take", "restore"])
def test_methods_need_their_arguments(make, method):
    with pytest.raises(TypeError):
        getattr(make(), method)()


@pytest.mark.parametrize("method", ["first", "cancel", "make_room"])
def test_methods_without_arguments_take_none(make, method):
    with pytest.raises(TypeError):
        getattr(make(), method)(1)


@pytest.mark.parametrize("arguments", [("x",), (1, "x"), (1, 1, "x"), (1, 1, 1, 1)])
def test_marks_are_numbers(arguments):
    c = pytest.importorskip("syncws.accel._speedups")
    with pytest.raises(TypeError):
        c.MessageQueue(*arguments)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 63, 64, 65, 200, 5000])
def test_queue_grows_and_shrinks(make, count):
    queue = make()
    for _ in range(3):
        messages = [str(number) for number in range(count)]
        queue.put(messages)
        assert queue.count == count
        assert queue.size == cost(*messages)
        assert take_all(queue) == messages
        assert queue.count == queue.size == 0


def test_order_is_kept_where_the_ring_wraps_around_and_grows(make):
    queue = make()
    put = taken = 0
    for step in range(400):
        for _ in range(step % 13 + (step > 300) * 20):
            queue.put([str(put)])
            put += 1
        for _ in range(min(queue.count, (step * 7) % 12)):
            assert take(queue) == str(taken)
            taken += 1
    assert queue.count == put - taken > 64
    assert take_all(queue) == [str(number) for number in range(taken, put)]


def test_sizes_are_the_memory_that_messages_take(make):
    queue = make()
    characters = (b"x", "x", "é", "€", "\N{GRINNING FACE}")
    for message in [each * count for each in characters for count in (0, 1, 7, 8, 1000)]:
        queue.put([message])
        assert queue.size == message.__sizeof__() > len(message)
        take(queue)
        assert queue.size == 0


# --- taking ---


def test_only_the_first_message_can_be_taken(make):
    queue = make()
    first, second = bytes(range(10)), bytes(range(20))
    receipt = [None]
    assert not queue.take(first, receipt)
    queue.put([first, second])
    assert not queue.take(second, receipt)
    assert not queue.take(bytes(bytearray(first)), receipt)  # the same bytes, another message
    assert receipt == [None]
    assert not queue.used
    assert queue.take(first, receipt)
    assert receipt[0] is first
    assert queue.used
    assert queue.first() is second
    assert queue.count == 1
    assert queue.size == cost(second)


def test_each_message_is_taken_by_one_thread(make):
    queue = make()
    messages = [str(number) for number in range(2000)]

    def work():
        taken = []
        while (message := queue.first()) is not None:
            receipt = [None]
            if queue.take(message, receipt):
                taken.append(receipt[0])
        return taken

    queue.put(messages)
    workers = [run(work) for _ in range(4)]
    taken = [message for worker in workers for message in worker.result()]
    assert sorted(taken, key=int) == messages
    assert queue.count == queue.size == 0


def test_messages_that_are_put_and_taken_at_once_keep_their_order(make):
    queue = make()
    total = 5000

    def work():
        for number in range(0, total, 5):
            queue.put([str(number + i) for i in range(5)])

    putter = run(work)
    taken = []
    while len(taken) < total:
        taken += take_all(queue)
        assert taken or not putter.done() or queue.count
    putter.result()
    assert taken == [str(number) for number in range(total)]


def test_message_that_was_put_back_is_first_again(make):
    queue = make()
    queue.put(["a", "b"])
    message = take(queue)
    queue.restore(message, cost(message))
    assert (queue.count, queue.size) == (2, cost("a", "b"))
    assert take_all(queue) == ["a", "b"]
    queue.restore("c", 1)
    assert queue.first() == "c"


@pytest.mark.parametrize("count", [7, 8, 31, 32, 127, 128])
def test_message_may_be_put_back_where_the_ring_is_full(make, count):
    queue = make()
    messages = [str(number) for number in range(count)]
    queue.put(messages)
    queue.restore("back", 4)
    assert take_all(queue) == ["back", *messages]


# --- messages under way ---


def test_message_under_way_counts_when_it_is_complete(make):
    queue = make()
    whole = Whole()
    queue.put(["before"])
    queue.begin(whole)
    assert (queue.count, queue.size) == (1, cost("before"))
    take(queue)
    assert queue.first() is whole
    assert queue.complete(whole, 5) is True
    assert (queue.count, queue.size) == (1, 5)
    assert take(queue) is whole
    assert (queue.count, queue.size) == (0, 0)


def test_message_under_way_that_was_taken_is_not_counted(make):
    queue = make()
    whole = Whole()
    queue.begin(whole)
    assert take(queue) is whole
    assert (queue.count, queue.size) == (0, 0)
    assert queue.complete(whole, 5) is False
    queue.put(["after"])
    assert queue.complete(whole, 5) is False
    assert (queue.count, queue.size) == (1, cost("after"))


def test_message_under_way_may_be_put_back(make):
    queue = make()
    whole = Whole()
    queue.begin(whole)
    take(queue)
    queue.restore(whole, -1)
    assert (queue.count, queue.size) == (0, 0)
    assert queue.complete(whole, 5)
    assert take(queue) is whole


def test_message_is_completed_once(make):
    queue = make()
    whole = Whole()
    queue.begin(whole)
    assert queue.complete(whole, 5) is True
    assert queue.complete(whole, 5) is False
    assert (queue.count, queue.size) == (1, 5)


def test_only_a_message_under_way_is_cancelled(make):
    queue = make()
    queue.cancel()
    queue.put(["a"])
    queue.cancel()
    assert queue.count == 1
    queue.begin(Whole())
    queue.cancel()
    queue.cancel()
    assert take_all(queue) == ["a"]
    whole = Whole()
    queue.begin(whole)
    queue.complete(whole, 5)
    queue.cancel()
    assert take_all(queue) == [whole]


# --- room ---


@pytest.mark.parametrize("high", [0, 1, 4])
def test_queue_is_full_above_the_high_mark(make, high):
    queue = make(high, 0, 1000)
    queue.put([""] * high)
    assert not queue.is_full
    queue.put([""])
    assert queue.is_full


def test_queue_is_full_above_its_limit_in_bytes(make):
    queue = make(None, 0, 100 + cost(b""))
    queue.put([b"x" * 60])
    queue.streamed = 40
    assert not queue.is_full
    queue.streamed = 41
    assert queue.is_full
    queue.streamed = 0
    queue.put([b"x" * 8])
    assert queue.is_full


@pytest.mark.parametrize("message", ["", b""])
def test_empty_messages_fill_the_queue_too(make, message):
    queue = make(None, 0, 10_000)
    while not queue.is_full:
        queue.put([message])
        assert queue.count < 1000
    assert queue.size == queue.count * cost(message) > 10_000


@pytest.mark.parametrize("marks", [(-1,), (-5, 0), (1, -1), (1, 0, -1)])
def test_negative_marks_are_refused(make, marks):
    with pytest.raises(ValueError, match="negative"):
        make(*marks)


def test_arguments_may_be_keywords(make):
    queue = make(high=1, low=0, limit=10)
    queue.put(["", ""])
    assert queue.is_full
    assert not make(high=None, limit=10).is_full


def test_bounded_queue_takes_whatever_is_put(make):
    queue = make(1, 0, 10)
    queue.put(["x" * 100] * 10)
    assert queue.count == 10


def test_queue_that_is_not_bounded_drops_what_is_above_its_marks(make):
    queue = make(2, 0, 1000)
    queue.bounded = False
    queue.put(["1", "2", "3", "4", "5"])
    assert take_all(queue) == ["1", "2", "3"]
    queue = make(None, 0, 10)
    queue.bounded = False
    queue.put(["x" * 11, "y"])
    assert take_all(queue) == ["x" * 11]


def test_what_follows_something_dropped_is_dropped_too(make):
    queue = make(2, 0, 1000)
    queue.put(["1", "2", "3"])
    assert not queue.drops()  # full, but it is for the reader to stop
    queue.bounded = False
    queue.put(["4"])
    assert take(queue) == "1"
    assert not queue.is_full
    queue.put(["5"])
    assert queue.drops()
    assert take_all(queue) == ["2", "3"]
    queue.put(["6"])
    assert queue.count == 0


def test_a_queue_that_is_not_bounded_and_has_room_drops_nothing(make):
    queue = make(2, 0, 1000)
    queue.bounded = False
    for number in range(10):
        assert not queue.drops()
        queue.put([str(number)])
        assert take(queue) == str(number)


def test_lock_is_released_at_the_low_mark(make):
    queue = make(4, 1, 1000)
    queue.put(["x"] * 5)
    queue.room = room = held_lock()
    for _ in range(3):
        take(queue)
        assert room.locked()
        assert queue.room is room
    take(queue)
    assert not room.locked()
    assert queue.room is None


def test_lock_is_released_at_half_of_the_bytes(make):
    queue = make(None, 0, 100)
    queue.put([b"x" * 60, b"y" * 60])
    queue.streamed = 1
    queue.room = room = held_lock()
    take(queue)
    assert room.locked()
    take(queue)
    assert not room.locked()


def test_lock_is_released_when_there_is_room_again(make):
    queue = make(None, 0, 100)
    queue.make_room()
    queue.streamed = 101
    queue.room = room = held_lock()
    queue.make_room()
    assert room.locked()
    queue.streamed = 50
    queue.make_room()
    assert not room.locked()
    assert queue.room is None


def test_lock_is_released_where_nothing_is_bounded_any_more(make):
    queue = make(0, 0, 0)
    queue.put(["x" * 10])
    queue.room = room = held_lock()
    queue.make_room()
    assert room.locked()
    queue.bounded = False
    queue.make_room()
    assert not room.locked()


def test_thread_that_waits_for_room_goes_on_when_messages_are_taken(make):
    queue = make(1, 0, 1000)
    queue.put(["a", "b"])
    queue.room = room = held_lock()
    waiter = run(room.acquire, timeout=SOON)
    assert take_all(queue) == ["a", "b"]
    assert waiter.result() is True


def test_lock_that_is_free_already_is_no_trouble_in_c():
    queue = pytest.importorskip("syncws.accel._speedups").MessageQueue(0)
    queue.put(["x"])
    queue.room = threading.Lock()
    take(queue)
    assert queue.room is None


def test_queue_without_the_attribute_works_on(make):
    program = """
import sys
from syncws.accel import {module}
queue = {module}.MessageQueue()
try:
    del queue.room
except (AttributeError, TypeError):
    pass
try:
    queue.make_room()
except AttributeError:
    pass
"""
    module = "pure" if make is pure.MessageQueue else "_speedups"
    done = subprocess.run([sys.executable, "-c", program.format(module=module)], check=False)
    assert done.returncode == 0


# --- memory ---


def test_queue_holds_one_reference_to_a_message_and_none_once_it_was_taken(make):
    queue = make()
    message = bytes(range(200))
    before = sys.getrefcount(message)
    for _ in range(3):
        queue.put([message])
        assert sys.getrefcount(message) == before + 1
        assert queue.first() is message
        assert sys.getrefcount(message) == before + 1
        receipt = [None]
        assert not queue.take(b"", receipt)
        assert queue.take(message, receipt)
        assert sys.getrefcount(message) == before + 1  # the receipt's
        del receipt
        assert sys.getrefcount(message) == before
        queue.restore(message, 200)
        assert sys.getrefcount(message) == before + 1
        take(queue)
        assert sys.getrefcount(message) == before
        queue.begin(message)
        assert sys.getrefcount(message) == before + 1
        queue.cancel()
        assert sys.getrefcount(message) == before
    queue.bounded = False
    full = make(0, 0, 0)
    full.bounded = False
    full.put(["x", message])  # dropped
    assert sys.getrefcount(message) == before


def test_queue_that_goes_lets_go_of_its_messages(make):
    queue = make()
    message = bytes(range(200))
    before = sys.getrefcount(message)
    queue.put([message] * 100)
    del queue
    assert sys.getrefcount(message) == before


def test_lock_that_was_released_already_is_let_go(make):
    queue = make()
    queue.room = threading.Lock()  # not held
    queue.make_room()
    assert queue.room is None
