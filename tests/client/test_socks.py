import builtins
import contextlib
import socket
import struct
import sys

import pytest
from support.pairs import SOON
from support.proxies import join
from support.scripted import failure, read_all, scripted_server, silent
from support.serving import assert_works, serving

from syncws import ProxyError, connect

pytest.importorskip("python_socks", reason="no python-socks: pip install 'syncws[socks]'")


def read(sock, size):
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        assert piece
        data += piece
    return data


def read_to_zero(sock):
    data = b""
    while not data.endswith(b"\0"):
        data += read(sock, 1)
    return data[:-1].decode()


def socks4(wanted, reply=b"\0\x5a" + bytes(6)):
    """A script of a SOCKS4 and 4a proxy; what it was asked for goes into the list."""

    def script(client):
        version, command, port = struct.unpack("!BBH", read(client, 4))
        assert (version, command) == (4, 1)
        address = read(client, 4)
        user = read_to_zero(client)
        named = address[:3] == b"\0\0\0" and address[3]
        host = read_to_zero(client) if named else socket.inet_ntoa(address)
        wanted.append((host, port, user))
        client.sendall(reply)
        if reply[1] in (0, 0x5A):
            relay(client, port)

    return script


def socks5(wanted, reply=b"\5\0\0\1" + bytes(6), methods=b"\5\0", outcome=b"\1\0"):
    """A script of a SOCKS5 proxy; what it was asked for goes into the list."""

    def script(client):
        _, number = read(client, 2)
        offered = read(client, number)
        client.sendall(methods)
        credentials = None
        if methods == b"\5\2":
            assert 2 in offered
            _, size = read(client, 2)
            user = read(client, size)
            (size,) = read(client, 1)
            credentials = (user.decode(), read(client, size).decode())
            client.sendall(outcome)
        _, _, _, kind = read(client, 4)
        if kind == 3:
            host = read(client, read(client, 1)[0]).decode()
        else:
            family, size = (socket.AF_INET, 4) if kind == 1 else (socket.AF_INET6, 16)
            host = socket.inet_ntop(family, read(client, size))
        (port,) = struct.unpack("!H", read(client, 2))
        wanted.append((host, port, credentials))
        client.sendall(reply)
        if reply[1] in (0, 0x5A):
            relay(client, port)

    return script


def relay(client, port):
    with socket.create_connection(("127.0.0.1", port), timeout=SOON) as server:
        join(client, server)


def through(uri, proxy, scheme, **kwargs):
    return connect(
        uri, proxy=f"{scheme}://{kwargs.pop('user', '')}127.0.0.1:{proxy.port}", **kwargs
    )


@pytest.fixture
def server():
    with serving() as server:
        yield server


# --- what is asked for ---


@pytest.mark.parametrize(
    ("scheme", "host", "asked"),
    [
        ("socks4", "127.0.0.1", "127.0.0.1"),
        ("socks4", "localhost", "127.0.0.1"),
        ("socks4a", "server.example", "server.example"),
        ("socks4a", "127.0.0.1", "127.0.0.1"),
        ("socks5", "127.0.0.1", "127.0.0.1"),
        ("socks5h", "server.example", "server.example"),
        ("socks5h", "localhost", "localhost"),
        ("socks5h", "127.0.0.1", "127.0.0.1"),
        ("socks5h", "[::1]", "::1"),
    ],
)
def test_names_are_looked_up_here_or_by_the_proxy(server, scheme, host, asked):
    wanted = []
    script = socks4(wanted) if "4" in scheme else socks5(wanted)
    with scripted_server(script) as proxy:
        assert_works(through(f"ws://{host}:{server.port}/", proxy, scheme))
    assert [(host, port) for host, port, _ in wanted] == [(asked, server.port)]


def test_a_user_is_sent_to_a_socks4_proxy(server):
    wanted = []
    with scripted_server(socks4(wanted)) as proxy:
        assert_works(through(server.uri, proxy, "socks4", user="me@"))
    assert wanted[0][2] == "me"


def test_user_and_password_are_sent_to_a_socks5_proxy_that_wants_them(server):
    wanted = []
    with scripted_server(socks5(wanted, methods=b"\5\2")) as proxy:
        assert_works(through(server.uri, proxy, "socks5", user="me:p%40ss@"))
    assert wanted[0][2] == ("me", "p@ss")


def test_the_source_address_is_the_one_for_the_proxy(server):
    addresses = []

    def script(sock):
        addresses.append(sock.getpeername()[0])
        socks5([])(sock)

    with scripted_server(script) as proxy:
        assert_works(through(server.uri, proxy, "socks5", source_address=("127.0.0.2", 0)))
    assert addresses == ["127.0.0.2"]


