"""A small part of the fuzz campaigns, the same in every run; see the scripts for the rest."""

import os
import pathlib
import random
import subprocess
import sys

import pytest
from fuzz import deflate_cases, fuzz_accel, fuzz_codec
from fuzz.streams import Failure

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
            raise Failure("broken on purpose")

    monkeypatch.setattr(fuzz_codec, "run_case", break_case)
    reports = []
    assert fuzz_codec.campaign(5, 10, report=reports.append) == 1
    assert len(reports) == 1
    assert "broken on purpose" in reports[0]
    assert "--seed 5 --only 7" in reports[0]


@built
@pytest.mark.parametrize(("kind", "count"), [("frames", 500), ("deflate", 3000)])
def test_implementations_agree_whatever_they_are_fed(kind, count):
    reports = []
    assert fuzz_accel.campaign(0, count, report=reports.append, kind=kind) == 0, reports[0]


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


REAL_CODECS = {name: getattr(fuzz_accel._speedups, name, None) for name in ("Inflater", "Deflater")}


class Wrapped:
    """A codec in C, but for one thing."""

    def __init__(self, *settings):
        self._codec = REAL_CODECS[self.name](*settings)

    def __getattr__(self, name):
        return getattr(self._codec, name)


class InflatesOneMore(Wrapped):
    name = "Inflater"

    def inflate(self, data, fin, limit):
        return self._codec.inflate(data, fin, limit if limit is None or limit < 0 else limit + 1)


class InflatesUnflushed(Wrapped):
    name = "Inflater"

    def inflate(self, data, fin, limit):
        return self._codec.inflate(data, False, limit)


class AlwaysDeflates(Wrapped):
    name = "Deflater"

    def deflate_message(self, data):
        return self._codec.deflate(data, True)


class NeverForgets(Wrapped):
    name = "Deflater"

    def forget(self):
        pass


@built
@pytest.mark.parametrize(
    "codec", [InflatesOneMore, InflatesUnflushed, AlwaysDeflates, NeverForgets]
)
def test_differences_of_compression_are_found_too(monkeypatch, codec):
    class Module:
        Inflater = REAL_CODECS["Inflater"]
        Deflater = REAL_CODECS["Deflater"]
        CompressorBudget = fuzz_accel._speedups.CompressorBudget

    setattr(Module, codec.name, codec)
    monkeypatch.setattr(deflate_cases, "_speedups", Module)
    reports = []
    assert fuzz_accel.campaign(5, 300, report=reports.append, kind="deflate") > 0
    assert "fuzz.streams.Failure: " in reports[0]
    assert "calls = " in reports[0]
    assert "--kind deflate --seed 5 --only " in reports[0]


def run_program(code):
    """What a program prints, in a process of its own: it has two copies of the package."""
    env = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[1])}
    env.pop("SYNCWS_PURE", None)
    done = subprocess.run(
        [sys.executable, "-c", f"from fuzz import fuzz_accel, reading_cases\n{code}"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@built
@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are not read in C")
@pytest.mark.parametrize("kind", ["reading", "tls"])
def test_connections_agree_whatever_they_are_fed(kind):
    assert run_program(f"print(fuzz_accel.campaign(0, 150, kind={kind!r}))") == "0\n"


@built
@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are not read in C")
@pytest.mark.parametrize("kind", ["reading", "tls"])
def test_differences_of_connections_are_found_too(kind):
    printed = run_program(
        f"""
in_c, in_python = reading_cases.libraries()
class Changed(in_c.Connection):
    def recv(self, timeout=None):
        message = super().recv(timeout)
        return message[1:] if len(message) == 10 else message
in_c.Connection = Changed
fuzz_accel.campaign(5, 60, kind={kind!r})
"""
    )
    assert "fuzz.streams.Failure: messages: " in printed
    assert f"--kind {kind} --seed 5 --only " in printed
