import errno
import os
import socket
import stat
import threading

import pytest
from support.pairs import SOON, run, wait_until
from support.scripted import nothing_left
from support.serving import echo, serving

from syncws import connect, serve, unix_connect, unix_serve
from syncws.server import listeners


def addresses(server):
    return [sock.getsockname()[0] for sock in server.sockets]


def assert_works(uri):
    with connect(uri) as ws:
        ws.send("hello")
        assert ws.recv() == "hello"


# --- hosts ---


@pytest.mark.parametrize("host", [None, "localhost"])
def test_the_loopback_interface_is_the_default(host):
    with serving(host=host) as server:
        assert addresses(server) == ["127.0.0.1", "::1"]
        assert server.uri == f"ws://localhost:{server.port}/"
        assert_works(f"ws://127.0.0.1:{server.port}/")
        assert_works(f"ws://[::1]:{server.port}/")


def test_an_empty_host_is_all_interfaces():
    with serving(host="") as server:
        assert addresses(server) == ["0.0.0.0", "::"]
        assert_works(server.uri)
        assert_works(f"ws://127.0.0.2:{server.port}/")
        assert_works(f"ws://[::1]:{server.port}/")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_all_interfaces_can_be_asked_for_by_one_protocol(host):
    with serving(host=host) as server:
        assert addresses(server) == [host]
        assert_works(server.uri)


