import base64
import hmac

import pytest
from support.asking import status
from support.pairs import SOON
from support.scripted import build_request, exchange
from support.serving import messages, serving

from syncws import InvalidStatus, Response, Router, basic_auth, bearer_auth, connect, serve

SECRET = "iloveyou"


@pytest.fixture(autouse=True)
def no_secret_in_the_log(caplog):
    caplog.set_level("DEBUG")
    yield
    assert SECRET not in caplog.text


def tell_username(ws):
    ws.send(f"{ws.username}")


def ask(process_request, *authorization):
    """What a server answers to a request with these Authorization headers."""
    value = "\r\nAuthorization: ".join(authorization) if authorization else None
    with serving(tell_username, process_request=process_request) as server:
        return exchange(server, build_request("/?token=secret", Authorization=value))


def username(process_request, authorization):
    """Who a server says it is that connects with this Authorization header."""
    headers = {} if authorization is None else {"Authorization": authorization}
    with (
        serving(tell_username, process_request=process_request) as server,
        connect(server.uri, additional_headers=headers) as ws,
    ):
        return ws.recv(SOON)


def basic(username, password):
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def test_without_authentication_nobody_has_a_name():
    assert username(None, basic("hello", SECRET)) == "None"


# --- Basic ---

USERS = {"hello": SECRET, "grüße": "pässword: 密码", "nobody": ""}


@pytest.mark.parametrize(
    "credentials",
    [USERS, list(USERS.items()), iter(USERS.items()), [list(pair) for pair in USERS.items()]],
)
def test_users_may_be_pairs_or_a_dict(credentials):
    process_request = basic_auth("realm", credentials)
    for name, password in USERS.items():
        assert username(process_request, basic(name, password)) == name
    assert status(ask(process_request, basic("hello", "pässword: 密码"))) == 401


def test_a_user_may_be_a_single_pair():
    process_request = basic_auth(credentials=("hello", SECRET))
    assert username(process_request, basic("hello", SECRET)) == "hello"


def test_credentials_of_the_uri_are_those():
    process_request = basic_auth(credentials=("hello", SECRET))
    with serving(tell_username, process_request=process_request) as server:
        with connect(server.uri.replace("://", f"://hello:{SECRET}@")) as ws:
            assert ws.recv(SOON) == "hello"
        with pytest.raises(InvalidStatus) as info:
            connect(server.uri)
    assert info.value.response.status_code == 401


@pytest.mark.parametrize(
    ("authorization", "text"),
    [
        ([], "needs a user name and a password"),
        ([f"Bearer {SECRET}"], "the scheme isn't Basic"),
        (["Basic"], "the credentials have no colon"),
        (["Basic !!!"], "the credentials aren't UTF-8 text in base64"),
        (["Basic /w=="], "the credentials aren't UTF-8 text in base64"),
        (["Basic " + base64.b64encode(SECRET.encode()).decode()], "have no colon"),
        ([basic("hello", SECRET), basic("hello", SECRET)], "there are several"),
        ([basic("hello", "")], "User name or password is wrong"),
        ([basic("hello", SECRET[:-1])], "User name or password is wrong"),
        ([basic("hello", f"{SECRET} ")], "User name or password is wrong"),
        ([basic("HELLO", SECRET)], "User name or password is wrong"),
        ([basic("", "")], "User name or password is wrong"),
        ([basic("", SECRET)], "User name or password is wrong"),
    ],
)
def test_who_has_no_valid_credentials_is_told_what_to_send(caplog, authorization, text):
    answer = ask(basic_auth('a "realm"', ("hello", SECRET)), *authorization)
    assert status(answer) == 401
    assert answer[1]["www-authenticate"] == r'Basic realm="a \"realm\"", charset="UTF-8"'
    assert text in answer[2].decode()
    assert SECRET not in answer[2].decode()
    (line,) = [line for line in messages(caplog) if "answered" in line]
    assert line.startswith("GET / from ('127.0.0.1'")
    assert line.endswith("answered with 401")


