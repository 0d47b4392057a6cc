"""Answer each message, over TLS. Usage: python server.py [PORT]."""

import ssl
import sys

from syncws import serve


def handler(ws):
    for message in ws:
        ws.send(f"received: {message}")


def main(port):
    # The certificate says who the server is, the key proves it. cert.pem may go to everybody,
    # key.pem to nobody.
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain("cert.pem", "key.pem")
    with serve(handler, "localhost", port, ssl=context) as server:
        print(f"listening on {server.uri} - Ctrl-C stops it", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8765)
