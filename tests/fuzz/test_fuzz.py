"""A small part of the fuzz campaign, the same in every run; see fuzz_codec.py for the rest."""

import random

import pytest
from fuzz import fuzz_codec


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
