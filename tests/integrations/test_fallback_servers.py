"""The fallback in each WSGI server, really started: in those that give no socket away, too."""

import json
import shutil
import signal
import socket
import subprocess
import threading

import pytest
from support.fallback_user import (
    BYTES,
    Refused,
    ask,
    ask_for_error,
    new_nonce,
    open_by_hand,
    session,
)
from support.pairs import SOON
from support.wsgi_servers import BAD, KINDS, WsgiServer, wait_for

from syncws import ConnectionClosed, InvalidStatus, connect

#: Those with more than one thread. gunicorn's sync worker is looked at by itself.
THREADED = [kind for kind in KINDS if kind != "gunicorn-sync"] + ["waitress"]

#: Messages each way.
MANY = 2000

MODULES = {"cheroot": "cheroot", "pywsgi": "gevent", "waitress": "waitress"}


def start(kind, folder, *options):
    for name in (kind.partition("-")[0], MODULES.get(kind), "gevent" if "gevent" in kind else None):
        if name and name not in ("wsgiref", "pywsgi"):
            pytest.importorskip(name)
    if kind == "gunicorn-gthread":
        options = ("--threads", "4", *options)
    return WsgiServer(kind, folder, *options, module="fallback_app")


@pytest.fixture(scope="module", params=THREADED)
def server(request, tmp_path_factory):
    started = start(request.param, tmp_path_factory.mktemp(request.param))
    try:
        yield started
    finally:
        started.close()


@pytest.fixture(params=[False, True], ids=["polling", "streaming"])
def stream(request):
    return request.param


def expect_nothing_open(server):
    wait_for(lambda: server.status()["open"] == 0, server)


def test_messages_come_once_and_in_order_both_ways(server, stream):
    size = len(server.log)
    with session(server.port, "/echo", stream=stream) as client:
        sender = threading.Thread(target=lambda: [client.ws.send(str(i)) for i in range(MANY)])
        sender.start()
        assert [client.ws.recv(SOON) for _ in range(MANY)] == [str(i) for i in range(MANY)]
        sender.join(SOON)
        large = bytes(range(256)) * 4000
        client.ws.send(large)
        assert client.ws.recv(SOON) == large
        client.ws.close(4001, "enough")
        assert (client.ws.close_code, client.ws.close_reason) == (4001, "enough")
    assert client.kinds - {None} == {"text/event-stream" if stream else BYTES}
    wait_for(lambda: "closed by the client with 4001 'enough'" in server.log[size:], server)
    expect_nothing_open(server)
    assert not BAD.search(server.log[size:]), server.log[size:]


def test_the_server_s_close_code_comes_last(server, stream):
    with session(server.port, "/count", stream=stream) as client:
        client.ws.send(str(MANY))
        assert list_messages(client.ws) == [str(number) for number in range(MANY)]
        assert (client.ws.close_code, client.ws.close_reason) == (4321, "that is all")
    expect_nothing_open(server)


def list_messages(ws):
    messages = []
    while True:
        try:
            messages.append(ws.recv(SOON))
        except ConnectionClosed:
            return messages


def test_the_handler_sees_a_websocket_s_request(server):
    headers = {"Cookie": "a=b; c=d"}
    if server.kind != "waitress":  # which takes them out
        headers.update({"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"})
    with session(
        server.port, "/tell?x=y", headers=headers, Syncws_Protocol="other, chat"
    ) as client:
        told = json.loads(client.ws.recv(SOON))
    assert client.told["protocol"] == "chat"
    assert told.pop("pid") > 0
    remote = told.pop("remote")
    assert remote == ["192.0.2.7", 0] if len(headers) > 1 else remote[0] == "127.0.0.1"
    assert told == {
        "transport": "polling",
        "secure": len(headers) > 1,
        "subprotocol": "chat",
        "script": "",
        "path": "/tell",
        "query": "x=y",
        "cookie": "a=b; c=d",
        "method": "GET",
    }
    expect_nothing_open(server)


def test_what_refuses_a_websocket_refuses_a_session(server):
    origin = {"Origin": "https://evil.example"}
    with pytest.raises(Refused) as raised:
        open_by_hand(server.port, "/echo", **origin)
    assert (raised.value.status, raised.value.error["code"]) == (403, "refused")
    assert raised.value.headers["Access-Control-Allow-Origin"] is None
    with pytest.raises(Refused) as raised:
        open_by_hand(server.port, "/nowhere")
    assert (raised.value.status, raised.value.error["code"]) == (404, "refused")
    expect_nothing_open(server)


