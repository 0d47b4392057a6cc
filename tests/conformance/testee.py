"""What Autobahn|Testsuite talks to over TLS, or with other settings of compression; see run.py.

Without either it is the harness's own program. FOLDER has the files that variants.py names.

    testee.py server --port N [--tls FOLDER] [--deflate SETTING]
    testee.py client --url URL --agent NAME [--tls FOLDER] [--deflate SETTING]
"""

import argparse
import pathlib
import ssl

from variants import AUTHORITY, CERTIFICATE, DEFLATE

from syncws import connect, serve
from syncws.options import Deflate
from syncws.sansio.extensions.permessage_deflate import PerMessageDeflate
from syncws.sansio.state import Role


class Echo:
    """Sends each message back.

    Args:
        setting: the name of one for compression. Where there is room for one compressor, every
            other message finds that somebody else has it.
    """

    def __init__(self, setting):
        self._other = None
        if setting == "one-compressor":
            settings = Deflate(**DEFLATE[setting])
            self._other = PerMessageDeflate(Role.SERVER, Deflate(), settings).deflater

    def __call__(self, ws):
        for number, message in enumerate(ws):
            if self._other is not None and number % 2:
                self._other.deflate(b"from somebody else", True)
            ws.send(message)


def run_server(echo, port, tls, **options):
    if tls is not None:
        options["ssl"] = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        options["ssl"].load_cert_chain(tls / CERTIFICATE)
    with serve(echo, "127.0.0.1", port, **options) as server:
        server.serve_forever()


def run_client(echo, url, agent, tls, **options):
    options["open_timeout"] = 60
    if tls is not None:
        url = url.replace("ws:", "wss:", 1)
        options["ssl"] = ssl.create_default_context(cafile=tls / AUTHORITY)
    with connect(f"{url}/getCaseCount", **options) as ws:
        count = int(ws.recv())
    for case in range(1, count + 1):
        try:
            with connect(f"{url}/runCase?case={case}&agent={agent}", **options) as ws:
                echo(ws)
        except Exception as exc:  # the verdict is the fuzzing server's to give
            print(f"case {case}: {type(exc).__name__}: {exc}", flush=True)
    with connect(f"{url}/updateReports?agent={agent}", **options) as ws:
        list(ws)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["server", "client"])
    parser.add_argument("--port", type=int)
    parser.add_argument("--url")
    parser.add_argument("--agent")
    parser.add_argument("--tls", type=pathlib.Path)
    parser.add_argument("--deflate", choices=DEFLATE)
    options = parser.parse_args()
    compression = "deflate"
    if options.deflate:
        settings = dict(DEFLATE[options.deflate])
        if options.role == "client" and "client_max_window_bits" in settings:
            # Asked for 9 bits, the suite answers 15 in some cases, against RFC 7692 §7.1.2.2:
            # the client chooses the same by itself.
            settings["compress_window_bits"] = settings.pop("client_max_window_bits")
        compression = Deflate(**settings)
    common = {"max_size": 2**26, "compression": compression}
    if options.role == "server":
        run_server(Echo(options.deflate), options.port, options.tls, **common)
    else:
        run_client(Echo(options.deflate), options.url, options.agent, options.tls, **common)


if __name__ == "__main__":
    main()
