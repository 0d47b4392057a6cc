"""python-socketio's client and Flask-SocketIO's threading server.

The client is over websocket-client, the server over simple-websocket.
"""

import concurrent.futures
import contextlib

import pytest
from support.certificates import authority
from support.partners import (
    BEHIND,
    PATIENCE,
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

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(120)]


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


#: The libraries that ours stands in for, of the client and of the server, by what is ours.
OURS = {
    "nothing": ([], []),
    "client": (["websocket"], []),
    "server": ([], ["simple_websocket"]),
    "client and server": (["websocket"], ["simple_websocket"]),
}


@pytest.fixture(scope="module")
def plays(tmp_path_factory):
    """What was told, by what is ours; two at a time are played."""
    directory = tmp_path_factory.mktemp("plays")
    authority()  # one for all
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        yield {
            name: pool.submit(play, directory / name, *libraries)
            for name, libraries in OURS.items()
        }


@pytest.mark.parametrize("ours", list(OURS)[1:])
def test_does_the_same_with_ours(plays, ours):
    assert_equal(plays["nothing"].result(PATIENCE), plays[ours].result(PATIENCE))
