"""The configurations of docs/scaling.md, with the programs that they are for, and a real Redis."""

import contextlib
import inspect
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

import pytest
from support import peers
from support.certificates import client_context
from support.pairs import SOON, wait_until
from support.redis_server import RedisServer, needs_redis
from support.serving import echo, serving
from support.snippets import DOCS, PATIENCE, PORT, ROOT, block, free_port, running_server

from syncws import ConnectionClosed, InvalidStatus, Router, connect, serve

pytest.importorskip("redis")

PAGE = "scaling"
TEXT = (DOCS / "scaling.md").read_text(encoding="utf-8")

#: Those addresses of servers that are in the configurations.
SERVERS = ("10.0.0.11:8765", "10.0.0.12:8765")


def text(name):
    """A block of the page that isn't Python."""
    pattern = rf"^<!-- {name} -->\n```\w+\n(.*?)^```$"
    (found,) = re.findall(pattern, TEXT, re.M | re.S)
    return found


def replace(configuration, *changes):
    """Change what is there, and only that."""
    for old, new in changes:
        assert old in configuration, old
        configuration = configuration.replace(old, new)
    return configuration


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def servers(redis, monkeypatch):
    """Two processes of the page's program, with their ports."""
    redis.command("FLUSHALL")
    monkeypatch.setenv("HUB", redis.url)
    with running_server(block(PAGE, "chat")) as one, running_server(block(PAGE, "chat")) as two:
        yield one, two


# --- balancers ---


def nginx(servers, *changes):
    """A running nginx with the page's configuration."""

    def configure(directory, port):
        certificate = peers.certificate(directory, "localhost")
        temporary = "\n".join(
            f"{kind}_temp_path temporary_{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        configuration = replace(
            text("nginx"),
            *zip(SERVERS, servers),
            ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
            ("/etc/ssl/chat.pem", str(certificate)),
            # What its packages have as defaults, and only root can write to.
            ("http {\n", f"http {{\naccess_log off;\n{temporary}\n"),
            ("worker_connections 20000", "worker_connections 256"),
            *changes,
        )
        peers.write(directory / "nginx.conf", configuration)
        own = f"daemon off; pid {directory}/nginx.pid; {peers.root_only('user root;')}"
        return ["-p", f"{directory}/", "-c", "nginx.conf", "-e", "stderr", "-g", own]

    return peers.started("nginx", "nginx-light", configure)


def haproxy(servers, *changes):
    """A running HAProxy with the page's configuration."""

    def configure(directory, port):
        certificate = peers.certificate(directory, "localhost")
        configuration = replace(
            text("haproxy"),
            *zip(SERVERS, servers),
            ("bind :443", f"bind 127.0.0.1:{port}"),
            ("/etc/ssl/chat.pem", str(certificate)),
            ("maxconn 20000", "maxconn 200"),
            *changes,
        )
        (directory / "haproxy.cfg").write_text(configuration, encoding="utf-8")
        return ["-db", "-f", "haproxy.cfg"]

    return peers.started("haproxy", "haproxy", configure)


balancers = pytest.mark.parametrize("balancer", [nginx, haproxy])


def addresses(servers):
    return [f"127.0.0.1:{port}" for port, _ in servers]


def join(peer, name, **options):
    """Connect by way of a balancer; return the connection, what address it has, and its process."""
    uri = f"wss://localhost:{peer.port}/rooms/{name}"
    ws = connect(uri, ssl=client_context(), **options)
    welcome = re.fullmatch(r"welcome, (\S+), to process (\d+)", ws.recv(SOON))
    return ws, welcome[1], int(welcome[2])


@needs_redis
@pytest.mark.peers
@balancers
def test_clients_are_spread_and_chat(servers, balancer):
    with balancer(addresses(servers)) as peer, contextlib.ExitStack() as stack:
        clients, seen, processes = [], set(), []
        for _ in range(6):
            ws, address, process = join(peer, "a", source_address=("127.0.0.1", 0))
            clients.append(stack.enter_context(ws))
            seen.add(address)
            processes.append(process)
        assert seen == {"127.0.0.1"}
        pids = {program.process.pid for _, program in servers}
        assert {processes.count(pid) for pid in pids} == {3}
        for number, ws in enumerate(clients):
            ws.send(f"from {number}")
        heard = [[ws.recv(SOON) for _ in clients] for ws in clients]
        assert sorted(heard[0]) == [f"from {number}" for number in range(6)]
        assert heard == [heard[0]] * 6


