"""JSON in several lines."""

import json

import pytest

from syncws.cli.pretty import pretty


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("{}", ["{}"]),
        ("[ ]", ["[]"]),
        ("1", ["1"]),
        (
            '{"b":1,"a":[true,null]}',
            ["{", '  "b": 1,', '  "a": [', "    true,", "    null", "  ]", "}"],
        ),
        ('{"a":1.10e5,"a":2}', ["{", '  "a": 1.10e5,', '  "a": 2', "}"]),
        ("[{},[]]", ["[", "  {},", "  []", "]"]),
        (r'["\"{,:}\\", "x"]', ["[", r'  "\"{,:}\\",', '  "x"', "]"]),
        ('["\x7f\u202e\x9b"]', ["[", r'  "\u007f\u202e\u009b"', "]"]),
    ],
)
def test_each_token_stays_as_it_was(text, lines):
    assert pretty(text).split("\n") == lines
    assert json.loads(pretty(text)) == json.loads(text)


@pytest.mark.parametrize("text", ["", "hello", "{", "[1,]", '["\n"]', "NaN", "[" * 100_000])
def test_what_is_not_json_is_left_alone(text):
    assert pretty(text) is None


def test_numbers_of_any_length_are_json():
    assert pretty("9" * 10_000) == "9" * 10_000


def test_what_is_short_and_deep_stays_short():
    text = f"{'[' * 500}{'0,' * 10_000}0{']' * 500}"
    shown = pretty(text)
    assert json.loads(shown) == json.loads(text)
    assert len(shown) < 50 * len(text)