def test_an_application_that_raises_is_answered_for_with_500(server):
    size = len(server.log)
    with pytest.raises(Refused) as raised:
        open_by_hand(server.port, "/broken")
    assert (raised.value.status, raised.value.error["code"]) == (500, "refused")
    wait_for(lambda: "ArithmeticError: before there is an answer" in server.log[size:], server)
    with session(server.port, "/fail") as client:
        client.ws.send("after it")
        assert list_messages(client.ws) == []
        assert client.ws.close_code == 1011
    expect_nothing_open(server)


def test_each_error_is_a_json_object(server):
    port, unknown = server.port, {"Syncws-Session": new_nonce(), "Syncws-Ack": "0"}
    post = {**unknown, "Content-Type": BYTES, "Syncws-Position": "0"}
    opening = {"Syncws-Session": "new", "Content-Type": BYTES}
    assert ask_for_error(port, "GET", "/echo", unknown) == (404, "unknown_session")
    assert ask_for_error(port, "POST", "/echo", post, b"x") == (404, "unknown_session")
    assert ask_for_error(port, "DELETE", "/echo", unknown) == (404, "unknown_session")
    assert ask_for_error(port, "PUT", "/echo", unknown, b"x") == (405, "method")
    assert ask_for_error(port, "POST", "/echo", unknown, b"x") == (415, "content_type")
    assert ask_for_error(port, "POST", "/echo", post, bytes(2**18 + 1)) == (413, "too_large")
    assert ask_for_error(port, "POST", "/echo", opening, b"") == (400, "bad_request")
    assert ask_for_error(port, "GET", "/echo", {"Syncws-Session": "?"}) == (400, "bad_request")
    _, told = open_by_hand(port, "/hold", Origin=f"http://127.0.0.1:{port}")
    known = {**post, "Syncws-Session": told["session"]}
    assert ask_for_error(
        port, "POST", "/hold", {**known, "Origin": "https://evil.example"}, b"x"
    ) == (403, "origin")
    assert ask_for_error(port, "POST", "/hold", {**known, "Syncws-Position": "1"}, b"x") == (
        409,
        "gap",
    )
    assert ask(port, "DELETE", "/hold", known)[0] == 204
    assert ask_for_error(port, "GET", "/hold", known) == (404, "unknown_session")
    expect_nothing_open(server)


def test_browsers_may_ask_first(server):
    headers = {
        "Origin": "https://elsewhere.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,syncws-nonce,syncws-session",
    }
    status, headers, body = ask(server.port, "OPTIONS", "/echo", headers)
    assert (status, body) == (204, b"")
    assert headers["Access-Control-Allow-Origin"] == "https://elsewhere.example"
    assert "Syncws-Session" in headers["Access-Control-Allow-Headers"]


def test_pages_and_websockets_are_the_application_s(server):
    size = len(server.log)
    assert server.get("/") == (200, b"<!doctype html><title>page</title>")
    assert server.get("/nothing")[0] == 404
    if server.kind == "waitress":
        with pytest.raises(InvalidStatus) as raised:
            server.connect()
        assert raised.value.response.status_code == 501
        assert not BAD.search(server.log[size:]), server.log[size:]
        return
    with server.connect() as ws:
        ws.send("by an upgrade")
        assert ws.recv(SOON) == "by an upgrade"
    expect_nothing_open(server)


def test_python_clients_find_a_way(server):
    uri = f"ws://127.0.0.1:{server.port}/echo"
    with connect(uri, fallback=True) as ws:
        assert (ws.transport == "websocket") is (server.kind != "waitress")
        ws.send("hello")
        assert ws.recv(SOON) == "hello"
    with connect(uri.replace("ws:", "http:")) as ws:
        assert ws.transport != "websocket"
        for number in range(100):
            ws.send(str(number))
        assert [ws.recv(SOON) for _ in range(100)] == [str(number) for number in range(100)]
    expect_nothing_open(server)


def test_a_chunked_body_is_read_where_the_server_tells_its_end(server):
    _, told = open_by_hand(server.port, "/hold")
    head = (
        f"POST /hold HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
        f"Content-Type: {BYTES}\r\nSyncws-Session: {told['session']}\r\nSyncws-Position: 0\r\n"
        "Connection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), SOON) as sock:
        # A close frame, in two chunks.
        sock.sendall(head.encode() + b"2\r\n\x88\x80\r\n4\r\n\0\0\0\0\r\n0\r\n\r\n")
        answer = sock.makefile("rb").read().decode("latin-1")
    if server.kind in ("wsgiref", "pywsgi"):
        assert answer.split()[1] in ("204", "400"), answer
        ask(server.port, "DELETE", "/hold", {"Syncws-Session": told["session"]})
    else:
        assert answer.split()[1] == "204", answer
        assert "\r\nSyncws-Ack: 6\r\n" in answer
    expect_nothing_open(server)


# --- the end ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("gunicorn-gthread", signal.SIGTERM),
        ("gunicorn-gevent", signal.SIGTERM),
        ("cheroot", signal.SIGTERM),
        ("waitress", signal.SIGINT),
    ],
)
def test_a_server_that_stops_says_so(kind, number, stream, tmp_path):
    server = start(kind, tmp_path)
    try:
        with session(server.port, "/hold", stream=stream) as client:
            assert client.ws.recv(SOON) == "ready"
            wait_for(lambda: server.status()["waiting"] == 1, server)
            server.process.send_signal(number)
            assert list_messages(client.ws) == []
            assert client.ws.close_code == 1001
        server.process.wait(SOON)
    finally:
        server.close()


