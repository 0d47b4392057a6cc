"""What is worth another try, and when it is made."""

import email.utils
import itertools
import random
import socket
import ssl
import time
from types import SimpleNamespace

import pytest

from syncws import (
    DuplicateParameter,
    Headers,
    InvalidHandshake,
    InvalidHeader,
    InvalidHeaderValue,
    InvalidMessage,
    InvalidProtocol,
    InvalidProxy,
    InvalidProxyMessage,
    InvalidProxyStatus,
    InvalidState,
    InvalidStatus,
    InvalidUpgrade,
    InvalidURI,
    MultipleValuesError,
    NegotiationError,
    ProxyError,
    Response,
    SecurityError,
    StatusLineTooLong,
    TooManyHeaders,
)
from syncws.client import retry
from syncws.client.retry import Pace, process_exception, retry_after

TEMPORARY_STATUSES = [408, 425, 429, 500, 502, 503, 504]

PERMANENT_STATUSES = [
    *(200, 204, 300, 301, 302, 303, 304, 307, 308),
    *(400, 401, 402, 403, 404, 405, 406, 407, 409, 410, 411, 414, 418, 421, 426, 428, 431, 451),
    *(501, 505, 506, 511, 520, 599),
]


def status(code, *retry_after, kind=InvalidStatus):
    """What is raised for a response with this status, and these headers Retry-After."""
    return kind(Response(code, "", Headers([("Retry-After", value) for value in retry_after])))


def caused(exc, cause):
    """An exception with its cause, as if it had been raised."""
    exc.__cause__ = cause
    return exc


def an_id(value):
    if isinstance(value, Exception):
        cause = value.__cause__
        return type(value).__name__ + ("" if cause is None else f"-{type(cause).__name__}")
    return None


# --- which failures ---

TEMPORARY = [
    OSError(101, "Network is unreachable"),
    OSError(113, "No route to host"),
    OSError(99, "Cannot assign requested address"),
    ConnectionRefusedError(111, "Connection refused"),
    ConnectionResetError(104, "Connection reset by peer"),
    ConnectionAbortedError(103, "Software caused connection abort"),
    BrokenPipeError(32, "Broken pipe"),
    TimeoutError("timed out during opening handshake"),
    socket.timeout("timed out"),  # another class before Python 3.10
    socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
    FileNotFoundError(2, "No such file or directory", "/run/socket"),
    ssl.SSLError(1, "wrong version number"),
    ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),
    ssl.SSLZeroReturnError(6, "TLS/SSL connection has been closed"),
    caused(InvalidMessage("no response"), EOFError("connection closed before the status line")),
    caused(InvalidProxyMessage("no response"), EOFError("connection closed after 1 headers")),
    ProxyError("the SOCKS proxy did not connect us"),
]


@pytest.mark.parametrize("exc", TEMPORARY, ids=an_id)
def test_what_may_be_over_by_itself_is_tried_again(exc):
    assert process_exception(exc) is None


def certificate_error():
    """An error about a certificate as OpenSSL raises it: some are ValueErrors as well."""
    exc = ssl.SSLCertVerificationError(1, "certificate verify failed")
    exc.verify_code, exc.verify_message = 18, "self-signed certificate"
    return exc


PERMANENT = [
    certificate_error(),
    ssl.CertificateError("hostname mismatch"),
    InvalidURI("http://localhost/", "it doesn't start with ws:// or wss://"),
    InvalidProxy("gopher://localhost/", "its scheme isn't known"),
    InvalidHandshake("refused"),
    SecurityError("redirect from wss:// to ws:// refused"),
    StatusLineTooLong(),
    TooManyHeaders("there are more than 128 headers"),
    InvalidMessage("not HTTP"),
    caused(InvalidMessage("not HTTP"), ValueError("malformed status line")),
    caused(InvalidMessage("not HTTP"), OSError(5, "Input/output error")),
    InvalidProxyMessage("the proxy sent 5 bytes after its response"),
    caused(InvalidProxyMessage("not HTTP"), ValueError("malformed status line")),
    InvalidProtocol("HTTP/2.0"),
    InvalidUpgrade("Upgrade", "h2c"),
    InvalidHeader("Sec-WebSocket-Accept"),
    InvalidHeaderValue("Location", "gopher://localhost/"),
    NegotiationError("unsupported subprotocol: chat"),
    DuplicateParameter("server_max_window_bits"),
    MultipleValuesError("Sec-WebSocket-Accept"),
    InvalidState("connection is connecting"),
    TypeError("ssl= is an ssl.SSLContext, not True"),
    ValueError("max_redirects can't be negative"),
    UnicodeError("label too long"),
    ImportError("SOCKS proxies need the package python-socks"),
    EOFError("of the program's own"),
    RuntimeError("of the program's own"),
    KeyError("of the program's own"),
    MemoryError(),
]


