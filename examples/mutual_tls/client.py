"""Show a certificate, and send a message. Usage: python client.py [URI]."""

import ssl
import sys

from syncws import InvalidHandshake, connect


def main(uri):
    context = ssl.create_default_context(cafile="authority.pem")
    try:
        connect(uri, ssl=context)
    except (OSError, InvalidHandshake):
        print("refused without a certificate")

    context.load_cert_chain("ann.pem", "ann-key.pem")
    with connect(uri, ssl=context) as ws:
        ws.send("hello")
        print(ws.recv(timeout=10))
        print("the server is", dict(ws.ssl_object.getpeercert()["subjectAltName"])["DNS"])


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "wss://localhost:8765/")
