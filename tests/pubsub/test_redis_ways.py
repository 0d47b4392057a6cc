"""Ways to reach Redis, and what processes do with a hub: fork, end."""

import os
import signal
import subprocess
import sys

import pytest
from support.forking import FORKING, HAS_FORK
from support.pairs import SOON, run, wait_until
from support.redis_server import NEEDS_REDIS, RedisServer
from support.snippets import free_port

from syncws.pubsub import Hub
from syncws.testing import pair

redis = pytest.importorskip("redis")

pytestmark = NEEDS_REDIS


def assert_works(url, other=None, **kwargs):
    """Both ways work, and a thread that waits is woken."""
    with Hub(url, **kwargs) as hub, Hub(other or url, **kwargs) as publisher, pair() as ends:
        for name in "ab":
            hub.room(name).add(ends.server, data=name)
            publisher.publish(name, name)
            assert ends.client.recv(SOON) == name
        assert [member.data for member in publisher.room("a").present()] == ["a"]


def test_a_client_of_the_programs(redis_server, tmp_path):
    all_options = ({}, {"socket_timeout": 0.2}, {"protocol": 3}, {"db": 1})
    for number, options in enumerate(all_options):
        client = redis.Redis.from_url(redis_server.url, **options)
        assert_works(client, prefix=f"{tmp_path.name}{number}:")
        assert client.ping()  # it is the program's, and stays open
        client.close()
    with pytest.raises(TypeError, match="decode_responses"):
        Hub(redis.Redis.from_url(redis_server.url, decode_responses=True))
    with pytest.raises(TypeError, match="a hub's URL"):
        Hub(5)
    with pytest.raises(ValueError, match="scheme"):
        Hub("http://localhost")


def test_resp3(redis_server, tmp_path):
    assert_works(f"{redis_server.url}?protocol=3", prefix=f"{tmp_path.name}:")
    assert_works(f"{redis_server.url}?protocol=2", prefix=f"{tmp_path.name} too:")


def test_unix_socket(tmp_path):
    path = tmp_path / "redis.sock"
    with RedisServer(tmp_path, "--unixsocket", str(path)):
        assert_works(f"unix://{path}")


def test_tls(tmp_path):
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    certificate, trusted = tmp_path / "certificate.pem", tmp_path / "authority.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
    authority.cert_pem.write_to_path(trusted)
    port = free_port()
    options = (
        *("--tls-port", str(port), "--tls-auth-clients", "no"),
        *("--tls-cert-file", str(certificate), "--tls-key-file", str(certificate)),
        *("--tls-ca-cert-file", str(trusted)),
    )
    with RedisServer(tmp_path, *options):
        assert_works(f"rediss://localhost:{port}?ssl_ca_certs={trusted}")


def test_connections_that_are_idle_are_closed(redis_server, tmp_path):
    def only_the_thread_that_waits():
        clients = server.command("CLIENT", "LIST").splitlines()
        return all("cmd=xread" in client or "cmd=client" in client for client in clients)

    with RedisServer(tmp_path, "--timeout", "1") as server, Hub(server.url) as hub:
        hub.publish("r", "a")
        wait_until(only_the_thread_that_waits, 30)
        hub.publish("r", "b")
        assert [entry.message for entry in hub.room("r").history()] == ["a", "b"]


@pytest.mark.slow
def test_sentinel(tmp_path):
    ports = {}
    servers = []
    for name in ("master", "replica"):
        (tmp_path / name).mkdir()
        more = ("--replicaof", "127.0.0.1", str(ports["master"])) if ports else ()
        servers.append(RedisServer(tmp_path / name, *more))
        ports[name] = servers[-1].port
    (tmp_path / "sentinel").mkdir()
    config = tmp_path / "sentinel" / "sentinel.conf"
    config.write_text(
        f"sentinel monitor main 127.0.0.1 {ports['master']} 1\n"
        "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 5000\n"
    )
    watch = RedisServer(tmp_path, command=["redis-server", str(config), "--sentinel"])
    try:
        wait_until(lambda: "slaves=1" in watch.command("INFO", "sentinel"), 30)
        client = redis.Sentinel([("127.0.0.1", watch.port)]).master_for("main")
        with Hub(client) as hub, pair() as ends:
            hub.room("r").add(ends.server)
            hub.publish("r", "before")
            assert ends.client.recv(SOON) == "before"
            wait_until(lambda: "before" in servers[1].command("XRANGE", "syncws:{r}", "-", "+"))
            servers[0].stop()
            hub.publish("r", "after", timeout=60)
            assert ends.client.recv(60) == "after"
    finally:
        for server in (watch, *servers):
            server.stop()


# --- processes ---


@pytest.mark.skipif(not HAS_FORK, reason="there is no fork()")
@pytest.mark.parametrize("when", ["new", "begun"])
def test_forked_children_publish_and_receive(redis_server, tmp_path, when):
    ignore = "ignore:This process:DeprecationWarning"  # that it has threads
    command = [sys.executable, "-W", ignore, "-c", FORKING, redis_server.url, tmp_path.name, when]
    subprocess.run(command, check=True, timeout=60)


ENDING = """
import sys
from syncws.pubsub import Hub
from syncws.testing import pair

hub = Hub(sys.argv[1], prefix=sys.argv[2])
ends = pair()
hub.room("r").add(ends.server, data="Ann")
listener = hub.room("r").listen()
print("ready", flush=True)
if sys.argv[3] == "interrupted":
    next(listener)
"""


@pytest.mark.parametrize("how", ["at the end", "interrupted"])
def test_a_program_that_does_not_close_its_hub_ends(redis_server, tmp_path, how):
    command = [sys.executable, "-c", ENDING, redis_server.url, tmp_path.name, how]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as program:
        assert program.stdout.readline() == "ready\n"
        if how == "interrupted":
            program.send_signal(signal.SIGINT)
        _, errors = program.communicate(timeout=SOON)
    if how == "interrupted":
        assert errors.splitlines()[-1] == "KeyboardInterrupt"
    else:
        assert (program.returncode, errors) == (0, "")
    with Hub(redis_server.url, prefix=tmp_path.name) as hub:
        wait_until(lambda: hub.room("r").present() == [], 30)


def test_publishing_from_a_signal_handler(redis_server, tmp_path):
    with Hub(redis_server.url, prefix=tmp_path.name) as hub:
        refused = []

        def handle(*args):
            try:
                hub.publish("r", "handler")
            except Exception as exc:
                refused.append(exc)

        before = signal.signal(signal.SIGUSR1, handle)
        try:
            for i in range(300):
                stop = run(os.kill, os.getpid(), signal.SIGUSR1)
                hub.publish("r", str(i))
                stop.result()
        finally:
            signal.signal(signal.SIGUSR1, before)
        messages = [entry.message for entry in hub.room("r").history(1000)]
        assert [message for message in messages if message != "handler"] == [
            str(i) for i in range(300)
        ]
        assert messages.count("handler") == 300 - len(refused)
        assert all("signal handler" in str(exc) for exc in refused)
