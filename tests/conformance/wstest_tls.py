#!/usr/bin/env python3
"""Autobahn's wstest over TLS: to the harness this is wstest, but the URLs become wss://.

$WSTEST is the real one, $WSTEST_CERTIFICATE a file with a certificate and its key.
"""

import json
import os
import pathlib
import sys


def main():
    path = pathlib.Path(sys.argv[sys.argv.index("-s") + 1])
    spec = json.loads(path.read_text())
    for place in [spec, *spec.get("servers", ())]:
        if "url" in place:
            place["url"] = place["url"].replace("ws:", "wss:", 1)
    spec["key"] = spec["cert"] = os.environ["WSTEST_CERTIFICATE"]
    path.write_text(json.dumps(spec))
    wstest = os.environ["WSTEST"]
    os.execv(wstest, [wstest, *sys.argv[1:]])


if __name__ == "__main__":
    main()
