"""Certificates of a server, as Tornado's programs describe them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl as ssl_module

__all__ = ["as_context"]

NAMES = ("certfile", "keyfile", "password", "ca_certs", "cert_reqs", "ciphers")


def as_context(options: ssl_module.SSLContext | Mapping[str, Any]) -> ssl_module.SSLContext:
    """Return the context of a server.

    Args:
        options: a context, which is returned; or a mapping with ``certfile`` and, unless that
            has it, ``keyfile``, and perhaps ``password`` of that; ``ca_certs``, the file of
            the authorities for clients' certificates, and ``cert_reqs``, whether these are
            asked for, by default not; ``ciphers``.

    Raises:
        OSError: a file can't be read, or isn't what it should be.
        TypeError: it is neither, or has unknown names.
        ValueError: there is no certificate.
    """
    import ssl  # slow to import, and not needed by everybody

    if isinstance(options, ssl.SSLContext):
        return options
    if not isinstance(options, Mapping):
        raise TypeError(f"ssl_options= is an ssl.SSLContext or a dict, not {options!r}")
    unknown = sorted(set(options) - set(NAMES))
    if unknown:
        raise TypeError(f"ssl_options= has {unknown}; it may have {list(NAMES)}")
    if not options.get("certfile"):
        raise ValueError("ssl_options= has no certfile")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=options.get("ca_certs"))
    context.load_cert_chain(options["certfile"], options.get("keyfile"), options.get("password"))
    context.verify_mode = options.get("cert_reqs", ssl.CERT_NONE)
    if "ciphers" in options:
        context.set_ciphers(options["ciphers"])
    return context
