"""The inbox, by a caller that waits as recv() and recv_streaming() do, without a socket."""

import pytest
from support.pairs import SOON, run, wait_until

from syncws.sansio.state import State
from syncws.threaded.connection import Connection
from syncws.threaded.deadline import Deadline
from syncws.threaded.fragments import MAX_PIECES
from syncws.threaded.inbox import Inbox, Waiter
from syncws.threaded.reading import Reading


class Caller(Connection):
    """Waits for what others put in: it never reads by itself."""

    def __new__(cls, inbox):
        self = super().__new__(cls)
        # With somebody else at the socket, whoever finds nothing waits.
        assert self._take_role()
        return self

    def __init__(self, inbox):
        self._inbox = inbox
        self._queue = inbox.queue
        self._reading = Reading(self)
        self.protocol = Protocol()
        self._transport = Plain()

    def _close_exc(self):
        return EOFError()


class Protocol:
    parser_exc = None
    state = State.OPEN


class Plain:
    def is_interrupted(self):
        return False


def receive(inbox, timeout=0, decode=None):
    return Caller(inbox).recv(timeout, decode)


def stream(inbox, decode=None):
    return Caller(inbox).recv_streaming(decode)


def streamers(inbox):
    return [waiter for waiter in inbox._waiters if waiter.streams]


def put_fragments(inbox, *fragments, is_text=True, fin=True):
    for number, data in enumerate(fragments):
        last = number == len(fragments) - 1
        inbox.put_fragment(data, is_text=None if number else is_text, fin=fin and last)


# --- whole messages ---


def test_messages_come_out_in_order():
    inbox = Inbox()
    inbox.put(["a", b"b"])
    inbox.put(["c"])
    assert [receive(inbox) for _ in range(3)] == ["a", b"b", "c"]


def test_empty_inbox_times_out_and_loses_nothing():
    inbox = Inbox()
    with pytest.raises(TimeoutError, match="no message within 0 s"):
        receive(inbox)
    inbox.put(["late"])
    assert receive(inbox) == "late"


def test_caller_that_waits_is_woken_by_a_message():
    inbox = Inbox()
    caller = run(receive, inbox, SOON)
    wait_until(lambda: inbox._waiters)
    inbox.put(["here"])
    assert caller.result() == "here"


def test_callers_that_wait_get_one_message_each():
    inbox = Inbox()
    callers = [run(receive, inbox, SOON) for _ in range(4)]
    wait_until(lambda: len(inbox._waiters) == 4)
    inbox.put(["a", "b", "c"])
    inbox.put(["d"])
    assert sorted(caller.result() for caller in callers) == ["a", "b", "c", "d"]


def test_message_for_a_caller_that_gives_up_goes_to_another():
    inbox = Inbox()
    patient = run(receive, inbox, SOON)
    wait_until(lambda: len(inbox._waiters) == 1)
    for _ in range(200):
        with pytest.raises(TimeoutError):
            receive(inbox)
    inbox.put(["x"])
    assert patient.result() == "x"


def test_message_that_comes_while_a_caller_begins_to_wait_is_not_missed():
    inbox = Inbox()

    def is_ready():
        if inbox.queue.count:
            return True
        run(inbox.put, ["x"]).result()  # right after the caller has looked
        return False

    assert not inbox.enter(Waiter(reads=True, streams=False), is_ready)
    assert inbox.queue.waiting == 0
    assert receive(inbox) == "x"


def test_text_and_bytes_are_converted_on_demand():
    inbox = Inbox()
    inbox.put(["é", b"\xc3\xa9"])
    assert receive(inbox, 0, False) == b"\xc3\xa9"
    assert receive(inbox, 0, True) == "é"


def test_binary_that_is_not_text_stays_when_text_is_asked_for():
    inbox = Inbox()
    inbox.put([b"\xff"])
    for _ in range(2):
        with pytest.raises(UnicodeDecodeError):
            receive(inbox, 0, True)
    assert receive(inbox) == b"\xff"


# --- fragments ---


@pytest.mark.parametrize(("is_text", "whole"), [(True, "né"), (False, b"n\xc3\xa9")])
def test_fragments_are_joined(is_text, whole):
    inbox = Inbox()
    put_fragments(inbox, b"n\xc3", b"", b"\xa9", is_text=is_text)
    assert receive(inbox) == whole


def test_fragments_are_joined_as_asked():
    inbox = Inbox()
    for _ in range(2):
        put_fragments(inbox, b"a", b"b")
        put_fragments(inbox, b"c", b"d", is_text=False)
    assert receive(inbox, 0, False) == b"ab"
    assert receive(inbox, 0, True) == "cd"
    assert receive(inbox, 0, True) == "ab"
    assert receive(inbox, 0, False) == b"cd"


def test_incomplete_message_is_waited_for():
    inbox = Inbox()
    put_fragments(inbox, b"a", fin=False)
    with pytest.raises(TimeoutError):
        receive(inbox)
    inbox.put_fragment(b"b", is_text=None, fin=True)
    assert receive(inbox) == "ab"


