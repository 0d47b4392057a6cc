import pytest

from syncws.fallback.event_parser import Event, EventParser

STREAM = (
    b"\xef\xbb\xbfevent: open\ndata: 0\n\n"
    b": a comment\n\n"
    b"id: 7\r\ndata: gQVo\r\ndata:ZWxs\r\n\r\n"
    b"retry: 10\rdata:  two spaces\rid\r\r"
    b"event: nothing\n\n"
    b"data\nid: with\0nul\nunknown: field\nevent: end\n\n"
    b"data: without an end\n"
)
EVENTS = [
    Event("open", "0", None),
    Event("", "gQVo\nZWxs", "7"),
    Event("", " two spaces", ""),
    Event("end", "", None),
]


def test_events_are_found():
    assert EventParser().receive(STREAM) == EVENTS


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_how_bytes_are_split_makes_no_difference(size):
    parser, events = EventParser(), []
    for start in range(0, len(STREAM), size):
        events += parser.receive(STREAM[start : start + size])
    assert events == EVENTS


def test_nothing_is_no_event():
    parser = EventParser()
    assert parser.receive(b"") == []
    assert parser.receive(b"data: 1\r") == []
    assert parser.receive(b"\n") == []
    assert parser.receive(b"\r") == [Event("", "1", None)]


def test_an_id_counts_for_its_own_event_only():
    assert EventParser().receive(b"id: 1\ndata: a\n\ndata: b\n\n") == [
        Event("", "a", "1"),
        Event("", "b", None),
    ]


@pytest.mark.parametrize(
    "stream", [b"data: 56789", b"data: 5678901\n", b"data: 5\n\ndata: 5\ndata: 5\n"]
)
def test_a_long_event_is_refused(stream):
    with pytest.raises(ValueError, match="an event has more than 10 bytes"):
        EventParser(10).receive(stream)


def test_any_number_of_comments_may_come():
    parser = EventParser(10)
    for _ in range(10):
        assert parser.receive(b": comment\n") == []
    assert parser.comments == 10
    assert parser.receive(b"data: 56\n\n") == [Event("", "56", None)]


def test_what_is_not_utf_8_is_refused():
    with pytest.raises(ValueError, match="utf-8"):
        EventParser().receive(b"data: \xff\n")
