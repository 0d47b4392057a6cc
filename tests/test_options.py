import dataclasses
import math

import pytest

from syncws.options import (
    Deflate,
    Options,
    deflate_settings,
    one_of,
    split_max_queue,
    split_max_size,
)


def test_deflate_leaves_everything_to_the_other_side_by_default():
    deflate = Deflate()
    assert not deflate.server_no_context_takeover
    assert not deflate.client_no_context_takeover
    assert deflate.server_max_window_bits is None
    assert deflate.client_max_window_bits is None


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("server_max_window_bits", 8, 15),
        ("client_max_window_bits", 8, 15),
        ("compress_window_bits", 9, 15),
        ("level", -1, 9),
        ("memory_level", 1, 9),
    ],
)
def test_deflate_settings_have_ranges(name, low, high):
    for value in (low, high):
        assert getattr(Deflate(**{name: value}), name) == value
    for value in (low - 1, high + 1):
        with pytest.raises(ValueError, match=rf"{name} must be from {low} to {high}, got {value}"):
            Deflate(**{name: value})


def test_deflate_has_a_min_size_that_is_not_negative():
    assert Deflate(min_size=0).min_size == 0
    with pytest.raises(ValueError, match=r"min_size can't be negative, got -1"):
        Deflate(min_size=-1)


def test_options_have_the_defaults_of_the_documentation():
    assert dataclasses.asdict(Options()) == {
        "ping_interval": 20,
        "ping_timeout": 20,
        "close_timeout": 10,
        "send_timeout": None,
        "max_queue": 16,
        "read_limit": 65536,
        "write_limit": 65536,
    }


TIMES = ["ping_interval", "ping_timeout", "close_timeout", "send_timeout"]


@pytest.mark.parametrize("name", TIMES)
def test_times_are_none_or_not_negative(name):
    assert getattr(Options(**{name: None}), name) is None
    assert getattr(Options(**{name: 0.5}), name) == 0.5
    for value in (-1, -0.001, math.nan):
        with pytest.raises(ValueError, match=rf"{name} can't be negative, got {value}"):
            Options(**{name: value})
    with pytest.raises(TypeError):
        Options(**{name: "soon"})


def test_ping_interval_of_zero_is_refused_with_what_to_do_instead():
    with pytest.raises(ValueError, match="ping_interval can't be 0; None turns keepalive off"):
        Options(ping_interval=0)
    assert Options(ping_timeout=0, close_timeout=0, send_timeout=0).ping_timeout == 0


@pytest.mark.parametrize("name", ["read_limit", "write_limit"])
def test_limits_are_not_negative(name):
    assert getattr(Options(**{name: 0}), name) == 0
    with pytest.raises(ValueError, match=rf"{name} can't be negative, got -1"):
        Options(**{name: -1})


def test_options_check_max_queue():
    with pytest.raises(ValueError, match="max_queue must be at least 1"):
        Options(max_queue=0)


@pytest.mark.parametrize("value", [Deflate(), Options()])
def test_options_are_immutable(value):
    name = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, 1)


@pytest.mark.parametrize(
    ("max_size", "limits"),
    [
        (None, (None, None)),
        (0, (0, None)),
        (1000, (1000, None)),
        ((1000, 10), (1000, 10)),
        ((None, 10), (None, 10)),
        ((1000, None), (1000, None)),
    ],
)
def test_max_size_is_split_into_message_and_fragment(max_size, limits):
    assert split_max_size(max_size) == limits


@pytest.mark.parametrize("max_size", [-1, (-1, None), (None, -1)])
def test_negative_max_size_is_refused(max_size):
    with pytest.raises(ValueError, match="max_size can't be negative"):
        split_max_size(max_size)


@pytest.mark.parametrize(
    ("max_queue", "marks"),
    [
        (None, (None, 0)),
        ((None, None), (None, 0)),
        (16, (16, 4)),
        (1, (1, 0)),
        ((16, None), (16, 4)),
        ((16, 0), (16, 0)),
        ((16, 16), (16, 16)),
    ],
)
def test_max_queue_is_split_into_marks(max_queue, marks):
    assert split_max_queue(max_queue) == marks


@pytest.mark.parametrize("max_queue", [0, -1, (16, 17), (16, -1), (0, 0)])
def test_impossible_max_queue_is_refused(max_queue):
    with pytest.raises(ValueError, match="max_queue must be at least 1, its low mark at most"):
        split_max_queue(max_queue)


def test_compression_is_a_name_settings_or_none():
    default, settings = Deflate(level=1), Deflate(level=2)
    assert deflate_settings("deflate", default) is default
    assert deflate_settings(settings, default) is settings
    assert deflate_settings(None, default) is None


@pytest.mark.parametrize("compression", ["gzip", "", True, False, 15])
def test_other_compression_is_refused(compression):
    with pytest.raises(ValueError, match=f"not {compression!r}"):
        deflate_settings(compression, Deflate())


def test_argument_with_two_names_is_given_once():
    assert one_of(1, None, "new", "old") == 1
    assert one_of(None, 2, "new", "old") == 2
    assert one_of(None, None, "new", "old") is None
    assert one_of(0, None, "new", "old") == 0
    with pytest.raises(TypeError, match="old= is an older name of new=: give one of them"):
        one_of(1, 2, "new", "old")
