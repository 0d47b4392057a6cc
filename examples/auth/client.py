"""Show a server who we are, in three ways. Usage: python client.py [URI]."""

import sys

from syncws import ConnectionClosed, InvalidStatus, connect


def try_to_connect(uri, **options):
    try:
        with connect(uri, **options) as ws:
            print(ws.recv(timeout=10))
    except InvalidStatus as exc:
        print("refused:", exc.response.status_code, exc.response.body.decode().strip())


def send_token_first(uri, token):
    with connect(uri) as ws:
        ws.send(token)
        try:
            print(ws.recv(timeout=10))
        except ConnectionClosed as exc:
            print("refused:", exc.rcvd.code, exc.rcvd.reason)


def main(uri):
    password, token, browser = f"{uri}password", f"{uri}token", f"{uri}browser"

    try_to_connect(password)
    try_to_connect(password.replace("://", "://ann:blue@"))
    try_to_connect(password.replace("://", "://ann:red@"))

    try_to_connect(token)
    try_to_connect(token, additional_headers={"Authorization": "Bearer token-of-bob"})

    send_token_first(browser, "made-up")
    send_token_first(browser, "token-of-bob")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "ws://localhost:8765/")