@pytest.mark.parametrize("name", ["hello", "unknown"])
def test_passwords_are_compared_in_constant_time_also_of_unknown_users(monkeypatch, name):
    def compare_digest(one, other):
        compared.append((type(one), type(other), len(one) == len(other)))
        return compare(one, other)

    compared = []
    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", compare_digest)
    for password in ("", SECRET, SECRET * 100):
        ask(basic_auth(credentials=("hello", SECRET)), basic(name, password))
    assert compared == [(bytes, bytes, True)] * 3


def test_a_function_may_check_credentials():
    def check(username, password):
        seen.append((username, password))
        return password == SECRET

    seen = []
    process_request = basic_auth("realm", check_credentials=check)
    assert username(process_request, basic("anybody", SECRET)) == "anybody"
    assert status(ask(process_request, basic("anybody", "wrong"))) == 401
    assert status(ask(process_request)) == 401
    assert seen == [("anybody", SECRET), ("anybody", "wrong")]


@pytest.mark.parametrize(
    ("args", "error", "reason"),
    [
        (("realm",), ValueError, "either credentials= or check_credentials="),
        (("realm", ("a", SECRET), print), ValueError, "either credentials= or"),
        (("realm", SECRET), TypeError, "a pair of user name and password"),
        (("realm", "ab"), TypeError, "a pair of user name and password"),
        (("realm", b"ab"), TypeError, "a pair of user name and password"),
        (("realm", 1), TypeError, "a pair of user name and password"),
        (("realm", ("a", SECRET.encode())), TypeError, "a pair of user name and password"),
        (("realm", [("a", SECRET, "b")]), TypeError, "a pair of user name and password"),
        (("realm", {"a": None}), TypeError, "a pair of user name and password"),
        (("realm", ("a:b", SECRET)), ValueError, "a user name with a colon"),
        (("realm", [("a", SECRET), ("a", "b")]), ValueError, "user 'a' is in credentials= twice"),
        (("re\nalm", ("a", SECRET)), ValueError, "realm"),
        (("密码", ("a", SECRET)), ValueError, "WWW-Authenticate"),
        (("realm", None, SECRET), TypeError, "check_credentials is a function"),
    ],
)
def test_wrong_arguments_are_refused_at_once_without_the_password(args, error, reason):
    with pytest.raises(error, match=reason) as info:
        basic_auth(*args)
    assert SECRET not in str(info.value) or args[-1] is SECRET


async def coroutine(*args):
    return True


@pytest.mark.parametrize(
    "make", [lambda: basic_auth(check_credentials=coroutine), lambda: bearer_auth(coroutine)]
)
def test_coroutine_functions_are_refused(make):
    with pytest.raises(TypeError, match="is a coroutine function"):
        make()


class Awaitable:
    def __await__(self):
        raise NotImplementedError


@pytest.mark.parametrize("check", [lambda *args: coroutine(*args), lambda *args: Awaitable()])
@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_a_coroutine_opens_no_door(caplog, check, kind):
    if kind == "basic":
        answer = ask(basic_auth(check_credentials=check), basic("hello", SECRET))
    else:
        answer = ask(bearer_auth(check), f"Bearer {SECRET}")
    assert status(answer) == 500
    assert "returned a coroutine; here it is a plain function" in caplog.text


@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_a_check_that_fails_is_500_and_logged_with_its_traceback(caplog, kind):
    def check(*args):
        raise ZeroDivisionError("the database")

    if kind == "basic":
        answer = ask(basic_auth(check_credentials=check), basic("hello", SECRET))
    else:
        answer = ask(bearer_auth(check), f"Bearer {SECRET}")
    assert status(answer) == 500
    assert b"database" not in answer[2]
    assert messages(caplog, "ERROR") == ["opening handshake failed"]
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.exc_info[0] is ZeroDivisionError


# --- Bearer ---


def token_of(name, token=SECRET):
    return lambda given: name if hmac.compare_digest(given, token) else None


