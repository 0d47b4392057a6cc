"""A web server (nginx) with redirects, refusals, cookies, and an echo server behind it."""

import base64
import contextlib
import hashlib

import pytest
from support import peers
from support.pairs import SOON, wait_until
from support.scripted import nothing_left
from support.serving import serving

from syncws import InvalidStatus, connect

CODES = (301, 302, 303, 307, 308)

REFUSALS = (400, 401, 403, 404, 410, 426, 429, 500, 503)

LARGE = 3 << 20

#: The server repeats what it received in headers of its response.
SEEN = "\n".join(
    f"add_header X-Seen-{name} ${variable} always;"
    for name, variable in {
        "Authorization": "http_authorization",
        "Cookie": "http_cookie",
        "Host": "http_host",
        "Token": "http_x_token",
        "Path": "request_uri",
    }.items()
)

UPGRADE = """
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection upgrade;
"""


def locations(echo_port, plain, other, secure):
    """What every server has; redirects are at /how/code."""
    places = {
        "absolute": "/seen",  # nginx puts scheme, host and port in front of it
        "websocket": "ws://$http_host/seen",
        "port": f"http://127.0.0.1:{other}/seen",
        "host": f"http://localhost:{plain}/seen",
        "scheme": f"https://127.0.0.1:{secure}/seen",
        "credentials": f"http://judy:pass@127.0.0.1:{other}/seen",
        "further": f"http://127.0.0.1:{other}/absolute/302",
        "there-and-back": f"http://127.0.0.1:{other}/back/302",
        "back": f"http://127.0.0.1:{plain}/seen",
        "works": "/echo",
        "to-tls": f"https://127.0.0.1:{secure}/echo",
        "from-tls": f"http://127.0.0.1:{plain}/echo",
        "elsewhere": "ftp://127.0.0.1/",
    }
    redirects = [
        f"location = /{place}/{code} {{ return {code} {location}; }}"
        for place, location in places.items()
        for code in CODES
    ]
    relative = [
        f"location = /{place}/{code} {{ absolute_redirect off; return {code} {location}; }}"
        for place, location in {
            "schemeless": "//$http_host/seen",
            "path": "/seen",
            "name": "seen",
            "up": "../seen",
            "query": "'?hop=2'",
        }.items()
        for code in CODES
    ]
    refusals = [
        f"location = /{code} {{ add_header Retry-After 7 always; return {code} 'no: {code}\\n'; }}"
        for code in REFUSALS
    ]
    return (
        "\n".join([*redirects, *relative, *refusals])
        + f"""
        access_log requests.log token;
        location / {{ {SEEN} return 403; }}
        location = /echo {{ {UPGRADE} proxy_pass http://127.0.0.1:{echo_port}; }}
        location = /impatient {{
            {UPGRADE}
            proxy_read_timeout 2s;
            proxy_pass http://127.0.0.1:{echo_port};
        }}
        location = /dead {{ {UPGRADE} proxy_pass http://127.0.0.1:1; }}
        location = /loop {{ return 302 /loop; }}
        location ~ ^/chain/x(x*)$ {{ return 302 /chain/$1; }}
        location = /chain/ {{ {SEEN} return 403; }}
        location = /choices {{ add_header Location /seen always; return 300; }}
        location = /people {{
            auth_basic people;
            auth_basic_user_file people;
            {UPGRADE}
            proxy_pass http://127.0.0.1:{echo_port};
        }}
        location = /people/again {{ return 307 /people; }}
        location = /large {{ root files; }}
        location = /large/slow {{ limit_rate 100k; alias files/large; }}
        location = /large/403 {{ error_page 403 /large; return 403; }}
        location = /large/chunked {{
            alias files/large;
            default_type text/html;
            sub_filter nowhere somewhere;
        }}
        location = /login {{
            add_header Set-Cookie "session=s3cret; Path=/; HttpOnly";
            add_header Set-Cookie "theme=dark";
            return 302 /members;
        }}
        location = /login/people {{
            auth_basic people;
            auth_basic_user_file people;
            add_header Set-Cookie "session=s3cret; Path=/; HttpOnly";
            try_files /nothing @welcome;
        }}
        location @welcome {{
            add_header Set-Cookie "session=s3cret; Path=/; HttpOnly";
            return 200 welcome;
        }}
        location = /cookies {{ add_header Set-Cookie "asked=1; Path=/" always; {SEEN} return 403; }}
        location = /cookies/secure {{
            add_header Set-Cookie "safe=1; Path=/; Secure" always;
            return 403;
        }}
        location = /members {{
            if ($cookie_session != s3cret) {{ return 401; }}
            {UPGRADE}
            add_header Set-Cookie "seen=yes; Path=/" always;
            proxy_pass http://127.0.0.1:{echo_port};
        }}
    """
    )


class Site:
    """The servers of nginx, and what to call them."""

    def __init__(self, peer, echo_port):
        self.peer = peer
        self.echo_port = echo_port
        plain, other, secure = peer.ports
        self.plain = f"ws://127.0.0.1:{plain}"
        self.other = f"ws://127.0.0.1:{other}"
        self.secure = f"wss://127.0.0.1:{secure}"

    def assert_answered(self, number, token):
        """Wait until this many requests with this token are logged, soon after their answers."""
        log = self.peer.directory / "requests.log"
        wait_until(lambda: log.read_text().splitlines().count(token) == number)


@contextlib.contextmanager
def running_site():
    """The web server, and a server of ours behind it."""

    def build(plain, other, secure):
        places = locations(echo.port, plain, other, secure)
        return f"""
            log_format token $http_x_token;
            server {{ listen 127.0.0.1:{plain}; {places} }}
            server {{ listen 127.0.0.1:{other}; {places} }}
            server {{
                listen 127.0.0.1:{secure} ssl;
                ssl_certificate certificate.pem;
                ssl_certificate_key certificate.pem;
                {places}
            }}
        """

    # Through nginx the origin is another one.
    backend = serving(origins=None, max_size=None, ping_interval=None)
    with backend as echo, peers.nginx(build, 3, "127.0.0.1") as peer:
        digest = hashlib.sha1(peers.HARD_PASSWORD.encode()).digest()
        hashed = base64.b64encode(digest).decode()
        peers.write(peer.directory / "people", f"{peers.USER}:{{SHA}}{hashed}")
        (peer.directory / "files" / "large").write_bytes(b"large..\n" * (LARGE // 8))
        yield Site(peer, echo.port)


# --- what tests ask of it ---


def assert_works(ws):
    with ws:
        ws.send("hello")
        assert ws.recv(SOON) == "hello"
    assert ws.close_code == 1000


def refused(uri, status, **kwargs):
    """The response of a server that refuses, with this status."""
    with nothing_left(), pytest.raises(InvalidStatus) as info:
        connect(uri, **kwargs)
    assert info.value.response.status_code == status
    return info.value.response


def seen(uri, **kwargs):
    """What the server says it received from us, by name, after all redirects."""
    headers = refused(uri, 403, **kwargs).headers
    prefix = "x-seen-"
    return {name[len(prefix) :]: headers[name] for name in headers if name.startswith(prefix)}
