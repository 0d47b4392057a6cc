"""Let in who has a password or a token. Usage: python server.py [PORT]."""

import contextlib
import hashlib
import sys

from syncws import Router, basic_auth, bearer_auth, serve

# A real server has them in a database. Tokens are kept as hashes: whoever reads the database
# can't use them, and looking a hash up tells nothing by the time it takes.
PASSWORDS = {"ann": "red"}
TOKENS = {hashlib.sha256(b"token-of-bob").hexdigest(): "bob"}


def find_user(token):
    return TOKENS.get(hashlib.sha256(token.encode()).hexdigest())


check_password = basic_auth("example", PASSWORDS)
check_token = bearer_auth(find_user, "example")
router = Router()


def protect(ws, request):
    """Ask for the credentials of each path, before there is a connection: 401 without them."""
    if request.path == "/password":
        return check_password(ws, request)
    if request.path == "/token":
        return check_token(ws, request)
    return None


@router.route("/password")
@router.route("/token")
def greet(ws):
    ws.send(f"hello {ws.username}")


@router.route("/browser")
def greet_browser(ws):
    """Pages can't set headers of WebSockets, so the token is in the first message."""
    with contextlib.suppress(TimeoutError):  # no token is a wrong one
        ws.username = find_user(ws.recv(timeout=10, decode=True))
    if ws.username is None:
        ws.close(1008, "wrong token")
    else:
        greet(ws)


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8765
    with serve(router, "localhost", port, process_request=protect, max_size=1000) as server:
        print(f"listening on {server.uri} - Ctrl-C stops it", flush=True)
        server.serve_forever()