@needs_redis
@pytest.mark.peers
@balancers
def test_addresses_and_origins_are_the_clients(servers, balancer):
    claims = {
        "X-Forwarded-For": "192.0.2.66",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Port": "1",
        "Forwarded": "for=192.0.2.66;host=evil.example;proto=http",
    }
    with balancer(addresses(servers)) as peer:
        origin = f"https://localhost:{peer.port}"
        ws, address, _ = join(
            peer,
            "a",
            source_address=("127.0.0.2", 0),
            origin=origin,
            extra_headers=claims,
        )
        ws.close()
        assert address == "127.0.0.2"
        for foreign in ("https://evil.example", "https://localhost:1"):
            with pytest.raises(InvalidStatus) as raised:
                join(peer, "a", origin=foreign, extra_headers=claims)
            assert raised.value.response.status_code == 403


@needs_redis
@pytest.mark.peers
@balancers
def test_clients_of_a_server_that_stops_get_to_the_other(servers, balancer):
    (_, first), (_, second) = servers
    with balancer(addresses(servers)) as peer, contextlib.ExitStack() as stack:
        clients = [join(peer, "a") for _ in range(2)]
        for ws, _, _ in clients:
            stack.enter_context(ws)
        first.process.send_signal(signal.SIGTERM)
        (lost,) = [ws for ws, _, process in clients if process == first.process.pid]
        with pytest.raises(ConnectionClosed):
            lost.recv(PATIENCE)
        assert lost.close_code == 1012
        (stays,) = [ws for ws, _, process in clients if process == second.process.pid]
        for _ in range(4):
            ws, _, process = join(peer, "a")
            stack.enter_context(ws)
            assert process == second.process.pid
        ws.send("hello")
        assert ws.recv(SOON) == stays.recv(SOON) == "hello"


@pytest.mark.peers
@pytest.mark.parametrize(
    ("balancer", "timeout"), [(nginx, "proxy_read_timeout"), (haproxy, "timeout tunnel")]
)
def test_pings_keep_a_connection_that_is_silent(balancer, timeout):
    (interval,) = re.findall(r"a keepalive ping every (\d+) seconds", TEXT)
    assert serving_default("ping_interval") == int(interval)
    (seconds,) = re.findall(rf"{timeout} (\d+)s", TEXT)
    assert int(seconds) > 2 * int(interval)
    shorter = (f"{timeout} {seconds}s", f"{timeout} 1s")
    router = Router()
    router.route("/")(echo)
    router.http("/health")(lambda request: "fine\n")  # HAProxy asks
    for ping_interval, stays in ((0.3, True), (None, False)):
        with contextlib.ExitStack() as stack:
            options = {"ping_interval": ping_interval, "trusted_proxies": ["127.0.0.1"]}
            server = stack.enter_context(serving(router, **options))
            peer = stack.enter_context(balancer([f"127.0.0.1:{server.port}"] * 2, shorter))
            ws = connect(f"wss://localhost:{peer.port}/", ssl=client_context(), ping_interval=None)
            stack.enter_context(ws)
            assert ws.wait_closed(2.5 if stays else SOON) != stays


def serving_default(name):
    return inspect.signature(serve).parameters[name].default


# --- the command ---


