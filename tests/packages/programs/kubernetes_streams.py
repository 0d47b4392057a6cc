"""The Kubernetes client's streams: commands in pods, and their ports."""

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import portforward, stream
from support.telling import at_once, mark, settings, tell


def api(server="ws", path="", **options):
    configuration = client.Configuration()
    configuration.host = settings[server].replace("ws", "http", 1) + path
    configuration.api_key = {"authorization": "Bearer token"}
    configuration.ssl_ca_cert = settings["authority"]
    for name, value in options.items():
        setattr(configuration, name, value)
    return client.CoreV1Api(client.ApiClient(configuration))


def execute(core, *command, **options):
    return stream(
        core.connect_get_namespaced_pod_exec,
        "pod",
        "default",
        command=list(command),
        **{"stdin": False, "stdout": True, "stderr": True, "tty": False, **options},
    )


def command():
    tell("command", execute(api(path="/exec"), "ls", "-l"))
    tell("command", execute(api(path="/exec"), "ls", "binary", binary=True))


def large():
    tell("large", mark(execute(api(path="/large"), "cat")))


def timeout():
    tell("timeout", execute(api(path="/shell/timeout"), "sh", _request_timeout=0.3))


def shell():
    ws = execute(api(path="/shell"), "sh", stdin=True, _preload_content=False)
    tell("shell", ws.subprotocol, ws.is_open(), ws.peek_stdout())
    for line in "hello\n", "ünïcode\n", "x" * (2**20) + "\n":
        ws.write_stdin(line)
        answer = ws.readline_stdout(timeout=10)
        tell("shell", answer if len(answer) < 100 else mark(answer))
    ws.write_stdin(b"bytes\n")
    ws.update(timeout=10)
    tell("shell", ws.read_stdout(), ws.read_stderr(timeout=0.01))
    ws.write_stdin("exit\n")
    ws.run_forever(timeout=10)
    tell("shell", ws.is_open(), ws.read_stderr(), ws.returncode)
    ws.close()


def close():
    ws = execute(api(path="/shell/close"), "sh", stdin=True, _preload_content=False)
    ws.close()
    tell("close", ws.is_open(), ws.sock.connected)


def cut():
    ws = execute(api(path="/drop"), "sh", stdin=True, _preload_content=False)
    ws.write_stdin("go on")
    try:
        ws.run_forever(timeout=10)
    except Exception as exc:
        tell("cut", exc)


def ports():
    forwarded = portforward(
        api(path="/ports").connect_get_namespaced_pod_portforward, "pod", "default", ports="80"
    )
    sock = forwarded.socket(80)
    sock.setblocking(True)
    # With more, both ends of the package's socket pair may wait for each other.
    for data in b"hello", b"\x00\xff" * 10_000:
        sock.sendall(data)
        answer = bytearray()
        while len(answer) < len(data):
            answer += sock.recv(65536)
        tell("ports", answer if len(data) < 100 else mark(bytes(answer)))
    sock.sendall(b"end")
    tell("ports", sock.recv(100), forwarded.error(80))
    sock.close()


def refused():
    for status in "401", "403":
        try:
            execute(api(path=f"/{status}"), "ls")
        except ApiException as exc:
            tell("refused", exc.status, exc.reason.splitlines()[0].partition(" -+-+- ")[0])


def secure():
    tell("secure", execute(api("wss", "/exec"), "ls", "by TLS"))
    tell("secure", mark(execute(api("wss", "/large"), "by TLS")))
    try:
        execute(api("wss", "/exec", ssl_ca_cert=None), "ls")
    except ApiException as exc:
        tell("not trusted", exc.status, "CERTIFICATE_VERIFY_FAILED" in exc.reason)
    tell("not verified", execute(api("wss", "/exec", verify_ssl=False), "ls", "all the same"))


at_once(command, large, timeout, shell, close, cut, ports, refused, secure)
core = api("secure behind", "/exec", proxy=settings["proxy"])
tell("proxy", execute(core, "ls", "by a proxy"))