def test_each_address_of_a_name_is_tried(monkeypatch, server):
    """The proxy can't reach the first one."""
    wanted = []

    def script(sock):
        refused = b"\5\4\0\1" + bytes(6)
        socks5(wanted, reply=refused if not wanted else b"\5\0\0\1" + bytes(6))(sock)

    def addresses(host, port, *args, flags=0, **kwargs):
        if flags and host != "127.0.0.1":
            raise socket.gaierror(socket.EAI_NONAME, "not an address")
        hosts = ["127.0.0.1"] if host == "127.0.0.1" else ["10.0.0.1", "127.0.0.1"]
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (each, port)) for each in hosts]

    monkeypatch.setattr(socket, "getaddrinfo", addresses)
    with scripted_server(script) as proxy:
        assert_works(through(f"ws://two.example:{server.port}/", proxy, "socks5"))
    assert [host for host, *_ in wanted] == ["10.0.0.1", "127.0.0.1"]


@pytest.mark.parametrize("scheme", ["socks4", "socks4a"])
def test_socks4_has_no_ipv6(server, scheme):
    with scripted_server(silent) as proxy, failure(ProxyError, "::1 has no IPv4 address"):
        through(f"ws://[::1]:{server.port}/", proxy, scheme)


# --- what goes wrong ---


@pytest.mark.parametrize(
    ("scheme", "script", "reason"),
    [
        ("socks4", socks4([], b"\0\x5b" + bytes(6)), "rejected"),
        ("socks5", socks5([], b"\5\5\0\1" + bytes(6)), "[Rr]efused"),
        ("socks5h", socks5([], b"\5\2\0\1" + bytes(6)), "not allowed"),
        ("socks5", socks5([], methods=b"\5\xff"), "method"),
        ("socks5", socks5([], methods=b"\5\2", outcome=b"\1\1"), "authentication"),
        ("socks5", socks5([], methods=b"HTTP/1.1 400"), "version"),
    ],
)
def test_a_proxy_that_refuses_is_an_error(server, scheme, script, reason):
    def quietly(sock):
        with contextlib.suppress(AssertionError, OSError):  # the client has gone
            script(sock)

    where = f"did not connect us to 127.0.0.1 port {server.port}: .*{reason}"
    with scripted_server(quietly) as proxy, failure(ProxyError, where):
        through(server.uri, proxy, scheme, user="me:wrong@" if scheme != "socks4" else "")


def test_a_proxy_that_closes_is_an_error(server):
    with scripted_server(lambda sock: read(sock, 1)) as proxy, failure(ProxyError):
        through(server.uri, proxy, "socks5")


@pytest.mark.parametrize("pieces", [b"", b"\5", b"\5\0"])
def test_a_silent_proxy_is_a_timeout(server, pieces):
    def script(sock):
        sock.sendall(pieces)
        read_all(sock)

    slow = failure(TimeoutError, "timed out while waiting for the SOCKS proxy")
    with scripted_server(script) as proxy, slow:
        through(server.uri, proxy, "socks5", open_timeout=0.1)


def test_a_proxy_that_says_a_byte_now_and_then_is_a_timeout(server):
    """Its bytes don't begin the time anew."""

    def script(sock):
        sock.settimeout(0.05)
        for byte in b"\5\0\5\0\0\3\xff" + bytes(1000):
            try:
                sock.sendall(bytes([byte]))
                sock.recv(1000)
            except (TimeoutError, socket.timeout):  # the same from Python 3.10 on
                continue
            except OSError:
                return
            if sock.fileno() < 0:
                return

    slow = failure(TimeoutError, "timed out while waiting for the SOCKS proxy")
    with scripted_server(script) as proxy, slow:
        through(server.uri, proxy, "socks5", open_timeout=0.3)


def test_a_proxy_that_can_not_be_reached_is_an_error_that_names_it(server):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        with failure(ConnectionRefusedError, f"'proxy 127.0.0.1 port {port}'"):
            connect(server.uri, proxy=f"socks5://127.0.0.1:{port}")


def test_without_the_package_the_error_says_what_to_install(monkeypatch, server):
    real = builtins.__import__

    def without(name, *args):
        if name.startswith("python_socks"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *args)

    for name in [name for name in sys.modules if name.startswith("python_socks")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with failure(ImportError, r"pip install 'syncws\[socks\]'"):
        connect(server.uri, proxy="socks5://127.0.0.1:9")
