"""python-socketio's client and Flask-SocketIO's threading server.

The client is over websocket-client, the server over simple-websocket.
"""

import contextlib

import pytest
from support.certificates import authority
from support.partners import (
    BEHIND,
    assert_equal,
    in_lines,
    need,
    run_program,
    running_program,
    without_ports,
)
from support.proxies import tunnel
from support.scripted import scripted_server

need("socketio", "flask_socketio", "simple_websocket", "websocket", "requests")

pytestmark = pytest.mark.interop


def play(directory, client, server):
    """What client and server tell, with these libraries of theirs replaced by ours."""
    directory.mkdir()
    certificate = authority().issue_cert("localhost", "127.0.0.1", BEHIND)
    settings = {
        name: str(directory / f"{name}.pem") for name in ("authority", "certificate", "key")
    }
    authority().cert_pem.write_to_path(settings["authority"])
    certificate.private_key_pem.write_to_path(settings["key"])
    certificate.cert_chain_pems[0].write_to_path(settings["certificate"])
    requests = []
    with contextlib.ExitStack() as stack:
        program = stack.enter_context(running_program("flask_socketio_server", settings, server))
        _, plain, secure = program.read()
        proxy = stack.enter_context(scripted_server(tunnel(requests)))
        ports = {"http": plain, "https": secure, "proxy": proxy.port}
        told = run_program(
            "socketio_client",
            {
                **settings,
                "http": f"http://127.0.0.1:{plain}",
                "https": f"https://localhost:{secure}",
                "http behind": f"http://{BEHIND}:{plain}",
                "https behind": f"https://{BEHIND}:{secure}",
                "proxy": f"http://127.0.0.1:{proxy.port}",
            },
            client,
        )
        told += program.end()
    told += [["proxy", first] for first, _ in requests]
    return in_lines(told, lambda text: without_ports(text, ports))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return play(tmp_path_factory.mktemp("original") / "files", [], [])


@pytest.mark.parametrize(
    ("client", "server"),
    [(["websocket"], []), ([], ["simple_websocket"]), (["websocket"], ["simple_websocket"])],
    ids=["client", "server", "client and server"],
)
def test_does_the_same_with_ours(original, tmp_path, client, server):
    assert_equal(original, play(tmp_path / "ours", client, server))
