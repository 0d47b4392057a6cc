import pytest
from support.pairs import SOON, run, wait_until

from syncws.threaded.deadline import Deadline
from syncws.threaded.fragments import MAX_PIECES
from syncws.threaded.inbox import Inbox

NOW = Deadline(0)


def soon():
    return Deadline(SOON)


def put_fragments(inbox, *fragments, is_text=True, fin=True):
    for number, data in enumerate(fragments):
        last = number == len(fragments) - 1
        inbox.put_fragment(data, is_text=None if number else is_text, fin=fin and last)


# --- whole messages ---


def test_messages_come_out_in_order():
    inbox = Inbox()
    inbox.put(["a", b"b"])
    inbox.put(["c"])
    assert [inbox.get(NOW) for _ in range(3)] == ["a", b"b", "c"]


def test_empty_inbox_times_out_and_loses_nothing():
    inbox = Inbox()
    with pytest.raises(TimeoutError, match="no message within 0 s"):
        inbox.get(NOW)
    inbox.put(["late"])
    assert inbox.get(NOW) == "late"


def test_caller_that_waits_is_woken_by_a_message():
    inbox = Inbox()
    caller = run(inbox.get, soon())
    wait_until(lambda: inbox._waiters)
    inbox.put(["here"])
    assert caller.result() == "here"


def test_callers_that_wait_get_one_message_each():
    inbox = Inbox()
    callers = [run(inbox.get, soon()) for _ in range(4)]
    wait_until(lambda: len(inbox._waiters) == 4)
    inbox.put(["a", "b", "c"])
    inbox.put(["d"])
    assert sorted(caller.result() for caller in callers) == ["a", "b", "c", "d"]


def test_message_for_a_caller_that_gives_up_goes_to_another():
    inbox = Inbox()
    patient = run(inbox.get, soon())
    wait_until(lambda: len(inbox._waiters) == 1)
    for _ in range(200):
        with pytest.raises(TimeoutError):
            inbox.get(Deadline(0))
    inbox.put(["x"])
    assert patient.result() == "x"


def test_text_and_bytes_are_converted_on_demand():
    inbox = Inbox()
    inbox.put(["é", b"\xc3\xa9"])
    assert inbox.get(NOW, False) == b"\xc3\xa9"
    assert inbox.get(NOW, True) == "é"


def test_binary_that_is_not_text_stays_when_text_is_asked_for():
    inbox = Inbox()
    inbox.put([b"\xff"])
    for _ in range(2):
        with pytest.raises(UnicodeDecodeError):
            inbox.get(NOW, True)
    assert inbox.get(NOW) == b"\xff"


# --- fragments ---


@pytest.mark.parametrize(("is_text", "whole"), [(True, "né"), (False, b"n\xc3\xa9")])
def test_fragments_are_joined(is_text, whole):
    inbox = Inbox()
    put_fragments(inbox, b"n\xc3", b"", b"\xa9", is_text=is_text)
    assert inbox.get(NOW) == whole


def test_fragments_are_joined_as_asked():
    inbox = Inbox()
    for _ in range(2):
        put_fragments(inbox, b"a", b"b")
        put_fragments(inbox, b"c", b"d", is_text=False)
    assert inbox.get(NOW, False) == b"ab"
    assert inbox.get(NOW, True) == "cd"
    assert inbox.get(NOW, True) == "ab"
    assert inbox.get(NOW, False) == b"cd"


def test_incomplete_message_is_waited_for():
    inbox = Inbox()
    put_fragments(inbox, b"a", fin=False)
    with pytest.raises(TimeoutError):
        inbox.get(NOW)
    inbox.put_fragment(b"b", is_text=None, fin=True)
    assert inbox.get(NOW) == "ab"


def test_many_small_fragments_take_little_more_than_their_bytes():
    inbox = Inbox()
    put_fragments(inbox, *[b"x"] * 10_000)
    assert len(inbox._queue[0].pieces) == MAX_PIECES
    assert inbox.get(NOW) == "x" * 10_000


# --- streaming ---


def test_pieces_are_fragments():
    inbox = Inbox()
    put_fragments(inbox, b"a", b"b", b"c")
    assert list(inbox.stream(NOW)) == ["a", "b", "c"]


