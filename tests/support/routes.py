"""Routes to a server of numbers: direct, by proxies that others have written, by a faulty one."""

import contextlib

from support import peers
from support.faulty_proxy import FaultyProxy
from support.numbers import serving_numbers

#: nginx drops the headers of an upgrade, and speaks HTTP/1.0 to the server, unless told otherwise.
NGINX = {
    "nginx": "",
    "nginx, no buffers": "proxy_buffering off;",
    "nginx, HTTP/1.1": 'proxy_http_version 1.1; proxy_set_header Connection "";',
    "nginx, only buffers": "proxy_ignore_headers X-Accel-Buffering;",
}

#: Proxies that do nothing but to keep so many bytes of a stream back until more have come.
KEEPING = {"keeps some": 4096, "keeps all": 1 << 30}

#: Where a response comes only when it is complete, so that streams are of no use.
BUFFERING = {"nginx, only buffers", *KEEPING}


class Route:
    """A way to a server.

    Attributes:
        front: whoever is in front, with a port.
        server: the server.
        buffers: whether streams are kept back.
    """

    def __init__(self, front, server, buffers=False):
        self.front = front
        self.server = server
        self.buffers = buffers

    def uri(self, closes="server"):
        return f"ws://127.0.0.1:{self.front.port}/numbers?closes={closes}"


def nginx(server, settings):
    """nginx in front of a server."""

    def build(port):
        return f"""
            upstream numbers {{ server 127.0.0.1:{server.port}; keepalive 8; }}
            server {{
                listen 127.0.0.1:{port};
                location / {{
                    proxy_pass http://numbers;
                    proxy_set_header Host $http_host;
                    {settings}
                }}
            }}
        """

    return peers.nginx(build, 1, "127.0.0.1")


#: HAProxy lets the system wait for more of a stream, up to 200 ms, unless told otherwise.
HAPROXY = {
    "haproxy": "option http-no-delay",
    "haproxy, delays": "",
}


def haproxy(server, settings):
    """HAProxy in front of a server, which cuts what is silent for 5 s."""

    def configure(directory, port):
        peers.write(
            directory / "haproxy.cfg",
            f"""
            defaults
                mode http
                timeout connect 5s
                timeout client 5s
                timeout server 5s
                {settings}
            frontend front
                bind 127.0.0.1:{port}
                default_backend numbers
            backend numbers
                server numbers 127.0.0.1:{server.port}
            """,
        )
        return ["-db", "-f", "haproxy.cfg"]

    return peers.started("haproxy", "haproxy", configure)


@contextlib.contextmanager
def opened_route(name, seed=0, **options):
    """A route: "direct", "faulty", or by one of the proxies above.

    Args:
        name: its name.
        seed: of what goes wrong, if it is "faulty".
        options: of the server.
    """
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving_numbers(**options))
        if name == "direct":
            yield Route(server, server)
            return
        if name == "faulty":
            proxy = FaultyProxy(server.port, seed)
        elif name in KEEPING:
            proxy = FaultyProxy(server.port, seed, {}, buffer=KEEPING[name])
        elif name in HAPROXY:
            proxy = haproxy(server, HAPROXY[name])
        else:
            proxy = nginx(server, NGINX[name])
        yield Route(stack.enter_context(proxy), server, name in BUFFERING)
