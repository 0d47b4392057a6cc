"""Which implementation of the hot loops is chosen on import."""

import importlib.util
import os
import sys

import pytest
from support.codecs import _speedups, run_python

from syncws.accel import pure

CHOICE = """
from syncws import accel
print(accel.IMPLEMENTATION, accel.FrameParser.__module__, accel.MessageQueue.__module__)
"""
PURE_CHOICE = "pure syncws.accel.pure.frame_parser syncws.accel.pure.message_queue"
C_CHOICE = "c syncws.accel._speedups syncws.accel._speedups"


@pytest.mark.parametrize("setting", ["", "0", "1", "yes"])
def test_accel_says_which_implementation_it_chose(setting):
    expected = PURE_CHOICE if _speedups is None or setting in ("1", "yes") else C_CHOICE
    assert run_python(CHOICE, SYNCWS_PURE=setting) == expected


def test_accel_works_without_what_a_compiler_makes():
    # None in sys.modules makes the import fail, as if there were no such file.
    code = "import sys; sys.modules['syncws.accel._speedups'] = None" + CHOICE
    assert run_python(code, SYNCWS_PURE="0") == PURE_CHOICE


@pytest.mark.parametrize("forks", [True, False])
@pytest.mark.parametrize("setting", [None, "0", "1"])
@pytest.mark.parametrize("built", [True, False])
def test_choice_is_made_on_import(monkeypatch, built, setting, forks):
    monkeypatch.delenv("SYNCWS_PURE", raising=False)
    if setting is not None:
        monkeypatch.setenv("SYNCWS_PURE", setting)
    if not built:
        monkeypatch.setitem(sys.modules, "syncws.accel._speedups", None)
    called = []
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    if forks:
        register = lambda **callbacks: called.append(callbacks)  # noqa: E731
        monkeypatch.setattr(os, "register_at_fork", register, raising=False)
    spec = importlib.util.find_spec("syncws.accel")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    in_c = built and _speedups is not None and setting != "1"
    assert ("c" if in_c else "pure") == module.IMPLEMENTATION
    assert module.serialize_messages is (_speedups if in_c else pure).serialize_messages
    functions = [_speedups.forget_masking_keys, _speedups.renew_turnstile] if in_c else []
    forget = [{"after_in_child": function} for function in functions if forks]
    assert called == forget
