"""TLS for the benchmark: a certificate that only its own processes trust.

Two files in one folder: ``ca.pem``, which SSL_CERT_FILE names in the environment of all programs,
so that clients verify the certificate with their defaults, and ``server.pem``.
"""

import os
import pathlib
import ssl

VARIABLE = "SSL_CERT_FILE"


def make_certificates(folder, host):
    """Write both files; return the authority's path."""
    import trustme  # only the rows about TLS need it

    folder = pathlib.Path(folder)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert(host).private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    return folder / "ca.pem"


def server_context():
    """A server's side of TLS, with the certificate that the environment leads to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pathlib.Path(os.environ[VARIABLE]).with_name("server.pem"))
    return context
