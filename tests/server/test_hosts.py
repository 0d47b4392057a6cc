import pytest
from support.asking import status
from support.pairs import SOON
from support.scripted import build_request, exchange
from support.serving import messages, serving

from syncws import InvalidStatus, Router, ServerConnection, connect, serve, unix_connect, unix_serve


@pytest.fixture(autouse=True)
def info(caplog):
    caplog.set_level("INFO")


def ask(request, **kwargs):
    with serving(lambda ws: ws.send(str(ws.requested_host)), **kwargs) as server:
        return exchange(server, request)


HOSTS = ["example.com", "*.example.org:8765", "127.0.0.1", "::1"]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("example.com", 101),
        ("Example.com:1", 101),
        ("127.0.0.1:8765", 101),
        ("[::1]", 101),
        ("a.b.example.org:8765", 101),
        ("a.example.org", 421),
        ("evil.example", 421),
        ("localhost", 421),
        ("user@example.com", 400),
        ("", 400),
        (None, 400),
    ],
)
def test_hosts_are_those_that_are_listed(host, expected):
    assert status(ask(build_request(Host=host), hosts=HOSTS)) == expected


def test_all_hosts_are_accepted_by_default():
    for host in ("evil.example", "", "a b"):
        assert status(ask(build_request(Host=host))) == 101


def test_the_host_of_an_absolute_target_counts():
    # RFC 9112 §3.2.2
    request = build_request("http://evil.example/", Host="example.com")
    assert status(ask(request, hosts=HOSTS)) == 421
    request = build_request("http://example.com/", Host="evil.example")
    assert status(ask(request, hosts=HOSTS)) == 101


def test_connections_know_which_host_was_asked_for():
    def create_connection(*args, **kwargs):
        ws = ServerConnection(*args, **kwargs)
        before.append(ws.requested_host)
        return ws

    def handler(ws):
        ws.send(ws.requested_host)

    before = []
    with serving(handler, hosts=["127.0.0.1"], create_connection=create_connection) as server:
        ws = connect(server.uri)
        assert ws.recv(SOON) == f"127.0.0.1:{server.port}"
    assert before == [None]


def test_a_unix_socket_may_have_hosts_too(tmp_path):
    path = str(tmp_path / "socket")
    with unix_serve(lambda ws: None, path, hosts=["localhost"]):
        unix_connect(path, "ws://localhost/").close()
        with pytest.raises(InvalidStatus) as info:
            unix_connect(path, "ws://evil.example/")
    assert info.value.response.status_code == 421


@pytest.mark.parametrize("host", ["evil.example", "a b", None])
def test_nothing_of_the_program_runs_for_other_hosts(caplog, host):
    def never(*args, **kwargs):
        raise AssertionError("it ran")

    router = Router()
    router.http("/")(never)
    answer = None
    with serving(
        router,
        hosts=HOSTS,
        process_request=[never],
        process_response=never,
        extra_headers=never,
        select_subprotocol=never,
    ) as server:
        answer = exchange(server, build_request(Host=host, Upgrade=None))
    assert status(answer) == (421 if host == "evil.example" else 400)
    assert answer[1]["connection"] == "close"
    assert {"date", "server"} <= set(answer[1])
    assert not messages(caplog, "ERROR")
    if host == "evil.example":
        assert "refused: host 'evil.example' isn't served here" in caplog.text
        assert b"host 'evil.example' isn't served here" in answer[2]


def test_a_request_without_a_host_is_refused_in_any_case():
    # RFC 9112 §3.2
    router = Router()
    router.http("/")(lambda request: "never")
    with serving(router) as server:
        assert status(exchange(server, build_request(Host=None, Upgrade=None))) == 400


@pytest.mark.parametrize(
    ("hosts", "error"),
    [("example.com", TypeError), ([1], TypeError), ([], ValueError), (["a b"], ValueError)],
)
def test_wrong_hosts_are_refused_at_once(hosts, error):
    with pytest.raises(error, match="host"):
        serve(print, hosts=hosts)


# --- what the browser says ---


@pytest.mark.parametrize(
    ("site", "origin", "expected"),
    [
        ("same-origin", "https://public.example", 101),
        ("cross-site", "http://localhost", 403),
        ("same-site", "http://localhost", 403),
        ("cross-site", None, 403),
        ("none", "http://localhost", 101),
        ("none", "https://public.example", 403),
    ],
)
def test_the_browser_says_whether_it_is_the_same_origin(site, origin, expected):
    assert status(ask(build_request(Origin=origin, Sec_Fetch_Site=site))) == expected


def test_the_log_says_what_the_browser_said_and_what_would_accept_it(caplog):
    request = build_request(Origin="http://localhost", Sec_Fetch_Site="cross-site")
    assert status(ask(request)) == 403
    assert messages(caplog, "WARNING") == [
        "connection from origin http://localhost (cross-site) to host localhost refused; "
        "origins=['http://localhost'] would accept it"
    ]
    assert status(ask(request, origins=["http://localhost"])) == 101
