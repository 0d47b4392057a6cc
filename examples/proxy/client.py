"""Connect through a proxy. Usage: python client.py [URI [PROXY]]."""

import sys

from syncws import ProxyError, connect


def main(uri="ws://localhost:8765/", proxy="http://localhost:8080"):
    # Without proxy= the variables http_proxy, https_proxy and no_proxy of the environment count,
    # or the system's settings. A name and password go into the URL: http://ann:red@localhost:8080
    with connect(uri, proxy=proxy) as ws:
        ws.send("hello")
        print("through the proxy:", ws.recv(timeout=10))

    with connect(uri, proxy=None) as ws:  # None: not even that of the environment
        ws.send("hello")
        print("without a proxy:", ws.recv(timeout=10))

    try:
        connect("ws://localhost:1/", proxy=proxy)
    except ProxyError as exc:  # the proxy answered, but did not get there
        print("refused by the proxy:", exc)


if __name__ == "__main__":
    main(*sys.argv[1:])
