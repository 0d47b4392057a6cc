"""The classes of both implementations, for the tests of channels."""

import importlib.util
import types

import pytest
from support.channels import import_c, make_channel
from support.codecs import NOT_BUILT, _speedups

from syncws.accel import pure


@pytest.fixture(params=["c", "pure"])
def accel(request):
    """The classes, of one implementation."""
    module = pure if request.param == "pure" else import_c()
    return types.SimpleNamespace(Channel=module.Channel, MessageQueue=module.MessageQueue)


@pytest.fixture
def make(accel):
    return lambda *messages, **kwargs: make_channel(accel, *messages, **kwargs)


@pytest.fixture(params=["pure", "c"])
def codec(request):
    """A module with the hot loops."""
    if request.param == "pure":
        return pure
    if _speedups is None:
        pytest.skip(NOT_BUILT)
    return _speedups


@pytest.fixture
def fresh_speedups(monkeypatch):
    """What makes a new module of the accelerator, with a state of its own."""
    if _speedups is None:
        pytest.skip(NOT_BUILT)

    def load():
        spec = importlib.util.spec_from_file_location(_speedups.__name__, _speedups.__file__)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