@pytest.fixture(scope="module")
def _needs_processes():
    """Skip a test where the command can't start several processes yet."""
    help_text = subprocess.run(
        [sys.executable, "-m", "syncws", "serve", "--help"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    ).stdout
    if "--processes" not in help_text:
        pytest.skip("syncws serve has no --processes")


COMMAND = text("serve").strip()


@contextlib.contextmanager
def started(command, redis, directory):
    """A command of the page, for this Redis; yields its port, and the process."""
    (directory / "chat.py").write_text(block(PAGE, "chat"), encoding="utf-8")
    port = free_port()
    command = re.sub(r"redis://\w+:6379", redis.url, command).replace(PORT, str(port))
    program, *arguments = shlex.split(command)
    assert os.path.basename(program) == "syncws"
    process = subprocess.Popen(
        [sys.executable, "-m", "syncws", *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    try:
        wait_until(lambda: is_well(process, port), PATIENCE)
        yield port, process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)


def is_well(process, port):
    assert process.poll() is None
    url = f"http://127.0.0.1:{port}/health"
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=SOON) as response:
        return response.read() == b"fine\n"
    return False


@needs_redis
@pytest.mark.usefixtures("_needs_processes")
def test_scaling_serve(redis, tmp_path):
    with started(COMMAND, redis, tmp_path) as (port, process), contextlib.ExitStack() as stack:
        clients = {}
        deadline = time.monotonic() + PATIENCE
        while len(clients) < 2:  # the system divides them by their ports
            assert time.monotonic() < deadline, "all clients have the same process"
            ws = stack.enter_context(connect(f"ws://127.0.0.1:{port}/rooms/a"))
            clients.setdefault(ws.recv(SOON).split()[-1], ws)
        one, two = clients.values()
        one.send("hello")
        assert receive_until(two, "hello")
        process.send_signal(signal.SIGTERM)
        assert all(ws.wait_closed(PATIENCE) for ws in clients.values())
        assert process.wait(PATIENCE) == 0


def receive_until(ws, wanted):
    while ws.recv(SOON) != wanted:
        pass
    return True


# --- units and containers ---


def unit():
    """The unit's settings, as (section, name, value)."""
    section = None
    for line in text("unit").splitlines():
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            section = heading[1]
        elif line:
            name, _, value = line.partition("=")
            yield section, name, value


def test_the_unit_starts_the_command_of_the_page():
    settings = {(section, name): value for section, name, value in unit()}
    assert len(settings) == len(list(unit()))
    assert settings["Service", "ExecStart"] == f"/srv/chat/venv/bin/{COMMAND}"
    assert settings["Service", "ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert settings["Service", "KillMode"] == "mixed"
    assert settings["Install", "WantedBy"] == "multi-user.target"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_has_nothing_to_say_about_the_unit(tmp_path):
    path = tmp_path / "chat.service"
    program = sys.executable  # the one of the page isn't there
    path.write_text(replace(text("unit"), ("/srv/chat/venv/bin/syncws", program)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", path],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if "chat.service" in line]
    assert said == [], done.stderr
    path.write_text(path.read_text().replace("KillMode=mixed", "KillMode=nonsense"))
    wrong = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", path],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert "nonsense" in wrong.stderr  # so it does look


INSTRUCTIONS = {"FROM", "RUN", "WORKDIR", "COPY", "USER", "EXPOSE", "CMD"}


def container():
    """The container file's instructions."""
    lines = [line.partition(" ") for line in text("container").splitlines()]
    assert {name for name, _, _ in lines} <= INSTRUCTIONS
    assert [name for name, _, _ in lines].count("CMD") == 1
    assert lines[0][0] == "FROM"
    assert lines[-1][0] == "CMD"
    return {name: value for name, _, value in lines}


def test_the_container_starts_the_command_of_the_page():
    instructions = container()
    command = json.loads(instructions["CMD"])  # a list: no shell is process 1
    own = shlex.split(COMMAND.replace("redis://localhost", "redis://redis"))
    assert [word for word in command if word not in ("--host", "0.0.0.0")] == own
    assert command[command.index("--port") + 1] == instructions["EXPOSE"] == PORT
    assert instructions["COPY"] == "chat.py ."
    assert instructions["USER"] == "nobody"


@needs_redis
@pytest.mark.usefixtures("_needs_processes")
def test_the_container_s_command_serves(redis, tmp_path):
    command = shlex.join(json.loads(container()["CMD"]))
    with started(command, redis, tmp_path) as (port, process):
        with connect(f"ws://127.0.0.1:{port}/rooms/a") as ws:
            assert ws.recv(SOON).startswith("welcome")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


# --- the program ---


@needs_redis
def test_scaling_chat(redis, monkeypatch):
    monkeypatch.setenv("HUB", redis.url)
    with running_server(block(PAGE, "chat")) as (port, program):
        with connect(f"ws://localhost:{port}/rooms/a") as ws:
            assert ws.recv(SOON) == f"welcome, 127.0.0.1, to process {program.process.pid}"
            ws.send("hello")
            assert ws.recv(SOON) == "hello"
            program.process.send_signal(signal.SIGTERM)
            assert ws.wait_closed(PATIENCE)
            assert ws.close_code == 1012
        assert program.process.wait(PATIENCE) == 0