@pytest.mark.parametrize("message", ["text", b"bytes", "", b""])
def test_whole_message_is_one_piece(message):
    inbox = Inbox()
    inbox.put([message])
    assert list(inbox.stream(NOW)) == [message]


def test_characters_split_between_fragments_are_put_together():
    inbox = Inbox()
    put_fragments(inbox, b"n\xc3", b"\xa9!")
    assert list(inbox.stream(NOW)) == ["n", "é!"]


def test_stream_is_converted_as_asked():
    inbox = Inbox()
    put_fragments(inbox, b"\xc3", b"\xa9")
    put_fragments(inbox, b"\xc3", b"\xa9", is_text=False)
    assert list(inbox.stream(NOW, False)) == [b"\xc3", b"\xa9"]
    assert "".join(inbox.stream(NOW, True)) == "é"


def test_pieces_come_before_the_message_is_complete():
    inbox = Inbox()
    put_fragments(inbox, b"a", fin=False)
    stream = inbox.stream(soon())
    assert next(stream) == "a"
    rest = run(list, stream)
    wait_until(lambda: inbox._streamers)
    inbox.put_fragment(b"b", is_text=None, fin=False)
    inbox.put_fragment(b"", is_text=None, fin=True)
    assert "".join(rest.result()) == "b"


def test_other_callers_get_the_messages_after_the_one_that_is_streamed():
    inbox = Inbox()
    put_fragments(inbox, b"a", fin=False)
    stream = inbox.stream(soon())
    assert next(stream) == "a"
    other = run(inbox.get, soon())
    wait_until(lambda: inbox._waiters)
    inbox.put_fragment(b"b", is_text=None, fin=True)
    inbox.put(["next"])
    assert other.result() == "next"
    assert list(stream) == ["b"]


def test_abandoned_stream_drops_that_message_only():
    inbox = Inbox()
    put_fragments(inbox, b"a", fin=False)
    stream = inbox.stream(soon())
    next(stream)
    stream.close()
    inbox.put_fragment(b"b" * 1000, is_text=None, fin=False)
    inbox.put_fragment(b"c", is_text=None, fin=True)
    inbox.put(["next"])
    assert inbox.get(NOW) == "next"
    assert inbox._size == inbox._count == 0


def test_stream_ends_with_an_error_where_the_message_is_cut():
    inbox = Inbox()
    put_fragments(inbox, b"a", fin=False)
    stream = inbox.stream(soon())
    assert next(stream) == "a"
    rest = run(next, stream)
    wait_until(lambda: inbox._streamers)
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
    wait_until(lambda: inbox.paused)
    for _ in range(3):
        inbox.get(NOW)
        assert not reader.done()
    assert inbox.paused
    inbox.get(NOW)
    reader.result()
    assert not inbox.paused
    assert inbox.resumed_at > 0


def test_reader_waits_above_the_limit_in_bytes_but_a_larger_message_passes():
    inbox = Inbox(read_limit=100)
    inbox.put([b"x" * 100])
    inbox.wait_for_room()
    inbox.put([b"y" * 1000])
    reader = run(inbox.wait_for_room)
    wait_until(lambda: inbox.paused)
    assert len(inbox.get(NOW)) == 100
    assert not reader.done()
    assert len(inbox.get(NOW)) == 1000
    reader.result()


def test_text_counts_by_the_memory_it_takes():
    inbox = Inbox(read_limit=1000)
    inbox.put(["\N{GRINNING FACE}" * 300])
    reader = run(inbox.wait_for_room)
    wait_until(lambda: inbox.paused)
    inbox.get(NOW)
    reader.result()


def test_unlimited_inbox_never_pauses():
    inbox = Inbox(max_queue=None, read_limit=10**9)
    inbox.put(["x"] * 100_000)
    inbox.wait_for_room()
    assert inbox.get(NOW) == "x"


def test_message_under_way_counts_only_where_a_caller_streams_it():
    inbox = Inbox(read_limit=10)
    put_fragments(inbox, b"x" * 100, fin=False)
    inbox.wait_for_room()
    stream = inbox.stream(soon())
    assert next(stream) == "x" * 100
    inbox.put_fragment(b"y" * 50, is_text=None, fin=False)
    reader = run(inbox.wait_for_room)
    wait_until(lambda: inbox.paused)
    assert next(stream) == "y" * 50
    reader.result()
    stream.close()