@pytest.mark.parametrize("exc", PERMANENT, ids=an_id)
def test_what_stays_until_somebody_changes_something_is_raised(exc):
    assert process_exception(exc) is exc


@pytest.mark.parametrize("kind", [InvalidStatus, InvalidProxyStatus])
@pytest.mark.parametrize("code", TEMPORARY_STATUSES)
def test_statuses_that_say_later_are_tried_again(code, kind):
    assert process_exception(status(code, kind=kind)) is None


@pytest.mark.parametrize("kind", [InvalidStatus, InvalidProxyStatus])
@pytest.mark.parametrize("code", PERMANENT_STATUSES)
def test_other_statuses_are_raised(code, kind):
    exc = status(code, kind=kind)
    assert process_exception(exc) is exc


def test_no_status_is_forgotten():
    worth = [code for code in range(100, 1000) if process_exception(status(code)) is None]
    assert worth == TEMPORARY_STATUSES


# --- Retry-After ---


def http_date(seconds):
    """The date, as HTTP has it, so many seconds from now; whole ones."""
    return email.utils.formatdate(int(time.time()) + seconds, usegmt=True)


@pytest.mark.parametrize("kind", [InvalidStatus, InvalidProxyStatus])
@pytest.mark.parametrize("code", [429, 503])
@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0.0), ("1", 1.0), ("007", 7.0), ("120", 120.0), ("3599", 3599.0), ("3600", 3600.0)],
)
def test_seconds_are_taken_from_busy_servers(code, kind, value, seconds):
    assert retry_after(status(code, value, kind=kind)) == seconds


@pytest.mark.parametrize("value", ["3601", "86400", "9" * 400, "9" * 5000])
def test_nobody_waits_longer_than_an_hour(value):
    assert retry_after(status(503, value)) == 3600


def test_dates_are_taken_too():
    assert 98 < retry_after(status(503, http_date(100))) <= 100


def test_dates_that_are_far_away_are_an_hour():
    assert retry_after(status(503, http_date(1_000_000))) == 3600
    assert retry_after(status(503, "Fri, 31 Dec 9999 23:59:59 GMT")) == 3600