# --- processes --------------------------------------------------------------------


def test_a_worker_that_was_forked_after_loading_has_its_own_sessions(tmp_path):
    server = start("gunicorn-gthread", tmp_path, "--preload")
    try:
        for number in range(2):
            with session(server.port) as client:
                client.ws.send(str(number))
                assert client.ws.recv(SOON) == str(number)
        assert not BAD.search(server.log)
    finally:
        server.close()


def test_another_process_says_that_it_has_no_such_session(tmp_path):
    server = start("gunicorn-gthread", tmp_path, "--workers", "2")
    try:
        _, told = open_by_hand(server.port, "/hold")
        headers = {"Syncws-Session": told["session"], "Syncws-Ack": "0", "Syncws-Wait": "1"}
        kinds = set()

        def has_met_both():
            status, _, body = ask(server.port, "GET", "/hold", headers)
            if status == 404:
                assert json.loads(body)["error"]["code"] == "unknown_session"
            kinds.add(status)
            return {200, 404} <= kinds

        wait_for(has_met_both, server)
        assert "must go to one process" in server.log
    finally:
        server.close()


def test_where_there_is_one_thread_none_waits_for_long(tmp_path):
    server = start("gunicorn-sync", tmp_path)
    try:
        with session(server.port, wait=25, stream=True) as client:
            for number in range(3):
                client.ws.send(str(number))
                assert client.ws.recv(SOON) == str(number)
        assert "text/event-stream" not in client.kinds  # which would have the thread
    finally:
        server.close()


def test_one_thread_is_left_to_others(tmp_path):
    server = start("waitress", tmp_path)  # it has four threads
    try:
        opened = [open_by_hand(server.port, "/hold")[1]["session"] for _ in range(3)]
        with pytest.raises(Refused) as raised:
            open_by_hand(server.port, "/hold")
        assert (raised.value.status, raised.value.error["code"]) == (503, "busy")
        assert raised.value.headers["Retry-After"]
        waiting = []
        for name in opened:
            headers = {"Syncws-Session": name, "Syncws-Ack": "7", "Syncws-Wait": "25"}
            assert ask(server.port, "GET", "/hold", {**headers, "Syncws-Ack": "0"})[0] == 200
            arguments = (server.port, "GET", "/hold", headers)
            thread = threading.Thread(target=lambda args=arguments: results.append(ask(*args)[0]))
            waiting.append(thread)
        results = []
        for thread in waiting:
            thread.start()
        assert server.get("/")[0] == 200
        for name in opened:
            assert ask(server.port, "DELETE", "/hold", {"Syncws-Session": name})[0] == 204
        for thread in waiting:
            thread.join(SOON)
        assert results == [404] * 3 or set(results) <= {200, 404}
    finally:
        server.close()


# --- servers of their own make ----------------------------------------------------


@pytest.mark.skipif(shutil.which("uwsgi") is None, reason="needs uWSGI")
def test_uwsgi_serves_the_fallback(tmp_path, stream):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    plugins = ["--plugin", "python3"] if shutil.which("uwsgi-core") else []
    folder = __file__.rpartition("/tests/")[0]
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *["uwsgi", *plugins, "--http-socket", f"127.0.0.1:{port}", "--threads", "4"],
                *["--pythonpath", folder, "--pythonpath", f"{folder}/tests"],
                *["--die-on-term", "--module", "support.fallback_app"],
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)} if plugins else None,
        )

    class Uwsgi:
        log = property(lambda self: (tmp_path / "log").read_text())

    uwsgi = Uwsgi()
    uwsgi.process = process
    try:
        wait_for(lambda: "spawned uWSGI worker 1" in uwsgi.log, uwsgi)
        with session(port, stream=stream) as client:
            sender = threading.Thread(target=lambda: [client.ws.send(str(i)) for i in range(MANY)])
            sender.start()
            assert [client.ws.recv(SOON) for _ in range(MANY)] == [str(i) for i in range(MANY)]
            sender.join(SOON)
            client.ws.close(4001, "enough")
            assert client.ws.close_code == 4001
        assert client.kinds - {None} == {"text/event-stream" if stream else BYTES}
    finally:
        process.terminate()
        process.wait(SOON)
