import contextlib
import os
import socket
import ssl
import threading

import pytest
from support.certificates import client_context, contexts, server_context
from support.pairs import SOON, run
from support.scripted import nothing_left, scripted_server, silent
from support.serving import assert_works, echo, serving

from syncws import connect, serve, unix_connect, unix_serve
from syncws.client import dial, resolver
from syncws.threaded.deadline import Deadline


@contextlib.contextmanager
def full_backlog(listener):
    """Keep a listener from taking another connection: it looks like one that is never there."""
    pending = []
    for _ in range(3):
        sock = socket.socket(listener.family)
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.connect(listener.getsockname())
        pending.append(sock)
    try:
        yield listener.getsockname()
    finally:
        for sock in pending:
            sock.close()


@pytest.fixture
def dead_address():
    """An address where connecting takes forever."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        with full_backlog(listener) as address:
            yield address


@pytest.fixture
def closed_port():
    """A port that nobody listens on, and that nobody else gets."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def answering(*addresses):
    """A getaddrinfo() that knows these addresses only."""
    entries = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in addresses]
    return lambda host, port, **kwargs: entries


@pytest.fixture
def server():
    with serving() as server:
        yield server


# --- addresses ---


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_uris_have_addresses(host):
    with serving(host=host) as server:
        assert_works(connect(server.uri))


def test_uris_have_names():
    with serving(host="localhost") as server:
        assert_works(connect(f"ws://localhost:{server.port}/"))


def test_all_addresses_of_a_name_are_tried(monkeypatch, server, closed_port):
    monkeypatch.setattr(
        socket, "getaddrinfo", answering(("127.0.0.1", closed_port), ("127.0.0.1", server.port))
    )
    assert_works(connect("ws://two.example/"))


def test_another_host_and_port_can_be_connected_to(server):
    with connect("ws://example.com/", host="127.0.0.1", port=server.port) as ws:
        assert ws.request.headers["Host"] == "example.com"
        assert ws.remote_address == ("127.0.0.1", server.port)
        assert_works(ws)


def test_the_host_alone_keeps_the_port_of_the_uri(server):
    assert_works(connect(f"ws://example.com:{server.port}/", host="127.0.0.1"))


def test_the_port_alone_keeps_the_host_of_the_uri(server):
    assert_works(connect("ws://127.0.0.1/", port=server.port))


def test_the_source_address_can_be_chosen(server):
    with connect(server.uri, source_address=("127.0.0.2", 0)) as ws:
        assert ws.local_address[0] == "127.0.0.2"


def test_a_refused_connection_is_an_error_that_says_where(closed_port):
    with nothing_left(), pytest.raises(ConnectionRefusedError) as info:
        connect(f"ws://127.0.0.1:{closed_port}/")
    assert str(info.value).endswith(f"Connection refused: '127.0.0.1 port {closed_port}'")
    assert isinstance(info.value.__cause__, ConnectionRefusedError)


def test_a_source_address_that_is_not_ours_is_an_error(server):
    with nothing_left(), pytest.raises(OSError, match=r"'127\.0\.0\.1 port \d+'"):
        connect(server.uri, source_address=("192.0.2.1", 0))


def test_a_name_that_is_not_known_is_an_error(monkeypatch):
    def unknown(host, port, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with nothing_left(), pytest.raises(socket.gaierror, match="not known"):
        connect("ws://unknown.example/")


def test_small_frames_go_out_at_once(server):
    with connect(server.uri) as ws:
        assert ws._transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# --- time ---


def test_connecting_takes_open_timeout_at_most(dead_address):
    with nothing_left(), pytest.raises(TimeoutError, match="timed out while connecting to 127"):
        connect("ws://{}:{}/".format(*dead_address), open_timeout=0.1)


def test_looking_up_a_name_takes_open_timeout_at_most(monkeypatch):
    def stuck(host, port, *, flags=0, **kwargs):
        if flags:
            raise socket.gaierror(socket.EAI_NONAME, "not an address")
        released.wait(SOON)
        return []

    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", stuck)
    with nothing_left():
        with pytest.raises(TimeoutError, match=r"timed out while connecting to slow.example"):
            connect("ws://slow.example/", open_timeout=0.1)
        released.set()


def test_an_address_that_does_not_answer_leaves_time_for_the_next(
    monkeypatch, server, dead_address
):
    monkeypatch.setattr(socket, "getaddrinfo", answering(dead_address, ("127.0.0.1", server.port)))
    assert_works(connect("ws://two.example/", open_timeout=1))


def test_no_time_at_all_is_a_timeout(server):
    with nothing_left(), pytest.raises(TimeoutError):
        connect(server.uri, open_timeout=0)


def test_open_timeout_may_be_unlimited(server):
    assert_works(connect(server.uri, open_timeout=None))


def test_a_server_that_says_nothing_in_tls_is_a_timeout():
    refused = pytest.raises(TimeoutError, match="timed out during the TLS handshake")
    with scripted_server(silent) as server, nothing_left(), refused:
        connect(f"wss://localhost:{server.port}/", ssl=client_context(), open_timeout=0.1)


# --- sock= ---


def test_a_connected_socket_can_be_used(server):
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=SOON)
    with connect("ws://example.com/", sock=sock) as ws:
        assert ws.request.headers["Host"] == "example.com"
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert_works(ws)
    assert sock.fileno() == -1