@pytest.mark.parametrize(
    ("result", "expected"), [("hello", "hello"), (True, "None"), (["a", "b"], "None")]
)
def test_a_token_may_say_who_it_is(result, expected):
    assert username(bearer_auth(token_of(result)), f"Bearer {SECRET}") == expected
    assert username(bearer_auth(token_of(result)), f"bearer  {SECRET} ") == expected


def test_tokens_have_these_characters():
    token = "abyzABYZ0189-._~+/=="
    assert username(bearer_auth(token_of("hello", token)), f"Bearer {token}") == "hello"


REALM = r'Bearer realm="a \"realm\""'


@pytest.mark.parametrize(
    ("authorization", "code", "challenge"),
    [
        ([], 401, REALM),
        ([basic("hello", SECRET)], 401, REALM),
        ([SECRET], 401, REALM),
        (["Bearer"], 401, f'{REALM}, error="invalid_token"'),
        (["Bearer a b"], 401, f'{REALM}, error="invalid_token"'),
        (["Bearer a,b"], 401, f'{REALM}, error="invalid_token"'),
        (["Bearer \xe9"], 401, f'{REALM}, error="invalid_token"'),
        (["Bearer wrong"], 401, f'{REALM}, error="invalid_token"'),
        ([f"Bearer {SECRET}x"], 401, f'{REALM}, error="invalid_token"'),
        ([f"Bearer {SECRET}"] * 2, 400, f'{REALM}, error="invalid_request"'),
    ],
)
def test_who_has_no_valid_token_is_told_so(authorization, code, challenge):
    answer = ask(bearer_auth(token_of("hello"), 'a "realm"'), *authorization)
    assert status(answer) == code
    assert answer[1]["www-authenticate"] == challenge
    assert SECRET.encode() not in answer[2]


@pytest.mark.parametrize("result", [None, False, "", 0])
def test_what_is_not_true_is_no_access(result):
    assert status(ask(bearer_auth(lambda token: result), f"Bearer {SECRET}")) == 401


def test_the_realm_of_tokens_is_checked_at_once():
    with pytest.raises(ValueError, match="realm"):
        bearer_auth(print, "a\r\nb")
    with pytest.raises(ValueError, match="WWW-Authenticate"):
        bearer_auth(print, "密码")
    with pytest.raises(TypeError, match="check is a function"):
        bearer_auth({SECRET: "hello"}.keys())


# --- several functions ---


def test_of_several_functions_the_first_response_counts():
    def first(ws, request):
        seen.append("first")

    def second(ws, request):
        seen.append("second")
        return Response(403, "Forbidden", {}, b"second") if request.path == "/" else None

    def third(ws, request):
        seen.append("third")

    seen = []
    for functions in ([first, second, third], (first, second, third)):
        with serving(process_request=functions) as server:
            assert exchange(server, build_request())[2] == b"second"
            assert seen == ["first", "second"]
            assert status(exchange(server, build_request("/other"))) == 101
            assert seen[2:] == ["first", "second", "third"]
        seen.clear()


def test_there_may_be_no_functions_at_all():
    assert status(ask([])) == 101


@pytest.mark.parametrize("functions", [[None], [coroutine], "hello", 1, iter([print])])
def test_functions_of_a_wrong_type_are_refused(functions):
    with pytest.raises(TypeError, match="process_request"):
        serve(tell_username, process_request=functions)


def test_what_a_function_of_a_list_returns_is_checked(caplog):
    assert status(ask([lambda ws, request: (200, {}, b"")])) == 500
    assert "process_request returns a Response or None, not tuple" in caplog.text


def test_authentication_protects_all_that_a_router_has():
    router = Router()
    router.http("/health")(lambda request: "fine")
    router.route("/")(tell_username)
    process_request = [basic_auth("realm", ("hello", SECRET))]
    with serving(router, process_request=process_request) as server:
        for path in ("/", "/health", "/nowhere"):
            assert status(exchange(server, build_request(path))) == 401
        authorization = basic("hello", SECRET)
        for path, expected in (("/", 101), ("/health", 200), ("/nowhere", 404)):
            answer = exchange(server, build_request(path, Authorization=authorization))
            assert status(answer) == expected
