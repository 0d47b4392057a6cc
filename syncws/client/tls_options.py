"""Certificates and rules for TLS given one by one, rather than as an :class:`ssl.SSLContext`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl as ssl_module

__all__ = ["make_context"]

#: What may be given.
NAMES = (
    "ca_cert_data",
    "ca_cert_path",
    "ca_certs",
    "cert_chain",
    "cert_reqs",
    "certfile",
    "check_hostname",
    "ciphers",
    "ecdh_curve",
    "keyfile",
    "password",
    "ssl_version",
)


def make_context(options: Mapping[str, Any]) -> ssl_module.SSLContext:
    """Return a client's context, which by default trusts what the system does.

    Args:
        options: ``ca_certs``, ``ca_cert_path``, ``ca_cert_data``: a file, a folder, the text of
            authorities to trust instead of the system's; ``cert_reqs``: an
            :class:`ssl.VerifyMode`, where ``CERT_NONE`` checks neither the certificate nor,
            unless told to, the name; ``check_hostname``; ``certfile``, ``keyfile``,
            ``password``, or ``cert_chain`` with all three: the client's own certificate;
            ``ciphers``; ``ecdh_curve``; ``ssl_version``: a ``PROTOCOL_...`` constant. ``None``
            counts as not given.

    Raises:
        TypeError: there is something else.
        ValueError: the name is to be checked, but not the certificate.
        OSError: a file can't be read, or isn't what it should be (:exc:`ssl.SSLError`).
    """
    import ssl  # slow to import, and not needed by everybody

    given = {name: value for name, value in options.items() if value is not None}
    unknown = sorted(set(given) - set(NAMES))
    if unknown:
        raise TypeError(f"no such TLS option: {unknown[0]}; there are {', '.join(NAMES)}")
    authorities: dict[str, Any] = {
        "cafile": given.get("ca_certs"),
        "capath": given.get("ca_cert_path"),
        "cadata": given.get("ca_cert_data"),
    }
    verify = given.get("cert_reqs", ssl.CERT_REQUIRED)
    version = given.get("ssl_version", ssl.PROTOCOL_TLS_CLIENT)
    # These two mean any version, as does the default context, which checks more than a bare one.
    if version not in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS):
        context = ssl.SSLContext(version)
        if any(authorities.values()):
            context.load_verify_locations(**authorities)
        else:
            context.load_default_certs()
    else:
        context = ssl.create_default_context(**authorities)
    checks = given.get("check_hostname", verify != ssl.CERT_NONE)
    if checks and verify == ssl.CERT_NONE:
        raise ValueError("check_hostname=True needs a certificate: cert_reqs is CERT_NONE")
    # In this order: a context refuses to check a name without a certificate.
    context.check_hostname = False
    context.verify_mode = verify
    context.check_hostname = checks
    chain = given.get("cert_chain")
    if chain is None and "certfile" in given:
        chain = (given["certfile"], given.get("keyfile"), given.get("password"))
    if chain is not None:
        context.load_cert_chain(*chain)
    if "ciphers" in given:
        context.set_ciphers(given["ciphers"])
    if "ecdh_curve" in given:
        context.set_ecdh_curve(given["ecdh_curve"])
    return context
