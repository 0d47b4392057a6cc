"""Subinterpreters: with a lock of their own (since Python 3.12), or with that of the process."""

import os
import sys

import pytest

try:
    import _interpreters  # Python 3.13
except ImportError:
    _interpreters = pytest.importorskip("_xxsubinterpreters")

#: Those that this Python has: with a lock of its own, or without.
KINDS = ("isolated", "legacy") if sys.version_info >= (3, 12) else ("legacy",)


class Interpreter:
    """An interpreter, which ends with the context.

    It has to be ended by the thread that used it: Python 3.12 would wait forever.
    """

    def __init__(self, kind="isolated"):
        self._kind = kind

    def __enter__(self):
        if hasattr(_interpreters, "exec"):
            self._id = _interpreters.create(self._kind)
        else:
            self._id = _interpreters.create(isolated=self._kind == "isolated")
        self.run(f"import sys; sys.path[:] = {sys.path!r}")
        return self

    def __exit__(self, *_):
        _interpreters.destroy(self._id)

    def run(self, code):
        """Run code; return what it passes to ``answer()``."""
        reader, writer = os.pipe()
        code = f"import os\ndef answer(value): os.write({writer}, ascii(value).encode())\n{code}"
        try:
            if hasattr(_interpreters, "exec"):
                failure = _interpreters.exec(self._id, code)
                assert failure is None, failure.errdisplay
            else:
                _interpreters.run_string(self._id, code)
        finally:
            os.close(writer)
            with os.fdopen(reader, "rb") as pipe:
                answer = pipe.read().decode()
        return answer


def is_shareable(thing):
    """Tell whether interpreters can hand it over to each other."""
    return _interpreters.is_shareable(thing)