@pytest.mark.parametrize(("host", "name"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_a_host_may_be_an_address(host, name):
    with serving(host=host) as server:
        assert addresses(server) == [host]
        assert server.uri == f"ws://{name}:{server.port}/"
        assert_works(server.uri)


def test_hosts_may_be_several_and_share_a_port():
    with serving(host=["127.0.0.1", "127.0.0.2", "::1"]) as server:
        assert addresses(server) == ["127.0.0.1", "127.0.0.2", "::1"]
        assert {sock.getsockname()[1] for sock in server.sockets} == {server.port}
        for host in ("127.0.0.1", "127.0.0.2", "[::1]"):
            assert_works(f"ws://{host}:{server.port}/")


def test_a_host_given_twice_is_listened_on_once():
    with serving(host=["localhost", "127.0.0.1", "::1"]) as server:
        assert addresses(server) == ["127.0.0.1", "::1"]


def test_one_family_can_be_left_out():
    with serving(host=None, family=socket.AF_INET) as server:
        assert addresses(server) == ["127.0.0.1"]
    with serving(host="", family=socket.AF_INET6) as server:
        assert addresses(server) == ["::"]


@pytest.mark.parametrize(("host", "error"), [([], ValueError), (8765, TypeError)])
def test_hosts_that_are_none_are_refused(host, error):
    with nothing_left(), pytest.raises(error, match="host="):
        serve(echo, host)


def test_an_address_that_is_not_ours_is_an_error_that_says_so():
    with nothing_left(), pytest.raises(OSError, match=r"can't listen on 192\.0\.2\.1 port") as info:
        serve(echo, ["127.0.0.1", "192.0.2.1"])
    assert info.value.errno == errno.EADDRNOTAVAIL


def test_a_host_without_an_address_of_the_family_is_an_error():
    with nothing_left(), pytest.raises(OSError, match="no address of family="):
        serve(echo, None, family=socket.AF_UNIX)
    with nothing_left(), pytest.raises(socket.gaierror):
        serve(echo, "127.0.0.1", family=socket.AF_INET6)


# --- ports ---


@pytest.mark.parametrize("port", [None, 0])
def test_a_free_port_is_found(port):
    with serving(port=port) as server:
        assert server.port > 0
        assert_works(server.uri)


def test_a_port_can_be_chosen_and_is_free_again_afterwards():
    with serving() as server:
        port = server.port
        assert_works(server.uri)
    with serving(port=port) as server:
        assert server.port == port
        assert_works(server.uri)


def test_a_port_that_is_taken_is_an_error():
    with serving() as server, nothing_left():
        with pytest.raises(OSError, match=f"can't listen on 127.0.0.1 port {server.port}") as info:
            serve(echo, "127.0.0.1", server.port)
        assert info.value.errno == errno.EADDRINUSE


def test_a_port_that_is_taken_on_the_second_address_is_replaced_by_another(monkeypatch):
    def listen(family, address, backlog, reuse_port):
        tried.append(address[:2])
        if family == socket.AF_INET6 and len(tried) == 2:
            raise OSError(errno.EADDRINUSE, "taken")
        return original(family, address, backlog, reuse_port)

    tried = []
    original = listeners._listen
    monkeypatch.setattr(listeners, "_listen", listen)
    with serving(host=None) as server:
        assert addresses(server) == ["127.0.0.1", "::1"]
    assert [host for host, _ in tried] == ["127.0.0.1", "::1"] * 2
    assert tried[2] == ("127.0.0.1", 0)


def test_no_port_free_on_all_addresses_is_an_error_in_the_end(monkeypatch):
    def listen(family, address, backlog, reuse_port):
        attempts.append(address)
        raise OSError(errno.EADDRINUSE, "taken")

    attempts = []
    monkeypatch.setattr(listeners, "_listen", listen)
    with pytest.raises(OSError, match="taken"):
        serve(echo)
    assert len(attempts) == listeners.PORT_ATTEMPTS


@pytest.mark.parametrize("missing", [socket.AF_INET, socket.AF_INET6])
def test_a_protocol_that_the_machine_lacks_is_done_without(monkeypatch, missing):
    def listen(family, address, backlog, reuse_port):
        if family == missing:
            raise OSError(errno.EADDRNOTAVAIL, "no such protocol here")
        return original(family, address, backlog, reuse_port)

    original = listeners._listen
    monkeypatch.setattr(listeners, "_listen", listen)
    with serving(host="localhost") as server:
        assert len(server.sockets) == 1
        assert_works(server.uri)


def test_a_machine_without_both_protocols_is_an_error(monkeypatch):
    def listen(*args):
        raise OSError(errno.EADDRNOTAVAIL, "no such protocol here")

    monkeypatch.setattr(listeners, "_listen", listen)
    with pytest.raises(OSError, match="no such protocol here"):
        serve(echo)


def test_an_interrupted_listen_leaves_nothing_behind():
    with nothing_left(), pytest.raises(TypeError):
        serve(echo, "127.0.0.1", "http")
    with nothing_left(), pytest.raises(OverflowError):
        serve(echo, "127.0.0.1", 70_000)


def test_several_servers_may_share_a_port():
    with serving(reuse_port=True) as first, serving(reuse_port=True, port=first.port) as second:
        assert second.port == first.port
        assert_works(first.uri)


def test_the_backlog_can_be_chosen():
    with serving(backlog=1) as server:
        assert_works(server.uri)


# --- sock= ---


def test_a_listening_socket_can_be_given():
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    with serving(host=None, sock=sock) as server:
        assert server.sockets == (sock,)
        assert server.port == port
        assert_works(server.uri)
    assert sock.fileno() == -1


def test_a_socket_that_is_bound_is_made_to_listen():
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    with serving(host=None, sock=sock) as server:
        assert_works(server.uri)


@pytest.mark.parametrize("kwargs", [{"host": "localhost"}, {"port": 80}])
def test_a_listening_socket_has_its_address(kwargs):
    with socket.socket() as sock, pytest.raises(ValueError, match="sock= listens already"):
        serve(echo, **kwargs, sock=sock)


def test_a_socket_that_is_not_one_is_refused():
    with pytest.raises(TypeError, match="sock= is a socket, not str"):
        serve(echo, sock="localhost")


# --- Unix sockets ---


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ws"


def test_a_unix_socket_is_listened_on_and_its_file_removed(path):
    with unix_serve(echo, path) as server:
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert server.port is None
        assert server.uri == "ws://localhost/"
        with unix_connect(path) as ws:
            ws.send("hello")
            assert ws.recv() == "hello"
    assert not path.exists()


def test_a_stale_file_is_replaced(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(os.fspath(path))
    assert path.exists()
    with unix_serve(echo, path), unix_connect(path) as ws:
        assert ws.open
    assert not path.exists()


def test_a_live_socket_is_not_replaced(path):
    with unix_serve(echo, path):
        with nothing_left(), pytest.raises(OSError, match=r"can't listen on .*ws") as info:
            unix_serve(echo, path)
        assert info.value.errno == errno.EADDRINUSE
        with unix_connect(path) as ws:
            assert ws.open


def test_a_live_socket_that_is_busy_is_not_replaced(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen(0)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(os.fspath(path))
            with nothing_left(), pytest.raises(OSError, match="can't listen on"):
                unix_serve(echo, path)


def test_something_else_is_not_replaced(path):
    path.write_text("precious")
    with nothing_left(), pytest.raises(OSError, match="can't listen on"):
        unix_serve(echo, path)
    assert path.read_text() == "precious"


def test_a_file_that_vanishes_meanwhile_is_no_reason_to_fail(path, monkeypatch):
    def is_stale(path):
        os.unlink(path)
        return True

    path.write_text("")
    monkeypatch.setattr(listeners, "_is_stale", is_stale)
    with unix_serve(echo, path), unix_connect(path) as ws:
        assert ws.open


def test_what_can_not_be_looked_at_is_not_stale(path):
    assert not listeners._is_stale(os.fspath(path))


def test_a_file_that_is_not_ours_any_more_is_left_alone(path):
    with unix_serve(echo, path):
        path.unlink()
        path.write_text("precious")
    assert path.read_text() == "precious"


def test_a_server_that_starts_while_another_closes_keeps_its_file(path):
    def handler(ws):
        assert ws.wait_closed(SOON)
        released.wait(SOON)

    released = threading.Event()
    with unix_serve(handler, path) as first, unix_connect(path) as ws:
        closing = run(first.close)
        assert ws.wait_closed(SOON)
        wait_until(lambda: not path.exists())
        with unix_serve(echo, path):
            released.set()
            closing.result()
            assert path.exists()


def test_wrong_arguments_leave_no_file(path):
    with nothing_left(), pytest.raises(ValueError, match="max_size"):
        unix_serve(echo, path, max_size=-1)
    assert not path.exists()


def test_unix_serve_takes_a_listening_socket(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(os.fspath(path))
    with unix_serve(echo, sock=sock) as server, unix_connect(path) as ws:
        assert server.sockets == (sock,)
        assert ws.open


@pytest.mark.parametrize("both", [True, False])
def test_unix_serve_takes_a_path_or_a_socket(both, path):
    wrong = pytest.raises(ValueError, match="either path= or sock=")
    with socket.socket(socket.AF_UNIX) as sock, wrong:
        unix_serve(echo, path if both else None, sock=sock if both else None)


@pytest.mark.skipif(not hasattr(socket, "SO_PASSCRED"), reason="only Linux has abstract names")
def test_a_unix_socket_may_have_an_abstract_name():
    name = f"\0syncws-{os.getpid()}"
    with unix_serve(echo, name), unix_connect(name) as ws:
        assert ws.open