def test_abandoned_stream_wakes_the_reader():
    inbox = Inbox(read_limit=10)
    put_fragments(inbox, b"x", fin=False)
    stream = inbox.stream(soon())
    next(stream)
    inbox.put_fragment(b"y" * 50, is_text=None, fin=False)
    reader = run(inbox.wait_for_room)
    wait_until(lambda: inbox.paused)
    stream.close()
    reader.result()


def test_unbound_inbox_wakes_the_reader_and_discards_what_is_above_the_marks():
    inbox = Inbox(max_queue=2)
    inbox.put(["1", "2", "3"])
    reader = run(inbox.wait_for_room)
    wait_until(lambda: inbox.paused)
    inbox.unbind()
    reader.result()
    inbox.put(["4"])
    put_fragments(inbox, b"5", b"6")
    inbox.wait_for_room()
    assert [inbox.get(NOW) for _ in range(3)] == ["1", "2", "3"]
    inbox.put(["7"])
    assert inbox.get(NOW) == "7"


# --- the end ---


def test_closed_inbox_gives_what_it_has_and_then_ends():
    inbox = Inbox()
    inbox.put(["last"])
    put_fragments(inbox, b"cut", fin=False)
    inbox.close()
    inbox.close()
    assert inbox.get(NOW) == "last"
    with pytest.raises(EOFError):
        inbox.get(NOW)
    with pytest.raises(EOFError):
        next(inbox.stream(NOW))


def test_closing_wakes_everybody():
    inbox = Inbox(max_queue=1)
    callers = [run(inbox.get, Deadline(None)) for _ in range(3)]
    callers += [run(lambda: next(inbox.stream(Deadline(None)))) for _ in range(2)]
    wait_until(lambda: len(inbox._waiters) == 3 and len(inbox._streamers) == 2)
    inbox.close()
    for caller in callers:
        with pytest.raises(EOFError):
            caller.result()


def test_closing_wakes_the_reader():
    inbox = Inbox(max_queue=1)
    inbox.put(["1", "2"])
    reader = run(inbox.wait_for_room)
    wait_until(lambda: inbox.paused)
    inbox.close()
    reader.result()
    inbox.wait_for_room()


# --- waiting for callers to be done ---


def test_inbox_that_nobody_used_is_idle():
    Inbox().wait_until_idle(soon())


def test_reader_waits_until_the_caller_comes_back_for_more():
    inbox = Inbox()
    inbox.put(["1", "2"])
    reader = run(inbox.wait_until_idle, Deadline(None))
    wait_until(lambda: inbox._idler)
    assert inbox.get(NOW) == "1"
    assert inbox.get(NOW) == "2"
    assert not reader.done()
    caller = run(inbox.get, Deadline(None))
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
    assert inbox.get(NOW) == "1"


def test_messages_that_are_kept_while_closing_wake_who_waits_for_them():
    inbox = Inbox(max_queue=2)
    caller = run(inbox.get, soon())
    wait_until(lambda: inbox._waiters)
    inbox.unbind()
    inbox.put([str(number) for number in range(10)])
    assert caller.result() == "0"


def test_stream_checks_the_end_of_text_that_an_empty_fragment_ends():
    inbox = Inbox()
    put_fragments(inbox, b"a\xc3", is_text=False, fin=False)
    stream = inbox.stream(NOW, decode=True)
    assert next(stream) == "a"
    inbox.put_fragment(b"", is_text=None, fin=True)
    with pytest.raises(UnicodeDecodeError):
        next(stream)


def test_stream_that_waits_for_a_piece_has_come_back_for_more():
    inbox = Inbox()
    put_fragments(inbox, b"a", fin=False)
    stream = inbox.stream(NOW)
    assert next(stream) == "a"
    reader = run(inbox.wait_until_idle, Deadline(None))
    wait_until(lambda: inbox._idler)
    streamer = run(next, stream, None)
    reader.result()
    inbox.close()
    with pytest.raises(EOFError):
        streamer.result()