def test_many_small_fragments_take_little_more_than_their_bytes():
    inbox = Inbox()
    put_fragments(inbox, *[b"x"] * 10_000)
    assert len(inbox.queue.first().pieces) == MAX_PIECES
    assert receive(inbox) == "x" * 10_000


# --- streaming ---


def test_pieces_are_fragments():
    inbox = Inbox()
    put_fragments(inbox, b"a", b"b", b"c")
    assert list(stream(inbox)) == ["a", "b", "c"]


@pytest.mark.parametrize("message", ["text", b"bytes", "", b""])
def test_whole_message_is_one_piece(message):
    inbox = Inbox()
    inbox.put([message])
    assert list(stream(inbox)) == [message]


def test_characters_split_between_fragments_are_put_together():
    inbox = Inbox()
    put_fragments(inbox, b"n\xc3", b"\xa9!")
    assert list(stream(inbox)) == ["n", "é!"]


def test_stream_is_converted_as_asked():
    inbox = Inbox()
    put_fragments(inbox, b"\xc3", b"\xa9")
    put_fragments(inbox, b"\xc3", b"\xa9", is_text=False)
    assert list(stream(inbox, False)) == [b"\xc3", b"\xa9"]
    assert "".join(stream(inbox, True)) == "é"


def test_pieces_come_before_the_message_is_complete():
    inbox = Inbox()
    put_fragments(inbox, b"a", fin=False)
    pieces = stream(inbox)
    assert next(pieces) == "a"
    rest = run(list, pieces)
    wait_until(lambda: streamers(inbox))
    inbox.put_fragment(b"b", is_text=None, fin=False)
    inbox.put_fragment(b"", is_text=None, fin=True)
    assert "".join(rest.result()) == "b"


def test_other_callers_get_the_messages_after_the_one_that_is_streamed():
    inbox = Inbox()
    put_fragments(inbox, b"a", fin=False)
    pieces = stream(inbox)
    assert next(pieces) == "a"
    other = run(receive, inbox, SOON)
    wait_until(lambda: inbox._waiters)
    inbox.put_fragment(b"b", is_text=None, fin=True)
    inbox.put(["next"])
    assert other.result() == "next"
    assert list(pieces) == ["b"]


def test_abandoned_stream_drops_that_message_only():
    inbox = Inbox()
    put_fragments(inbox, b"a", fin=False)
    pieces = stream(inbox)
    next(pieces)
    pieces.close()
    inbox.put_fragment(b"b" * 1000, is_text=None, fin=False)
    inbox.put_fragment(b"c", is_text=None, fin=True)
    inbox.put(["next"])
    assert receive(inbox) == "next"
    assert inbox.queue.size == inbox.queue.count == 0


def test_stream_ends_with_an_error_where_the_message_is_cut():
    inbox = Inbox()
    put_fragments(inbox, b"a", fin=False)
    pieces = stream(inbox)
    assert next(pieces) == "a"
    rest = run(next, pieces)
    wait_until(lambda: streamers(inbox))
    inbox.close()
    with pytest.raises(EOFError):
        rest.result()


# --- room ---


def test_reader_waits_above_the_high_mark_until_the_low_mark():
    inbox = Inbox(max_queue=(4, 1))
    inbox.put(["x"] * 4)
    inbox.wait_for_room()
    inbox.put(["x"])
    reader = run(inbox.wait_for_room)
    wait_until(lambda: inbox.waits_for_room)
    for _ in range(3):
        receive(inbox)
        assert not reader.done()
    assert inbox.waits_for_room
    receive(inbox)
    reader.result()
    assert not inbox.waits_for_room


def test_reader_waits_above_the_limit_in_bytes_but_a_larger_message_passes():
    inbox = Inbox(read_limit=200)
    inbox.put([b"x" * 100])
    inbox.wait_for_room()
    inbox.put([b"y" * 1000])
    reader = run(inbox.wait_for_room)
    wait_until(lambda: inbox.waits_for_room)
    assert len(receive(inbox)) == 100
    assert not reader.done()
    assert len(receive(inbox)) == 1000
    reader.result()


def test_text_counts_by_the_memory_it_takes():
    inbox = Inbox(read_limit=1000)
    inbox.put(["\N{GRINNING FACE}" * 300])
    reader = run(inbox.wait_for_room)
    wait_until(lambda: inbox.waits_for_room)
    receive(inbox)
    reader.result()


def test_unlimited_inbox_never_pauses():
    inbox = Inbox(max_queue=None, read_limit=10**9)
    inbox.put(["x"] * 100_000)
    inbox.wait_for_room()
    assert receive(inbox) == "x"