def test_tls_goes_over_a_connected_socket():
    server_tls, client_tls = contexts()
    with serving(ssl=server_tls) as server:
        sock = socket.create_connection(("127.0.0.1", server.port))
        assert_works(connect("wss://localhost/", sock=sock, ssl=client_tls))


def test_a_socket_that_is_not_connected_is_an_error():
    with nothing_left(), pytest.raises(OSError, match=r"(?i)pipe|not connected"):
        connect("ws://localhost/", sock=socket.socket())


@pytest.mark.parametrize(
    "kwargs", [{"host": "localhost"}, {"port": 80}, {"source_address": ("127.0.0.1", 0)}]
)
def test_a_connected_socket_has_its_addresses(kwargs):
    with socket.socket() as sock, pytest.raises(ValueError, match="sock= is connected already"):
        connect("ws://localhost/", sock=sock, **kwargs)


def test_a_socket_that_is_not_one_is_refused():
    with pytest.raises(TypeError, match="sock= is a socket, not str"):
        connect("ws://localhost/", sock="localhost:80")


def test_a_socket_with_tls_is_refused():
    left, right = socket.socketpair()
    with left, right:
        tls = client_context().wrap_socket(
            left, server_hostname="localhost", do_handshake_on_connect=False
        )
        with tls, pytest.raises(TypeError, match="sock= is the plain socket"):
            connect("wss://localhost/", sock=tls)


# --- TLS ---


def test_wss_uses_the_given_authorities():
    server_tls, client_tls = contexts()
    with serving(ssl=server_tls, host="localhost") as server:
        assert server.uri == f"wss://localhost:{server.port}/"
        with connect(server.uri, ssl=client_tls) as ws:
            assert ws.secure
            assert_works(ws)


def test_wss_trusts_nobody_else_by_default():
    refused = pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer")
    with serving(ssl=contexts()[0]) as server, nothing_left(), refused:
        connect(f"wss://localhost:{server.port}/")


def test_wss_checks_the_host_name():
    refused = pytest.raises(ssl.SSLCertVerificationError, match=r"(?i)hostname mismatch")
    with serving(ssl=server_context("example.com")) as server, nothing_left(), refused:
        connect(f"wss://localhost:{server.port}/", ssl=client_context())


def test_wss_checks_addresses():
    with serving(ssl=server_context("127.0.0.1")) as server:
        assert_works(connect(server.uri, ssl=client_context()))


def test_another_host_name_can_be_checked_and_asked_for():
    asked = []
    context = server_context("example.com")
    context.sni_callback = lambda tls, name, context: asked.append(name)
    with serving(ssl=context) as server:
        ws = connect(
            f"wss://localhost:{server.port}/",
            ssl=client_context(),
            server_hostname="example.com",
        )
        assert_works(ws)
    assert asked == ["example.com"]


def test_a_server_without_tls_fails_the_tls_handshake(server):
    with nothing_left(), pytest.raises(ssl.SSLError):
        connect(f"wss://127.0.0.1:{server.port}/", ssl=client_context())


@pytest.mark.parametrize("keyword", ["ssl", "server_hostname"])
def test_tls_arguments_need_a_wss_uri(keyword):
    with pytest.raises(ValueError, match=f"{keyword}= is for wss://"):
        connect("ws://localhost/", **{keyword: "x" if keyword != "ssl" else client_context()})


def test_ssl_is_a_context():
    with pytest.raises(TypeError, match=r"ssl= is an ssl.SSLContext, not True"):
        connect("wss://localhost/", ssl=True)


# --- Unix sockets ---


@pytest.fixture
def unix_server(tmp_path):
    with unix_serve(echo, tmp_path / "ws") as server:
        yield server, tmp_path / "ws"


