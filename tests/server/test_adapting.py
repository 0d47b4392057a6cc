import functools
import inspect

import pytest
from support.pairs import SOON
from support.serving import serving

from syncws import Router, connect, serve
from syncws.server.adapting import adapt_handler, adapt_select_subprotocol


class Connection:
    path = "/chat"


WS = Connection()


# --- handlers ---


def test_a_handler_takes_the_connection():
    assert adapt_handler(lambda ws: ("one", ws))(WS) == ("one", WS)


def test_a_handler_may_take_the_path_too():
    assert adapt_handler(lambda websocket, path: (websocket, path))(WS) == (WS, "/chat")


def test_the_path_may_have_another_name():
    assert adapt_handler(lambda ws, resource: resource)(WS) == "/chat"


def test_a_path_with_a_default_is_given_as_well():
    def handler(websocket, path=None):
        return path

    assert adapt_handler(handler)(WS) == "/chat"


def test_other_parameters_with_defaults_keep_them():
    def handler(ws, database="db", *, verbose=False):
        return database, verbose

    assert adapt_handler(handler)(WS) == ("db", False)


def test_a_handler_may_be_a_method_a_partial_an_object_or_a_class():
    class Handler:
        def __init__(self, ws=None):
            self.ws = ws

        def handle(self, ws, path):
            return path

        def __call__(self, ws):
            return "called"

    def with_database(database, ws):
        return database

    assert adapt_handler(Handler().handle)(WS) == "/chat"
    assert adapt_handler(functools.partial(with_database, "db"))(WS) == "db"
    assert adapt_handler(Handler())(WS) == "called"
    assert adapt_handler(Handler)(WS).ws is WS


def test_a_handler_may_take_anything():
    assert adapt_handler(lambda *args: args)(WS) == (WS,)


def test_a_handler_without_a_signature_gets_the_connection():
    with pytest.raises(ValueError, match="signature"):
        inspect.signature(type)
    assert adapt_handler(type)(WS) is Connection


@pytest.mark.parametrize("count", [0, 3])
def test_a_handler_that_takes_something_else_is_refused(count):
    names = ", ".join("abc"[:count])
    handler = eval(f"lambda {names}: None")
    with pytest.raises(TypeError, match="takes the connection, or connection and path"):
        adapt_handler(handler)


def test_a_handler_that_needs_a_keyword_is_refused():
    def handler(ws, *, database):
        pass

    with pytest.raises(TypeError, match="takes the connection"):
        adapt_handler(handler)


async def coroutine_handler(websocket):
    pass


async def generator_handler(websocket):
    yield


class CoroutineObject:
    async def __call__(self, websocket):
        pass

    async def handle(self, websocket):
        pass


COROUTINES = [
    coroutine_handler,
    generator_handler,
    CoroutineObject(),
    CoroutineObject().handle,
    functools.partial(coroutine_handler),
    functools.partial(CoroutineObject()),
]


@pytest.mark.parametrize("function", COROUTINES)
def test_a_coroutine_is_refused_wherever_a_function_is_expected(function):
    with pytest.raises(TypeError, match="a handler is a plain function: drop async and await"):
        serve(function)
    for name in ("process_request", "process_response", "select_subprotocol"):
        with pytest.raises(TypeError, match=f"{name} is a plain function"):
            serve(lambda ws: None, **{name: function})


def plain_generator(websocket):
    yield


class GeneratorObject:
    def __call__(self, websocket):
        yield

    def handle(self, websocket):
        yield


GENERATORS = [
    plain_generator,
    GeneratorObject(),
    GeneratorObject().handle,
    functools.partial(plain_generator),
    functools.partial(functools.partial(GeneratorObject())),
]


@pytest.mark.parametrize("function", GENERATORS)
def test_a_generator_is_refused_wherever_a_function_is_expected(function):
    with pytest.raises(TypeError, match="a handler is a plain function: drop yield"):
        serve(function)
    for name in ("process_request", "process_response", "select_subprotocol"):
        with pytest.raises(TypeError, match=f"{name} is a plain function"):
            serve(lambda ws: None, **{name: function})
    with pytest.raises(TypeError, match="process_request is a plain function"):
        serve(lambda ws: None, process_request=[lambda ws, request: None, function])
    for register in (Router().route, Router().http):
        with pytest.raises(TypeError, match="is a plain function: drop yield"):
            register("/")(function)


def test_the_error_names_the_function():
    with pytest.raises(TypeError, match="coroutine_handler is a coroutine function"):
        serve(coroutine_handler)


def test_no_handler_at_all_is_refused():
    with pytest.raises(TypeError, match="a handler is a function, not None"):
        serve(None)


@pytest.mark.parametrize("handler", [8765, "handler"])
def test_what_can_not_be_called_is_refused(handler):
    with pytest.raises(TypeError, match="a handler is a function, not"):
        serve(handler)
    with pytest.raises(TypeError, match="process_request is a function, not"):
        serve(lambda ws: None, process_request=handler)


# --- subprotocols ---


def test_no_choice_stays_none():
    assert adapt_select_subprotocol(None, ["a"]) is None


def test_the_choice_is_given_connection_and_offers():
    select = adapt_select_subprotocol(lambda ws, offered: (ws, offered), ["a"])
    assert select(WS, ["b"]) == (WS, ["b"])


def older_1(client_subprotocols, server_subprotocols):
    return client_subprotocols, server_subprotocols


def older_2(client_list, server_list):
    return client_list, server_list


def older_3(client, server):
    return client, server


def older_4(subprotocols, available):
    return subprotocols, available


@pytest.mark.parametrize("older", [older_1, older_2, older_3, older_4])
def test_the_older_form_is_given_both_lists(older):
    select = adapt_select_subprotocol(older, ("x", "y"))
    assert select(WS, ["b"]) == (["b"], ["x", "y"])


def test_the_older_form_is_asked_only_where_there_is_a_choice():
    assert adapt_select_subprotocol(older_1, ["x"])(WS, []) is None
    assert adapt_select_subprotocol(older_1, None)(WS, ["b"]) is None


@pytest.mark.parametrize(
    "select", [lambda ws, offered: offered[-1], lambda client, server: client[-1]]
)
def test_both_forms_choose(select):
    def handler(ws):
        chosen.append(ws.subprotocol)

    chosen = []
    names = ["a", "b"]
    with serving(handler, subprotocols=names, select_subprotocol=select) as server:
        ws = connect(server.uri, subprotocols=names)
        assert ws.subprotocol == "b"
        assert ws.wait_closed(SOON)
    assert chosen == ["b"]