def test_message_under_way_counts_only_where_a_caller_streams_it():
    inbox = Inbox(read_limit=10)
    put_fragments(inbox, b"x" * 100, fin=False)
    inbox.wait_for_room()
    pieces = stream(inbox)
    assert next(pieces) == "x" * 100
    inbox.put_fragment(b"y" * 50, is_text=None, fin=False)
    reader = run(inbox.wait_for_room)
    wait_until(lambda: inbox.waits_for_room)
    assert next(pieces) == "y" * 50
    reader.result()
    pieces.close()


def test_abandoned_stream_wakes_the_reader():
    inbox = Inbox(read_limit=10)
    put_fragments(inbox, b"x", fin=False)
    pieces = stream(inbox)
    next(pieces)
    inbox.put_fragment(b"y" * 50, is_text=None, fin=False)
    reader = run(inbox.wait_for_room)
    wait_until(lambda: inbox.waits_for_room)
    pieces.close()
    reader.result()


def test_unbound_inbox_wakes_the_reader_and_discards_what_is_above_the_marks():
    inbox = Inbox(max_queue=2)
    inbox.put(["1", "2", "3"])
    reader = run(inbox.wait_for_room)
    wait_until(lambda: inbox.waits_for_room)
    inbox.unbind()
    reader.result()
    inbox.put(["4"])
    put_fragments(inbox, b"5", b"6")
    inbox.wait_for_room()
    assert [receive(inbox) for _ in range(3)] == ["1", "2", "3"]
    inbox.put(["7"])  # what is received has no gaps
    put_fragments(inbox, b"8", b"9")
    assert inbox.queue.count == 0


# --- the end ---


def test_closed_inbox_gives_what_it_has_and_then_ends():
    inbox = Inbox()
    inbox.put(["last"])
    put_fragments(inbox, b"cut", fin=False)
    inbox.close()
    inbox.close()
    assert receive(inbox) == "last"
    with pytest.raises(EOFError):
        receive(inbox)
    with pytest.raises(EOFError):
        next(stream(inbox))


def test_closing_wakes_everybody():
    inbox = Inbox(max_queue=1)
    callers = [run(receive, inbox, None) for _ in range(3)]
    callers += [run(lambda: next(stream(inbox))) for _ in range(2)]
    wait_until(lambda: len(inbox._waiters) == 5 and len(streamers(inbox)) == 2)
    inbox.close()
    for caller in callers:
        with pytest.raises(EOFError):
            caller.result()


def test_closing_wakes_the_reader():
    inbox = Inbox(max_queue=1)
    inbox.put(["1", "2"])
    reader = run(inbox.wait_for_room)
    wait_until(lambda: inbox.waits_for_room)
    inbox.close()
    reader.result()
    inbox.wait_for_room()


# --- waiting for callers to be done ---


def test_inbox_that_nobody_used_is_idle():
    Inbox().wait_until_idle(Deadline(SOON))


def test_reader_waits_until_the_caller_comes_back_for_more():
    inbox = Inbox()
    inbox.put(["1", "2"])
    reader = run(inbox.wait_until_idle, Deadline(None))
    wait_until(lambda: inbox._idler)
    assert receive(inbox) == "1"
    assert receive(inbox) == "2"
    assert not reader.done()
    caller = run(receive, inbox, None)
    reader.result()
    inbox.close()
    with pytest.raises(EOFError):
        caller.result()


@pytest.mark.parametrize("end", ["unbind", "close"])
def test_wait_for_callers_ends_with_the_connection(end):
    inbox = Inbox()
    inbox.put(["1"])
    reader = run(inbox.wait_until_idle, Deadline(None))
    wait_until(lambda: inbox._idler)
    getattr(inbox, end)()
    reader.result()
    inbox.wait_until_idle(Deadline(None))


def test_wait_for_callers_has_a_deadline():
    inbox = Inbox()
    inbox.put(["1"])
    inbox.wait_until_idle(Deadline(0.01))
    assert receive(inbox) == "1"


def test_messages_that_are_kept_while_closing_wake_who_waits_for_them():
    inbox = Inbox(max_queue=2)
    caller = run(receive, inbox, SOON)
    wait_until(lambda: inbox._waiters)
    inbox.unbind()
    inbox.put([str(number) for number in range(10)])
    assert caller.result() == "0"


def test_stream_checks_the_end_of_text_that_an_empty_fragment_ends():
    inbox = Inbox()
    put_fragments(inbox, b"a\xc3", is_text=False, fin=False)
    pieces = stream(inbox, True)
    assert next(pieces) == "a"
    inbox.put_fragment(b"", is_text=None, fin=True)
    with pytest.raises(UnicodeDecodeError):
        next(pieces)


def test_stream_that_waits_for_a_piece_has_come_back_for_more():
    inbox = Inbox()
    put_fragments(inbox, b"a", fin=False)
    pieces = stream(inbox)
    assert next(pieces) == "a"
    reader = run(inbox.wait_until_idle, Deadline(None))
    wait_until(lambda: inbox._idler)
    streamer = run(next, pieces, None)
    reader.result()
    inbox.close()
    with pytest.raises(EOFError):
        streamer.result()
