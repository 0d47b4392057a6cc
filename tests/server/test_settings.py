"""Options of servers: named where programs see them, and once more where they are checked."""

import dataclasses
import inspect

import pytest

from syncws import serve
from syncws.integrations.wsgi import Gateway
from syncws.options import Options
from syncws.server.settings import SETTINGS, make_settings, select_settings

# What only a server that accepts by itself has.
NOT_FOR_GATEWAYS = {"router", "process_request", "process_response", "max_body_size"}


def defaults(function):
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.name in SETTINGS}


def test_settings_have_the_defaults_that_serve_has():
    ours = {**make_settings.__kwdefaults__, **dataclasses.asdict(Options())}
    del ours["router"]
    assert defaults(serve) == ours


def test_a_gateway_has_the_defaults_of_a_server():
    theirs = defaults(serve)
    ours = defaults(Gateway)
    assert set(theirs) - set(ours) == NOT_FOR_GATEWAYS - {"router"}
    assert {name for name in ours if ours[name] != theirs[name]} == {"max_header_size"}


def test_options_of_other_things_are_left_alone():
    assert select_settings({"host": "localhost", "max_size": 1}) == {"max_size": 1}


@pytest.mark.parametrize("name", ["host", "max_sizes"])
def test_there_are_no_other_settings(name):
    with pytest.raises(TypeError, match=name):
        make_settings(**{name: 1})


def test_each_option_of_serve_has_its_effect():
    given = {"max_size": 5, "max_queue": 7, "ping_interval": 3, "server_header": None}
    settings = make_settings(**given)
    assert settings.make_protocol().max_message_size == 5
    assert (settings.options.max_queue, settings.options.ping_interval) == (7, 3)
    assert settings.upgrade.server_header is None
