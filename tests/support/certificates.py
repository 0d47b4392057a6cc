"""Certificates from an authority that only the tests trust."""

import functools
import ssl

import trustme


@functools.cache
def authority():
    return trustme.CA()


def server_context(*names):
    """A server's side of TLS, with a certificate for these names (localhost by default)."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    names = names or ("localhost", "127.0.0.1", "::1")
    authority().issue_cert(*names).configure_cert(context)
    return context


def client_context():
    """A client's side of TLS, which trusts the tests' authority."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


@functools.cache
def contexts():
    """The contexts of both sides, the server's first."""
    return server_context(), client_context()
