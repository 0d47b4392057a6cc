import pytest

from syncws.exceptions import InvalidHeaderFormat, InvalidHeaderValue, NegotiationError
from syncws.options import Deflate
from syncws.sansio.extensions.interface import Extension
from syncws.sansio.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from syncws.sansio.headers import Headers
from syncws.sansio.negotiation import (
    EXTENSIONS,
    SUBPROTOCOL,
    accept_extensions,
    agreed_extensions,
    agreed_subprotocol,
    offer_extensions,
    offered_subprotocols,
)


class Probe(Extension):
    def __init__(self, name, params):
        self.name, self.params = name, list(params)


class ProbeFactory:
    """Offers and accepts an extension; refuses those with the parameter "no"."""

    def __init__(self, name, *params):
        self.name, self.params, self.seen = name, list(params), []

    def get_request_params(self):
        return self.params

    def process_response_params(self, params, accepted_extensions):
        self.seen.append([extension.name for extension in accepted_extensions])
        if ("no", None) in params:
            raise NegotiationError(f"{self.name} refuses")
        return Probe(self.name, params)

    def process_request_params(self, params, accepted_extensions):
        return self.params, self.process_response_params(params, accepted_extensions)


def header(name, *values):
    return Headers([(name, value) for value in values])


def names(extensions):
    return [extension.name for extension in extensions]


# --- offering ---


def test_offer_lists_extensions_with_parameters():
    factories = [ProbeFactory("a", ("x", None), ("y", "1")), ProbeFactory("b")]
    assert offer_extensions(factories) == "a; x; y=1, b"
    assert offer_extensions([]) is None
    assert offer_extensions([ClientPerMessageDeflateFactory()]) == (
        "permessage-deflate; client_max_window_bits"
    )


# --- the client, told what was accepted ---


def test_client_without_an_answer_has_no_extensions():
    assert agreed_extensions(Headers(), [ProbeFactory("a")]) == []


@pytest.mark.parametrize("values", [["a; x=1, b"], ["a; x=1", "b"]])
def test_client_takes_accepted_extensions_in_their_order(values):
    factories = [ProbeFactory("b"), ProbeFactory("a")]
    extensions = agreed_extensions(header(EXTENSIONS, *values), factories)
    assert names(extensions) == ["a", "b"]
    assert extensions[0].params == [("x", "1")]
    assert factories[0].seen == [["a"]]


@pytest.mark.parametrize("offered", [[], ["b"]])
def test_client_refuses_what_it_did_not_offer(offered):
    factories = [ProbeFactory(name) for name in offered]
    with pytest.raises(NegotiationError, match="extension a was not offered"):
        agreed_extensions(header(EXTENSIONS, "a"), factories)


def test_client_refuses_parameters_that_do_not_fit():
    with pytest.raises(NegotiationError, match="a refuses"):
        agreed_extensions(header(EXTENSIONS, "a; no"), [ProbeFactory("a"), ProbeFactory("a")])


def test_client_finds_the_offer_that_was_accepted():
    offers = [
        ClientPerMessageDeflateFactory(Deflate(server_max_window_bits=10)),
        ClientPerMessageDeflateFactory(),
    ]
    (extension,) = agreed_extensions(header(EXTENSIONS, "permessage-deflate"), offers)
    assert extension.agreement == Deflate()


def test_client_refuses_a_header_that_is_no_list():
    with pytest.raises(InvalidHeaderFormat):
        agreed_extensions(header(EXTENSIONS, "a b"), [ProbeFactory("a")])


# --- the server, asked ---


def test_server_accepts_what_it_has_in_the_order_of_the_offer():
    factories = [ProbeFactory("b", ("z", "2")), ProbeFactory("a")]
    answer, extensions = accept_extensions(header(EXTENSIONS, "x, a; y", "b"), factories)
    assert answer == "a, b; z=2"
    assert names(extensions) == ["a", "b"]
    assert extensions[0].params == [("y", None)]
    assert factories[0].seen == [["a"]]


@pytest.mark.parametrize("values", [[], ["c"], ["a; no, c"]])
def test_server_that_accepts_nothing_sends_no_header(values):
    factories = [ProbeFactory("a"), ProbeFactory("a"), ProbeFactory("b")]
    assert accept_extensions(header(EXTENSIONS, *values), factories) == (None, [])


def test_server_takes_the_first_offer_that_fits():
    offers = "permessage-deflate; x, permessage-deflate; server_max_window_bits=9, "
    offers += "permessage-deflate"
    factories = [ServerPerMessageDeflateFactory(Deflate())]
    answer, (extension,) = accept_extensions(header(EXTENSIONS, offers), factories)
    assert answer == "permessage-deflate; server_max_window_bits=9"
    assert isinstance(extension, PerMessageDeflate)


def test_server_refuses_a_header_that_is_no_list_if_it_looks_at_it():
    with pytest.raises(InvalidHeaderFormat):
        accept_extensions(header(EXTENSIONS, "a b"), [ProbeFactory("a")])
    assert accept_extensions(header(EXTENSIONS, "a b"), []) == (None, [])


# --- subprotocols ---


@pytest.mark.parametrize(
    ("values", "offered"),
    [([], []), (["a, b"], ["a", "b"]), (["a", "b,c"], ["a", "b", "c"])],
)
def test_offered_subprotocols_are_in_order(values, offered):
    assert offered_subprotocols(header(SUBPROTOCOL, *values)) == offered


def test_offered_subprotocols_must_be_tokens():
    with pytest.raises(InvalidHeaderFormat):
        offered_subprotocols(header(SUBPROTOCOL, "a b"))


def test_client_takes_the_subprotocol_that_it_offered():
    assert agreed_subprotocol(header(SUBPROTOCOL, "b"), ["a", "b"]) == "b"
    assert agreed_subprotocol(Headers(), ["a", "b"]) is None
    assert agreed_subprotocol(Headers(), None) is None


@pytest.mark.parametrize("offered", [None, [], ["a"], ["B"]])
def test_client_refuses_a_subprotocol_that_it_did_not_offer(offered):
    with pytest.raises(NegotiationError, match="subprotocol b was not offered"):
        agreed_subprotocol(header(SUBPROTOCOL, "b"), offered)


@pytest.mark.parametrize("values", [[""], [" , "], ["", ""]])
def test_client_refuses_an_answer_that_names_no_subprotocol(values):
    with pytest.raises(InvalidHeaderValue, match="Sec-WebSocket-Protocol"):
        agreed_subprotocol(header(SUBPROTOCOL, *values), ["a", "b"])


@pytest.mark.parametrize("values", [["a, b"], ["a", "b"], ["a", "a"]])
def test_client_refuses_several_subprotocols(values):
    with pytest.raises(InvalidHeaderValue, match=r"several values: a, [ab]"):
        agreed_subprotocol(header(SUBPROTOCOL, *values), ["a", "b"])
