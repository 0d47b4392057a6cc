"""Other people's programs to talk to, proxies and a web server; each a process on loopback.

A program that is not installed skips the test, or fails it if SYNCWS_REQUIRE_PEERS is set.
"""

import contextlib
import importlib.util
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import textwrap
from urllib.parse import quote

import pytest
from support.certificates import authority
from support.pairs import SOON, wait_until

#: Where to look besides PATH: the administrator's programs are on root's PATH only.
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"

#: Credentials that the proxies accept. Tinyproxy allows no other characters in them.
USER, PASSWORD = "aladdin", "open-sesame"

#: A password with characters that have a meaning in URLs.
HARD_PASSWORD = "open sesame: @/?%"

#: Credentials with it, as they stand in a URL.
HARD = f"{USER}:{quote(HARD_PASSWORD, safe='')}"


def skip(reason):
    """Skip the test, or fail it if all peers are required."""
    if os.environ.get("SYNCWS_REQUIRE_PEERS"):
        pytest.fail(f"{reason} (SYNCWS_REQUIRE_PEERS is set)", pytrace=False)
    pytest.skip(reason)


def find(program, package):
    """Return the path of a program, or skip the test."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_PATH}")
    if path is None:
        skip(f"no {program}: apt-get install {package}")
    return path


def need_python_socks():
    """Skip the test if the package that SOCKS needs isn't installed."""
    if importlib.util.find_spec("python_socks") is None:
        skip("no python-socks: pip install python-socks")


@contextlib.contextmanager
def reserved_port():
    """A port of 127.0.0.1 that belongs to this block.

    A socket bound to it keeps it from anyone that asks for any free port. The socket doesn't
    listen, so a program that is given this port can bind to it with SO_REUSEADDR, as servers do.
    """
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


class Peer:
    """A running program that listens on these ports of 127.0.0.1."""

    def __init__(self, command, directory, ports):
        self.directory = directory
        self.ports = ports
        self._name = os.path.basename(command[0])
        if setpriv := shutil.which("setpriv"):  # it ends with us, even if we are killed
            command = [setpriv, "--pdeathsig", "TERM", "--", *command]
        self._log = directory / "output"
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # its own group, which Ctrl-C doesn't reach
            )

    @property
    def port(self):
        return self.ports[0]

    @property
    def output(self):
        """Its output so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def uri(self, scheme, credentials=None):
        """The address of its first port, for clients."""
        return f"{scheme}://{'' if credentials is None else credentials + '@'}127.0.0.1:{self.port}"

    def wait_until_it_answers(self):
        try:
            wait_until(lambda: all(self._answers(port) for port in self.ports))
        except AssertionError as exc:
            raise AssertionError(f"{self._name} {exc}; it printed:\n{self.output}") from None

    def _answers(self, port):
        status = self._process.poll()
        assert status is None, f"ended with status {status}"
        with socket.socket() as sock:
            sock.settimeout(SOON)
            return sock.connect_ex(("127.0.0.1", port)) == 0

    def close(self):
        """End the program and all that it started. Idempotent."""
        if self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            wait_until(self._ended)
        except AssertionError:
            raise AssertionError(
                f"{self._name} was still there {SOON} s after SIGTERM; it printed:\n{self.output}"
            ) from None
        finally:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _ended(self):
        # It stays a zombie, so that nothing else gets its number, or its group's, yet.
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, options) is not None


@contextlib.contextmanager
def started(program, package, configure, ports=1):
    """A running program; configure(directory, *ports) writes files and returns its arguments."""
    path = find(program, package)
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="syncws-peer-"))
        )
        numbers = [stack.enter_context(reserved_port()) for _ in range(ports)]
        arguments = configure(directory, *numbers)
        peer = Peer([path, *map(str, arguments)], directory, numbers)
        stack.callback(peer.close)
        peer.wait_until_it_answers()
        yield peer


def certificate(directory, *names):
    """A file with the key and certificate of a server with these names."""
    path = directory / "certificate.pem"
    path.touch(mode=0o600)
    authority().issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


def write(path, text):
    path.write_text(textwrap.dedent(text).strip() + "\n", encoding="utf-8")


def root_only(*lines):
    """Configuration lines that root needs: which user to become."""
    return "\n".join(lines) if os.getuid() == 0 else ""


# --- proxies ---


def tinyproxy(*settings):
    """An HTTP proxy (tinyproxy) with these lines in its configuration."""

    def configure(directory, port):
        lines = [
            f"Port {port}",
            "Listen 127.0.0.1",
            "Timeout 60",
            "MaxClients 50",
            "LogLevel Connect",
            *settings,
        ]
        write(directory / "tinyproxy.conf", "\n".join(lines))
        return ["-d", "-c", "tinyproxy.conf"]

    return started("tinyproxy", "tinyproxy", configure)


def https_proxy(behind, *names):
    """TLS and credentials in front of an HTTP proxy (haproxy), certified for these names."""

    def configure(directory, port):
        pem = certificate(directory, *names)
        write(
            directory / "haproxy.cfg",
            f"""
            userlist people
                user {USER} insecure-password '{HARD_PASSWORD}'
            defaults
                mode http
                timeout connect 10s
                timeout client 60s
                timeout server 60s
            frontend tls
                bind 127.0.0.1:{port} ssl crt {pem}
                option http-use-proxy-header
                http-request auth realm people unless {{ http_auth(people) }}
                default_backend proxy
            backend proxy
                server behind 127.0.0.1:{behind}
            """,
        )
        return ["-db", "-f", "haproxy.cfg"]

    return started("haproxy", "haproxy", configure)


def microsocks(*arguments):
    """A SOCKS5 proxy that resolves names; ``-u USER -P PASSWORD`` makes it ask for them."""

    def configure(directory, port):
        return ["-i", "127.0.0.1", "-p", port, *arguments]

    return started("microsocks", "microsocks", configure)


def danted(*rules):
    """A SOCKS4, 4a and 5 proxy; allows everything that these rules don't decide."""

    def configure(directory, port):
        lines = [
            "logoutput: stderr",
            f"internal: 127.0.0.1 port = {port}",
            "external: 127.0.0.1",
            "clientmethod: none",
            "socksmethod: none",
            # Always the same user: a process that changes it would not end with us (see Peer).
            root_only("user.privileged: root", "user.unprivileged: root"),
            "client pass { from: 0/0 to: 0/0 }",
            *rules,
            "socks pass { from: 0/0 to: 0/0 }",
        ]
        write(directory / "danted.conf", "\n".join(lines))
        return ["-f", "danted.conf", "-p", "danted.pid"]

    return started("danted", "dante-server", configure)


# --- a web server ---


def nginx(build_site, ports, *names):
    """A web server; build_site(*ports) is the inside of its ``http`` block.

    In its directory are ``certificate.pem``, for these names, and ``files``, for what it serves.
    """

    def configure(directory, *ports):
        certificate(directory, *names)
        (directory / "files").mkdir()
        temporary = "\n".join(
            f"{kind}_temp_path temporary_{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        write(
            directory / "nginx.conf",
            f"""
            {root_only("user root;")}
            daemon off;
            pid nginx.pid;
            worker_processes 1;
            error_log stderr;
            events {{ worker_connections 256; }}
            http {{
                access_log off;
                {temporary}
                default_type text/plain;
                {build_site(*ports)}
            }}
            """,
        )
        return ["-p", f"{directory}/", "-c", "nginx.conf", "-e", "stderr"]

    return started("nginx", "nginx-light", configure, ports)
