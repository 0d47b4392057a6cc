"""Exchange rates: a handler, and a client that tries again. What test_rates.py tests."""

import json

from syncws import ConnectionClosed, InvalidHandshake, connect

RATES = {"EUR": 1.0, "USD": 1.25}


class Unavailable(Exception):
    pass


def handle(ws):
    """Answer each question for a currency with its rate."""
    for name in ws:
        if name in RATES:
            ws.send(json.dumps({"name": name, "rate": RATES[name]}))
        else:
            ws.close(4004, f"there is no {name}")


def ask(uri, name, *, timeout=5, attempts=3):
    """Return the rate of a currency.

    A server that can't be reached, or goes away before it has answered, is asked again.
    """
    for _ in range(attempts):
        try:
            with connect(uri, open_timeout=timeout, close_timeout=timeout) as ws:
                ws.send(name)
                return json.loads(ws.recv(timeout=timeout))["rate"]
        except ConnectionClosed as exc:
            if exc.rcvd is not None and exc.rcvd.code == 4004:
                raise LookupError(exc.rcvd.reason) from exc
        except (InvalidHandshake, OSError):  # TimeoutError is one
            pass
    raise Unavailable(f"no answer in {attempts} attempts")
