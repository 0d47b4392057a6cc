from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncws.exceptions import MultipleValuesError
from syncws.sansio.headers import Headers

PAIRS = [("Host", "example.com"), ("Set-Cookie", "a=1"), ("X-Y", ""), ("set-cookie", "b=2")]


@pytest.fixture
def headers() -> Headers:
    return Headers(PAIRS)


# --- making them -----------------------------------------------------------------


def test_new_headers_are_empty():
    assert len(Headers()) == 0
    assert list(Headers().raw_items()) == []


def test_headers_are_made_of_pairs_mappings_headers_and_keywords(headers):
    assert list(headers.raw_items()) == PAIRS
    assert list(Headers(headers).raw_items()) == PAIRS
    assert list(Headers(iter(PAIRS)).raw_items()) == PAIRS
    assert list(Headers({"A": "1"}, B="2").raw_items()) == [("A", "1"), ("B", "2")]
    assert Headers(headers="1")["headers"] == "1"


def test_parsed_fields_are_taken_as_they_are():
    assert list(Headers.from_parsed([("A", "1\x01")]).raw_items()) == [("A", "1\x01")]


@pytest.mark.parametrize("duplicate", [Headers.copy, copy.copy, copy.deepcopy, Headers])
def test_copy_is_equal_and_independent(headers, duplicate):
    other = duplicate(headers)
    assert other == headers
    assert list(other.raw_items()) == PAIRS
    other["New"] = "1"
    del other["Host"]
    assert list(headers.raw_items()) == PAIRS
    assert "New" not in headers


def test_headers_can_be_pickled(headers):
    assert list(pickle.loads(pickle.dumps(headers)).raw_items()) == PAIRS


# --- as a mapping ----------------------------------------------------------------


def test_names_are_looked_up_in_any_case(headers):
    assert headers["host"] == headers["HOST"] == headers.get("hOsT") == "example.com"
    assert "HOST" in headers
    assert "set-Cookie" in headers
    assert headers.get_all("SET-COOKIE") == ["a=1", "b=2"]


def test_missing_name_raises_key_error(headers):
    with pytest.raises(KeyError):
        headers["Origin"]
    with pytest.raises(KeyError):
        del headers["Origin"]
    assert headers.get("Origin") is None
    assert headers.get_all("Origin") == []
    assert "Origin" not in headers


def test_what_is_no_str_is_not_a_name(headers):
    assert None not in headers
    assert 1 not in headers


def test_repeated_name_raises_multiple_values_error(headers):
    with pytest.raises(MultipleValuesError, match="'Set-cookie' occurs several times"):
        headers["Set-cookie"]


def test_setting_adds_and_keeps_what_is_there(headers):
    headers["HOST"] = "example.org"
    assert headers.get_all("host") == ["example.com", "example.org"]
    assert list(headers.raw_items()) == [*PAIRS, ("HOST", "example.org")]


def test_deleting_removes_all_fields_of_a_name(headers):
    del headers["SET-COOKIE"]
    assert list(headers.raw_items()) == [("Host", "example.com"), ("X-Y", "")]
    assert list(headers) == ["host", "x-y"]


def test_length_and_iteration_are_of_distinct_names(headers):
    assert len(headers) == 3
    assert list(headers) == ["host", "set-cookie", "x-y"]


def test_clear_removes_all(headers):
    headers.clear()
    assert headers == Headers()
    assert list(headers.raw_items()) == []


def test_update_adds_pairs_mappings_headers_and_keywords(headers):
    headers.update([("A", "1")])
    headers.update({"a": "2"}, B="3")
    headers.update(Headers(a="4"))
    headers.update()
    assert headers.get_all("A") == ["1", "2", "4"]
    assert headers["b"] == "3"


def test_headers_can_be_added_to_themselves(headers):
    headers.update(headers)
    assert list(headers.raw_items()) == PAIRS * 2


def test_setdefault_adds_only_what_is_missing(headers):
    assert headers.setdefault("HOST", "example.org") == "example.com"
    assert headers.setdefault("Origin", "null") == "null"
    assert list(headers.raw_items()) == [*PAIRS, ("Origin", "null")]


def test_pop_returns_and_removes(headers):
    assert headers.pop("host") == "example.com"
    assert headers.pop("host", "none") == "none"


def test_equality_ignores_case_of_names_and_order_among_names():
    assert Headers([("A", "1"), ("B", "2"), ("a", "3")]) == Headers(
        [("b", "2"), ("A", "1"), ("A", "3")]
    )
    assert Headers([("A", "1"), ("A", "2")]) != Headers([("A", "2"), ("A", "1")])
    assert Headers(A="x") != Headers(A="X")
    assert Headers(A="x") != {"A": "x"}


def test_headers_are_not_hashable(headers):
    with pytest.raises(TypeError, match="unhashable"):
        hash(headers)


# --- what they may hold ----------------------------------------------------------


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\n", "ä", "a\x00", "(a)"])
def test_name_must_be_a_token(headers, name):
    with pytest.raises(ValueError, match=r"invalid header name .*token"):
        headers[name] = "value"
    assert list(headers.raw_items()) == PAIRS


@pytest.mark.parametrize("wrong", ["\r", "\n", "\0", "\x1f", "\x7f", "\u0100", "\u2028"])
def test_value_must_be_sendable(headers, wrong):
    with pytest.raises(ValueError, match=r"invalid value of header X-Name: .* at 2 can't be sent"):
        headers["X-Name"] = f"ab{wrong}cd"
    assert list(headers.raw_items()) == PAIRS


def test_name_and_value_must_be_str(headers):
    with pytest.raises(TypeError, match="header name must be a str, got b'A'"):
        headers[b"A"] = "1"
    with pytest.raises(TypeError, match="value of header Content-Length must be a str, got 1"):
        headers["Content-Length"] = 1


@pytest.mark.parametrize("value", ["", "a\tb c", "\x80\xe4\xff", "!~"])
def test_value_may_have_latin_1_text_and_white_space(value):
    assert Headers({"A": value})["a"] == value


# --- as text ---------------------------------------------------------------------


def test_headers_are_serialized_as_spelled_with_an_empty_line():
    headers = Headers([("Host", "example.com"), ("x-Y", "\xe4"), ("HOST", "")])
    assert headers.serialize() == b"Host: example.com\r\nx-Y: \xe4\r\nHOST: \r\n\r\n"
    assert str(headers) == "Host: example.com\r\nx-Y: \xe4\r\nHOST: \r\n\r\n"
    assert Headers().serialize() == b"\r\n"


def test_repr_makes_the_same_headers(headers):
    assert list(eval(repr(headers)).raw_items()) == PAIRS


NAMES = st.sampled_from(["a", "A", "b", "B", "Set-Cookie", "SET-COOKIE"])


@given(st.lists(st.tuples(st.booleans(), NAMES, st.sampled_from("123"))))
def test_lookups_agree_with_the_list_of_fields(operations):
    headers, model = Headers(), []
    for adds, name, value in operations:
        if adds:
            headers[name] = value
            model.append((name, value))
        elif name in headers:
            del headers[name]
            model = [pair for pair in model if pair[0].lower() != name.lower()]
    assert list(headers.raw_items()) == model
    assert set(headers) == {name.lower() for name, _ in model}
    for key in headers:
        assert headers.get_all(key) == [value for name, value in model if name.lower() == key]