def test_unix_sockets_are_connected_to(unix_server):
    with unix_connect(unix_server[1]) as ws:
        assert ws.request.headers["Host"] == "localhost"
        assert ws.path == "/"
        assert_works(ws)


def test_unix_connect_takes_a_uri_and_what_connect_takes(unix_server):
    path = os.fspath(unix_server[1])
    with unix_connect(path, "ws://example.com/chat", compression=None) as ws:
        assert ws.request.headers["Host"] == "example.com"
        assert ws.path == "/chat"
        assert ws.extensions == []


def test_unix_connect_takes_a_connected_socket(unix_server):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(os.fspath(unix_server[1]))
    assert_works(unix_connect(sock=sock))


def test_unix_sockets_can_have_tls(tmp_path):
    server_tls, client_tls = contexts()
    path = tmp_path / "ws"
    with unix_serve(echo, path, ssl=server_tls), unix_connect(path, ssl=client_tls) as ws:
        assert ws.secure
        assert_works(ws)


@pytest.mark.parametrize("kwargs", [{"host": "localhost"}, {"port": 80}, {"proxy": "http://proxy"}])
def test_a_unix_socket_is_where_it_is(tmp_path, kwargs):
    with pytest.raises(ValueError, match=f"{next(iter(kwargs))}= is not for Unix sockets"):
        unix_connect(tmp_path / "ws", **kwargs)


@pytest.mark.parametrize("both", [True, False])
def test_unix_connect_takes_a_path_or_a_socket(both):
    left, right = socket.socketpair()
    with left, right, pytest.raises(ValueError, match="either path= or sock="):
        unix_connect(*(["path"] if both else []), sock=left if both else None)


def test_a_unix_socket_that_is_not_there_is_an_error_that_says_where(tmp_path):
    with nothing_left(), pytest.raises(FileNotFoundError, match="nowhere"):
        unix_connect(tmp_path / "nowhere")


def test_wrong_arguments_of_unix_connect_leave_nothing_behind(unix_server):
    with nothing_left():
        for kwargs in ({"max_size": -1}, {"subprotocols": "x"}, {"unknown": 1}):
            with pytest.raises((TypeError, ValueError)):
                unix_connect(unix_server[1], **kwargs)


def test_unix_connect_has_one_open_timeout_for_everything(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(tmp_path / "ws"))
        listener.listen()
        with nothing_left(), pytest.raises(TimeoutError, match="during opening handshake"):
            unix_connect(tmp_path / "ws", open_timeout=0.1)
        with nothing_left(), pytest.raises(TimeoutError, match="timed out while connecting"):
            unix_connect(tmp_path / "ws", open_timeout=0)


# --- what can't be provoked ---


class Interrupted(BaseException):
    pass


def test_an_interrupted_connect_leaves_nothing_behind(monkeypatch, server):
    def interrupted(*args):
        raise Interrupted

    monkeypatch.setattr(dial, "_tune", interrupted)
    with nothing_left(), pytest.raises(Interrupted):
        connect(server.uri)


def test_an_interrupted_connect_to_a_unix_socket_leaves_nothing_behind(monkeypatch, unix_server):
    class Interrupting(socket.socket):
        def connect(self, address):
            raise Interrupted

    monkeypatch.setattr(socket, "socket", Interrupting)
    with nothing_left(), pytest.raises(Interrupted):
        unix_connect(unix_server[1])


def test_a_server_that_is_gone_already_is_no_error_yet():
    class Gone(socket.socket):
        def setsockopt(self, *args):
            raise OSError(22, "Invalid argument")

    with Gone(socket.AF_INET) as sock:
        dial._tune(sock)


def test_connecting_in_many_threads_at_once():
    with serve(echo, "localhost") as server:
        clients = [run(lambda: assert_works(connect(server.uri))) for _ in range(20)]
        for client in clients:
            client.result()


def looked_up_in(monkeypatch, host):
    """The thread in which a name is looked up, which is this machine's."""
    threads = []

    def getaddrinfo(host, port, **kwargs):
        if "flags" in kwargs:
            raise socket.gaierror("not an address")
        threads.append(threading.current_thread())
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    addresses = resolver.resolve(host, 80, Deadline(SOON))
    assert [address[4] for address in addresses] == [("127.0.0.1", 80)]
    return threads[0]


def test_a_name_is_looked_up_within_the_deadline(monkeypatch):
    assert looked_up_in(monkeypatch, "name.example").name == "syncws-resolver"


def test_localhost_takes_no_thread_to_look_up(monkeypatch):
    assert looked_up_in(monkeypatch, "localhost") is threading.current_thread()
