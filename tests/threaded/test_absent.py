"""Attributes that aren't there say what to use instead, and show up nowhere."""

import abc
import inspect
import pydoc
import rlcompleter
import sys

import pytest

import syncws
from syncws.server.threading_server import HINTS as SERVER_HINTS
from syncws.styles.tornado.request_handler import HINTS as HANDLER_HINTS
from syncws.styles.tornado.request_handler import RequestHandler
from syncws.testing import pair
from syncws.threaded.absent import CONNECTION_HINTS, explain_absence

CLASSES = [
    (syncws.Connection, CONNECTION_HINTS),
    (syncws.ClientConnection, CONNECTION_HINTS),
    (syncws.ServerConnection, CONNECTION_HINTS),
    (syncws.ThreadingServer, SERVER_HINTS),
    (RequestHandler, HANDLER_HINTS),
]


@pytest.fixture
def ws():
    with pair() as (client, _):
        yield client


@pytest.mark.parametrize(("cls", "hints"), CLASSES)
def test_what_is_not_there_is_in_no_listing(cls, hints):
    assert hints
    assert set(hints).isdisjoint(dir(cls))
    for base in cls.__mro__:
        assert set(hints).isdisjoint(vars(base))


@pytest.mark.parametrize(("cls", "hints"), CLASSES)
def test_what_is_not_there_is_on_no_help_page(cls, hints):
    page = pydoc.render_doc(cls, renderer=pydoc.plaintext)
    lines = {line.strip(" |").partition("(")[0].partition(" =")[0] for line in page.splitlines()}
    assert "__init__" in lines
    assert set(hints).isdisjoint(lines)


@pytest.mark.parametrize("name", sorted(CONNECTION_HINTS))
def test_what_is_not_there_is_not_completed(name, ws):
    complete = rlcompleter.Completer({"ws": ws}).complete
    offered = []
    while (found := complete(f"ws.{name[0]}", len(offered))) is not None:
        offered.append(found.rstrip("()"))
    assert f"ws.{name}" not in offered
    assert not hasattr(ws, name)


def test_what_is_there_is_completed(ws):
    complete = rlcompleter.Completer({"ws": ws}).complete
    assert complete("ws.recv_s", 0).startswith("ws.recv_streaming")


def test_a_server_explains_what_it_does_not_have():
    with syncws.serve(print, "127.0.0.1", 0) as server:
        assert not hasattr(server, "websockets")
        with pytest.raises(AttributeError) as info:
            server.websockets  # noqa: B018
    assert str(info.value) == "ThreadingServer has no attribute 'websockets'; use connections"


def test_other_names_fail_as_usual(ws):
    with pytest.raises(AttributeError) as info:
        ws.sendd  # noqa: B018
    assert str(info.value) == "'ClientConnection' object has no attribute 'sendd'"
    if sys.version_info >= (3, 10):  # from these Python guesses what was meant
        assert (info.value.name, info.value.obj) == ("sendd", ws)


class Base:
    pass


@explain_absence({"gone": "use here"})
class Thing(Base):
    here = 1

    @property
    def broken(self):
        return self.inner  # an error of its own


def test_the_class_says_the_same():
    with pytest.raises(AttributeError, match=r"^Thing has no attribute 'gone'; use here$"):
        Thing.gone  # noqa: B018


def test_a_method_that_overrides_one_that_is_not_there_hears_so():
    class Own(Thing):
        def gone(self):
            return super().gone()

    with pytest.raises(AttributeError, match=r"^Own has no attribute 'gone'; use here$"):
        Own().gone()


def test_an_error_inside_a_property_is_the_one_that_is_seen():
    with pytest.raises(AttributeError, match=r"^'Thing' object has no attribute 'inner'$"):
        Thing().broken  # noqa: B018


def test_a_subclass_may_have_what_the_class_does_not():
    class Own(Thing):
        gone = 2

    assert Own().gone == 2
    assert "gone" in dir(Own)
    thing = Thing()
    thing.gone = 3
    assert thing.gone == 3
    assert "gone" in dir(thing)


def test_a_subclass_may_find_attributes_itself():
    class Own(Thing):
        def __getattr__(self, name):
            return f"its own {name}"

    assert (Own().here, Own().gone, Own().other) == (1, "its own gone", "its own other")


def test_a_subclass_may_be_abstract():
    class Own(syncws.ClientConnection, abc.ABC):
        @abc.abstractmethod
        def on_message(self, message):
            pass

    assert type(syncws.ClientConnection) is type
    assert inspect.isabstract(Own)
    assert "loop" not in dir(Own)
