"""Send a message over TLS. Usage: python client.py [URI]."""

import ssl
import sys

from syncws import connect


def main(uri):
    try:
        connect(uri)
    except ssl.SSLCertVerificationError as exc:
        print("not trusted by default:", exc.verify_message)

    # Trust this certificate, and no other. Servers on the internet have certificates of
    # authorities that the system knows: they need no context.
    context = ssl.create_default_context(cafile="cert.pem")
    with connect(uri, ssl=context) as ws:
        ws.send("a secret")
        print(ws.recv(timeout=10))
        print("encrypted:", ws.secure)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "wss://localhost:8765/")
