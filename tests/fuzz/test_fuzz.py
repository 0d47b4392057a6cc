"""A small part of the fuzz campaigns, the same in every run; see the scripts for the rest."""

import random

import pytest
from fuzz import fuzz_accel, fuzz_codec

built = pytest.mark.skipif(
    fuzz_accel._speedups is None, reason="syncws.accel._speedups isn't built"
)


@pytest.mark.parametrize("kind", ["frames", "server_handshake", "client_handshake"])
def test_codec_keeps_its_word_whatever_it_is_fed(kind):
    fuzz = getattr(fuzz_codec, f"fuzz_{kind}")
    for number in range(1500):
        try:
            fuzz(random.Random(f"suite/{number}"))
        except Exception as exc:
            raise AssertionError(f'fuzz_{kind}(random.Random("suite/{number}")) fails') from exc


def test_campaign_reports_failures_with_what_reproduces_them(monkeypatch):
    def break_case(seed, number):
        if number == 7:
            raise fuzz_codec.Failure("broken on purpose")

    monkeypatch.setattr(fuzz_codec, "run_case", break_case)
    reports = []
    assert fuzz_codec.campaign(5, 10, report=reports.append) == 1
    assert len(reports) == 1
    assert "broken on purpose" in reports[0]
    assert "--seed 5 --only 7" in reports[0]


@built
def test_implementations_agree_whatever_they_are_fed():
    reports = []
    assert fuzz_accel.campaign(0, 500, report=reports.append) == 0, reports[0]


REAL_PARSER = getattr(fuzz_accel._speedups, "FrameParser", None)


class Changed:
    """The parser in C, but for one thing."""

    def __init__(self, **settings):
        self._parser = REAL_PARSER(**settings)

    def __getattr__(self, name):
        return getattr(self._parser, name)


class LosesText(Changed):
    def receive(self, data):
        return [event for event in self._parser.receive(data) if event != ""]


class ReturnsBuffers(Changed):
    def receive(self, data):
        events = self._parser.receive(data)
        return [bytearray(event) if type(event) is bytes else event for event in events]


class CountsFromOne(Changed):
    @property
    def error(self):
        error = self._parser.error
        return error if error is None or error[0] != 1007 else (*error[:2], error[2] + 1)


class NeverReceives(Changed):
    receiving = False


@built
@pytest.mark.parametrize("parser", [LosesText, ReturnsBuffers, CountsFromOne, NeverReceives])
def test_differences_are_found_and_reported_with_what_reproduces_them(monkeypatch, parser):
    class Module:
        FrameParser = parser
        apply_mask = staticmethod(fuzz_accel._speedups.apply_mask)
        serialize_frame = staticmethod(fuzz_accel._speedups.serialize_frame)
        serialize_messages = staticmethod(fuzz_accel._speedups.serialize_messages)

    monkeypatch.setattr(fuzz_accel, "_speedups", Module)
    reports = []
    assert fuzz_accel.campaign(5, 60, report=reports.append) > 0
    assert "fuzz_accel.Difference" in reports[0]
    assert "pieces = " in reports[0]
    assert "--seed 5 --only " in reports[0]
