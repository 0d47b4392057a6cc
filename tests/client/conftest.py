"""The client's surroundings: an environment without proxies, and proxies to give to it."""

import os
import random
import socket

import pytest
from support import peers
from support.certificates import authority
from support.nginx_site import running_site
from support.reconnecting import Listening

import syncws.client.reconnecting


@pytest.fixture(autouse=True)
def no_proxies_in_the_environment(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def closed_port():
    """A port that nobody listens on, and that nobody else gets."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.fixture
def delays(monkeypatch):
    """The delays between the attempts of reconnect(); none is waited for."""
    taken = []
    monkeypatch.setattr(
        syncws.client.reconnecting, "_pause", lambda stop, delay: taken.append(round(delay, 3))
    )
    return taken


@pytest.fixture
def largest_delays(monkeypatch):
    """Random numbers that are the largest of their range."""
    monkeypatch.setattr(random, "uniform", lambda low, high: high)


@pytest.fixture
def listening():
    """A handler that answers, and keeps the codes that connections are closed with."""
    return Listening()


@pytest.fixture(scope="module")
def http_proxy():
    """An HTTP proxy for everybody."""
    with peers.tinyproxy() as proxy:
        yield proxy


@pytest.fixture(scope="module")
def strict_http_proxy():
    """An HTTP proxy that wants credentials."""
    with peers.tinyproxy(f"BasicAuth {peers.USER} {peers.PASSWORD}") as proxy:
        yield proxy


@pytest.fixture(scope="module")
def refusing_http_proxy():
    """An HTTP proxy that connects to nobody."""
    with peers.tinyproxy("ConnectPort 1") as proxy:
        yield proxy


@pytest.fixture(scope="module")
def https_proxy(http_proxy):
    """An HTTPS proxy for localhost, which wants credentials; its certificate is not for 127.0.0.1.

    So the name is checked that is in its URL.
    """
    with peers.https_proxy(http_proxy.port, "localhost") as proxy:
        yield proxy


@pytest.fixture(scope="module")
def socks_proxy():
    """A proxy for SOCKS4 and SOCKS5, and for everybody."""
    with peers.danted() as proxy:
        yield proxy


@pytest.fixture(scope="module")
def strict_socks_proxy():
    """A SOCKS5 proxy that wants credentials."""
    with peers.microsocks("-u", peers.USER, "-P", peers.HARD_PASSWORD) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def site():
    """Web servers with and without TLS, whose certificate is for 127.0.0.1."""
    with running_site() as site:
        yield site


@pytest.fixture
def trusted(monkeypatch, tmp_path):
    """The authority of the tests is one that the system trusts."""
    authority().cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
