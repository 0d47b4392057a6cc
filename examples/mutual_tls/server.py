"""Greet clients by the name in their certificate. Usage: python server.py [PORT]."""

import ssl
import sys

from syncws import serve


def common_name(certificate):
    """Return the name of who has a certificate."""
    for attributes in certificate["subject"]:
        for name, value in attributes:
            if name == "commonName":
                return value
    return None


def handler(ws):
    # It was checked already: TLS lets nobody in without a certificate of the authority.
    name = common_name(ws.ssl_object.getpeercert())
    for message in ws:
        ws.send(f"{name} said: {message}")


def main(port):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile="authority.pem")
    context.load_cert_chain("server.pem", "server-key.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    with serve(handler, "localhost", port, ssl=context) as server:
        print(f"listening on {server.uri} - Ctrl-C stops it", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8765)
