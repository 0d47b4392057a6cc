"""The classes of both implementations, for the tests of channels."""

import types

import pytest
from support.channels import import_c, make_channel

from syncws.accel import pure_channel


@pytest.fixture(params=["c", "pure"])
def accel(request):
    """The classes, of one implementation."""
    module = pure_channel if request.param == "pure" else import_c()
    return types.SimpleNamespace(Channel=module.Channel, MessageQueue=module.MessageQueue)


@pytest.fixture
def make(accel):
    return lambda *messages, **kwargs: make_channel(accel, *messages, **kwargs)
