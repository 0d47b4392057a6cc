"""What a client says about certificates that it doesn't trust."""

import contextlib
import datetime
import ssl

import pytest
import trustme
from support.certificates import authority, client_context, server_context
from support.pairs import SOON
from support.scripted import failure, read_all, scripted_server
from support.serving import assert_works, serving

from syncws import connect


@contextlib.contextmanager
def refused(context, match, **kwargs):
    """A client that refuses the certificate of a server with this context."""

    def script(sock):
        with contextlib.suppress(OSError), context.wrap_socket(sock, server_side=True) as tls:
            read_all(tls)

    with scripted_server(script) as server:
        with failure(ssl.SSLCertVerificationError, match) as info:
            connect(f"wss://localhost:{server.port}/", **kwargs)
        yield info


ADVICE = r"pass ssl=ssl\.create_default_context\(cafile=\.\.\.\) with the authority's certificate"


def test_an_unknown_authority_is_an_error_that_says_how_to_trust_it():
    with refused(
        server_context(), f"certificate verify failed for localhost: unable to get local.*{ADVICE}"
    ) as i:
        assert i.value.verify_code == 20
        assert i.value.verify_message == "unable to get local issuer certificate"
        assert i.value.reason == "CERTIFICATE_VERIFY_FAILED"
        assert "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed" in str(i.value)
        assert isinstance(i.value.__cause__, ssl.SSLCertVerificationError)


def test_the_advice_works(tmp_path):
    authority().cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    with serving(ssl=server_context()) as server:
        assert_works(connect(f"wss://localhost:{server.port}/", ssl=context))


def test_a_self_signed_certificate_is_an_error_with_the_same_advice():
    """The authority's own certificate, used by a server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    child = trustme.CA()
    with child.cert_pem.tempfile() as cert, child.private_key_pem.tempfile() as key:
        context.load_cert_chain(cert, key)
    with refused(context, rf"self.signed certificate; .*{ADVICE}") as info:
        assert info.value.verify_code == 18


def test_another_host_name_is_an_error_that_says_how_to_check_for_it():
    advice = r"Hostname mismatch.*'localhost'; to check it for another name, pass server_hostname="
    with refused(server_context("example.com"), advice, ssl=client_context()):
        pass


def test_an_expired_certificate_is_an_error_without_advice():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    yesterday = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
    authority().issue_cert("localhost", not_after=yesterday).configure_cert(context)
    with refused(context, r"certificate has expired$", ssl=client_context()) as info:
        assert info.value.verify_code == 10


@pytest.mark.parametrize("verify", [True, False])
def test_the_program_may_decide_to_trust_everybody(verify):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_OPTIONAL if verify else ssl.CERT_NONE
    if not verify:
        with serving(ssl=server_context("example.com")) as server:
            ws = connect(f"wss://localhost:{server.port}/", ssl=context)
            ws.send("hello")
            assert ws.recv(SOON) == "hello"
            ws.close()
    else:
        with refused(server_context(), "unable to get local issuer", ssl=context):
            pass
