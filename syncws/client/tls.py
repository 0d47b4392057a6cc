"""TLS with a server or a proxy, and advice for those who meet a certificate that isn't trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..threaded.deadline import Deadline
from ..threaded.tls_transport import TlsTransport
from ..threaded.transport import Transport

if TYPE_CHECKING:
    import ssl as ssl_module

__all__ = ["start_tls"]

#: OpenSSL's numbers for: self-signed, alone and in a chain; issuer unknown; nothing to verify by.
_NOT_TRUSTED = (18, 19, 20, 21)

#: OpenSSL's numbers for: another host name; another address.
_OTHER_NAME = (62, 64)


def start_tls(
    transport: Transport,
    context: ssl_module.SSLContext | None,
    server_hostname: str,
    deadline: Deadline,
    *,
    prefix: str = "",
) -> TlsTransport:
    """Return the transport with TLS on top; there may be TLS below it already.

    Args:
        transport: what carries it.
        context: certificates and rules; by default the system's trusted authorities, and a
            check of the name.
        server_hostname: the name to check.
        deadline: when to stop waiting for the other side.
        prefix: what the arguments' names begin with, for errors.

    Raises:
        TimeoutError: the other side did not answer before the deadline.
        OSError: the handshake failed, or the certificate is wrong; the text says what to do.
    """
    import ssl  # slow to import, and not needed by everybody

    if context is None:
        context = ssl.create_default_context()
    tls = TlsTransport(transport, context, server_side=False, server_hostname=server_hostname)
    whom = "the proxy" if prefix else "the server"
    try:
        tls.handshake(deadline)
    except TimeoutError as exc:
        raise TimeoutError(f"timed out during the TLS handshake with {whom}") from exc
    except ssl.SSLCertVerificationError as exc:
        raise _explain(exc, server_hostname, prefix) from exc
    return tls


def _explain(
    exc: ssl_module.SSLCertVerificationError, server_hostname: str, prefix: str
) -> ssl_module.SSLCertVerificationError:
    advice = ""
    if exc.verify_code in _NOT_TRUSTED:
        advice = (
            "; if it was issued by a private authority that you trust, pass"
            f" {prefix}ssl=ssl.create_default_context(cafile=...) with the authority's certificate"
        )
    elif exc.verify_code in _OTHER_NAME:
        advice = f"; to check it for another name, pass {prefix}server_hostname="
    reason = exc.verify_message.rstrip(".")
    # The beginning is OpenSSL's: programs look for it.
    text = f"[SSL: {exc.reason}] certificate verify failed for {server_hostname}: {reason}{advice}"
    explained = type(exc)(exc.errno, text)
    vars(explained).update(vars(exc))  # reason, verify_code and so on
    return explained