@pytest.mark.parametrize("date", ["Sun, 06 Nov 1994 08:49:37 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_dates_in_the_past_are_now(date):
    assert retry_after(status(503, date)) == 0


@pytest.fixture(params=["UTC0", "EST5", "IST-5:30"])
def time_zone(request, monkeypatch):
    """Where we are."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("time_zone")
@pytest.mark.parametrize(
    "form",
    [
        "%a, %d %b %Y %H:%M:%S GMT",
        "%A, %d-%b-%y %H:%M:%S GMT",
        "%a %b %d %H:%M:%S %Y",
    ],
    ids=["IMF-fixdate", "RFC 850", "asctime"],
)
def test_every_form_of_a_date_is_in_gmt_wherever_we_are(form):  # RFC 9110 §5.6.7
    value = time.strftime(form, time.gmtime(int(time.time()) + 100))
    assert 98 < retry_after(status(503, value)) <= 100


GARBAGE = [
    *("", "soon", "-1", "-120", "+5", "1.5", "0x10", "1e3", "1 2", "5 seconds", "5;q=1", "\xb2"),
    *("Sun", "GMT", ",", ":", "Sun,", "1994-11-06T08:49:37Z", "Sun, 32 Nov 1994 08:49:37 GMT"),
    *("Sun, 06 Nov 1994 25:61:61 GMT", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 0000 0:0:0"),
    "Sun, 06 Nov 99999999999999999999 08:49:37 GMT",
]


@pytest.mark.parametrize("value", GARBAGE)
def test_what_is_neither_asks_for_nothing(value):
    assert retry_after(status(503, value)) == 0


def test_no_text_can_make_it_fail():
    tokens = ["Sun", "Sunday", ",", "06", "Nov", "1994", "08:49:37", "GMT", "-0000", "+9999"]
    tokens += ["99999", "0", "-", "::", ":", ".", " ", "  ", "(", "-1", "32", "25:61:61", "\t"]
    rng = random.Random(1)
    for length in itertools.islice(itertools.cycle(range(10)), 20_000):
        value = "".join(rng.choice(tokens) + rng.choice(["", " ", ","]) for _ in range(length))
        assert 0 <= retry_after(status(503, value.strip())) <= 3600, value
    assert retry_after(status(503, "Nov 25:61:61,-1,\t, 25:61:61")) == 0


def test_of_several_headers_one_counts():
    assert retry_after(status(503, "5", "7")) == 7
    assert retry_after(status(503, "5", "soon")) == 0


@pytest.mark.parametrize("code", [200, 301, 404, 408, 425, 500, 502, 504])
def test_other_statuses_ask_for_nothing(code):
    assert retry_after(status(code, "120")) == 0


@pytest.mark.parametrize("code", [429, 503])
def test_no_header_asks_for_nothing(code):
    assert retry_after(status(code)) == 0


@pytest.mark.parametrize("exc", [OSError("120"), TimeoutError(), InvalidHandshake("120")])
def test_other_failures_ask_for_nothing(exc):
    assert retry_after(exc) == 0


# --- delays ---


@pytest.fixture
def draws(monkeypatch):
    """The ranges from which random numbers were drawn; each is the largest there is."""
    ranges = []

    def uniform(low, high):
        ranges.append((low, high))
        return high

    monkeypatch.setattr(random, "uniform", uniform)
    return ranges


def test_delays_are_drawn_from_a_range_that_doubles_up_to_a_minute(draws):
    assert list(itertools.islice(retry.backoff(), 10)) == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert draws == [(0, high) for high in (1, 2, 4, 8, 16, 32, 60, 60, 60, 60)]


def test_each_outage_begins_with_short_delays(draws):
    for _ in range(3):
        assert list(itertools.islice(retry.backoff(), 3)) == [1, 2, 4]


def test_delays_never_end():
    assert all(0 <= delay <= 60 for delay in itertools.islice(retry.backoff(), 5000))


def test_delays_are_really_random_over_the_whole_range():
    # Each of 10 tenths is missed by all of 1000 draws once in 10^44 times.
    firsts = [next(retry.backoff()) for _ in range(1000)]
    assert {int(delay * 10) for delay in firsts} == set(range(10))
    assert len(set(firsts)) > 990
    seventh = [next(itertools.islice(retry.backoff(), 6, None)) for _ in range(1000)]
    assert {int(delay / 6) for delay in seventh} == set(range(10))


# --- pace ---

FAILURE = ConnectionRefusedError(111, "Connection refused")


def failures(pace, count):
    return [pace.after_failure(FAILURE) for _ in range(count)]


def test_delays_are_used_one_after_the_other():
    assert failures(Pace([1.0, 2.0, 4.0], None), 3) == [1, 2, 4]


def test_the_failure_for_which_no_delay_is_left_is_raised():
    pace = Pace([1.0, 2.0], None)
    failures(pace, 2)
    last = TimeoutError("the last one")
    with pytest.raises(TimeoutError) as info:
        pace.after_failure(last)
    assert info.value is last


def test_no_delays_are_one_attempt():
    with pytest.raises(ConnectionRefusedError):
        Pace([], None).after_failure(FAILURE)


@pytest.mark.parametrize("most", [1, 2, 5])
def test_after_max_attempts_failures_the_last_is_raised(most):
    pace = Pace(itertools.repeat(0.0), most)
    assert failures(pace, most - 1) == [0] * (most - 1)
    last = TimeoutError("the last one")
    with pytest.raises(TimeoutError) as info:
        pace.after_failure(last)
    assert info.value is last


def test_failures_that_can_be_any_number_are():
    assert failures(Pace(itertools.repeat(0.0), None), 1000) == [0] * 1000


def test_after_success_delays_and_attempts_begin_anew():
    pace = Pace([1.0, 2.0], 3)
    for _ in range(3):
        assert failures(pace, 2) == [1, 2]
        pace.reset()


def test_a_function_is_asked_for_delays_once_in_each_outage():
    asked = []

    def delays():
        asked.append(True)
        return iter([1.0, 2.0, 3.0])

    pace = Pace(delays, None)
    assert not asked
    assert failures(pace, 3) == [1, 2, 3]
    assert len(asked) == 1
    pace.reset()
    pace.reset()
    assert len(asked) == 1
    assert failures(pace, 2) == [1, 2]
    assert len(asked) == 2


def test_a_generator_function_may_give_delays():
    def delays():
        yield 1.5
        yield 2.5

    pace = Pace(delays, None)
    for _ in range(2):
        assert failures(pace, 2) == [1.5, 2.5]
        pace.reset()


@pytest.mark.parametrize("delays", [(1, 2), [1, 2], range(1, 3), {1: None, 2: None}])
def test_anything_that_can_be_iterated_over_again_is_for_each_outage(delays):
    pace = Pace(delays, None)
    for _ in range(2):
        assert failures(pace, 2) == [1, 2]
        pace.reset()


def test_an_iterator_is_used_up_over_all_outages():
    pace = Pace(iter([1.0, 2.0, 3.0]), None)
    assert failures(pace, 2) == [1, 2]
    pace.reset()
    assert failures(pace, 1) == [3]
    with pytest.raises(ConnectionRefusedError):
        pace.after_failure(FAILURE)


def test_the_longer_delay_counts_ours_or_the_servers():
    busy = status(503, "5")
    pace = Pace([1.0, 10.0, 0.0], None)
    assert [pace.after_failure(busy) for _ in range(3)] == [5, 10, 5]


def test_retry_after_takes_the_place_of_one_delay():
    pace = Pace([1.0, 2.0], None)
    assert pace.after_failure(status(503, "5")) == 5
    assert pace.after_failure(FAILURE) == 2


def test_retry_after_does_not_make_attempts_more():
    with pytest.raises(InvalidStatus):
        Pace([], None).after_failure(status(503, "5"))
    with pytest.raises(InvalidStatus):
        Pace([1.0], 1).after_failure(status(503, "5"))


def test_a_useless_connection_takes_a_delay_of_the_same_outage():
    pace = Pace([1.0, 2.0, 4.0], None)
    assert pace.after_failure(FAILURE) == 1
    assert pace.after_useless() == 2
    assert pace.after_failure(FAILURE) == 4


def test_a_useless_connection_is_not_a_failure_to_connect():
    pace = Pace(itertools.repeat(0.0), 2)
    for _ in range(3):
        pace.after_failure(FAILURE)
        pace.after_useless()


def test_a_useless_connection_is_never_followed_by_another_at_once():
    pace = Pace([1.0], None)
    assert pace.after_useless() == 1
    assert pace.after_useless() > 0


def test_delays_are_not_taken_before_they_are_needed():
    taken = []

    def delays():
        for number in range(3):
            taken.append(number)
            yield number

    pace = Pace(delays, 5)
    assert taken == []
    failures(pace, 2)
    assert taken == [0, 1]


def test_what_the_programs_function_raises_is_raised():
    broken = SimpleNamespace(__iter__=None)
    with pytest.raises(ZeroDivisionError):
        Pace(lambda: 1 / 0, None).after_failure(FAILURE)
    with pytest.raises(TypeError):
        Pace(lambda: broken, None).after_failure(FAILURE)
