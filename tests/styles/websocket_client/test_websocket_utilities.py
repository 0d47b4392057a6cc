"""Small things that programs import from websocket-client's submodules."""

import logging
import socket

import pytest
from support.pairs import SOON, socket_pair
from support.serving import serving
from support.websockets import connecting

from syncws import styles as websocket
from syncws.styles import ABNF


def test_names_are_found_though_they_are_loaded_late():
    for names in websocket._ELSEWHERE.values():
        for name in names.split():
            assert getattr(websocket, name).__class__ is not type(websocket)
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(websocket, "no_such_name")  # noqa: B009


@pytest.mark.parametrize(
    ("text", "valid"),
    [(b"a", True), ("ä", True), ("ä".encode(), True), (b"\xff", False), ("\ud800", False)],
)
def test_utf_8_is_told(text, valid):
    assert websocket.validate_utf8(text) is valid


def test_arguments_of_exceptions_are_told():
    assert websocket.extract_err_message(ValueError()) is None
    assert websocket.extract_err_message(ValueError(5, "x")) == "5"
    assert websocket.extract_error_code(OSError(5, "x")) == 5
    assert websocket.extract_error_code(ValueError(5)) is None
    assert websocket.extract_error_code(ValueError("a", "b")) is None
    with websocket.NoLock() as nothing:
        assert nothing is None


def test_cookies_are_kept_by_domains():
    jar = websocket.SimpleCookieJar()
    for nothing in ("", None, "a=b"):
        jar.add(nothing)
    assert jar.jar == {}
    jar.add("a=b; domain=Abc.com")
    jar.add("c=d; domain=.abc.com")
    assert list(jar.jar) == [".abc.com"]
    assert jar.get("x.abc.COM") == jar.get("abc.com") == "a=b; c=d"
    assert jar.get("xabc.com") == jar.get(None) == ""
    jar.set("e=f; domain=abc.com")
    assert jar.get("abc.com") == "e=f"


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("ws://a.b/", ("a.b", 80, "/", False)),
        ("ws://a.b", ("a.b", 80, "/", False)),
        ("wss://a.b/r?x=y&z", ("a.b", 443, "/r?x=y&z", True)),
        ("ws://[::1]:8080/r", ("::1", 8080, "/r", False)),
    ],
)
def test_urls_are_parsed(url, parts):
    assert websocket.parse_url(url) == parts


@pytest.mark.parametrize("url", ["a.b", "http://a.b/", "ws:///r", "ws:"])
def test_urls_that_are_none_are_value_errors(url):
    with pytest.raises(ValueError, match="invalid"):
        websocket.parse_url(url)


def test_proxy_is_found(monkeypatch):
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    find = websocket.get_proxy_info
    assert find("a.b", False) == (None, 0, None)
    assert find("a.b", False, "proxy", 80, ("me", "x")) == ("proxy", 80, ("me", "x"))
    assert find("a.b", False, "proxy", 80, no_proxy=["a.b"]) == (None, 0, None)
    with pytest.raises(websocket.WebSocketProxyException):
        find("a.b", False, "proxy")
    monkeypatch.setenv("http_proxy", "http://m%40e:x@plain:81/")
    monkeypatch.setenv("HTTPS_PROXY", "http://secure/")
    monkeypatch.setenv("no_proxy", "c.d, 10.0.0.0/8")
    assert find("a.b", False) == ("plain", 81, ("m@e", "x"))
    assert find("a.b", True) == ("secure", None, None)
    assert find("x.c.d", True) == find("10.1.2.3", False) == (None, 0, None)


def test_options_of_a_proxy_are_told():
    info = websocket.proxy_info(http_proxy_host="a", http_proxy_port=1, proxy_type="socks5")
    assert (info.proxy_host, info.proxy_port, info.proxy_protocol) == ("a", 1, "socks5")
    assert (info.auth, info.no_proxy, info.proxy_timeout) == (None, None, None)
    assert websocket.proxy_info(http_proxy_port=1).proxy_port == 0
    with pytest.raises(websocket.WebSocketException):
        websocket.proxy_info(http_proxy_host="a", proxy_type="gopher")


def test_sockets_of_the_program_are_sent_over_and_received_from():
    local, remote = socket_pair()
    with local, remote:
        for option in websocket.DEFAULT_SOCKET_OPTION:
            local.setsockopt(*option)
        assert websocket.send(local, "hä\n") == 4
        assert websocket.send(local, b"more") == 4
        assert websocket.recv_line(remote) == b"h\xc3\xa4\n"
        assert websocket.recv(remote, 100) == b"more"
        remote.settimeout(0.01)
        with pytest.raises(websocket.WebSocketTimeoutException):
            websocket.recv(remote, 1)
        local.shutdown(socket.SHUT_WR)
        with pytest.raises(websocket.WebSocketConnectionClosedException, match="was lost"):
            websocket.recv(remote, 1)
    with pytest.raises(websocket.WebSocketConnectionClosedException):
        websocket.send(None, b"x")


def test_program_logs_by_the_functions_of_before(caplog):
    caplog.set_level(logging.DEBUG, "syncws.trace")
    for name in ("error", "warning", "info", "debug"):
        getattr(websocket, name)(f"100% {name}")
    websocket.trace("not traced")
    websocket.dump("not", "traced")
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING", "INFO", "DEBUG"]
    assert websocket.isEnabledForDebug()
    assert websocket.isEnabledForError()
    caplog.clear()
    handler = logging.NullHandler()
    websocket.enableTrace(True, handler)
    try:
        websocket.dump("title", "text")
    finally:
        websocket.enableTrace(False)
    assert "text" in caplog.messages


def test_answer_and_options_can_be_read_off():
    ws = websocket.WebSocket(sockopt=((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),))
    assert (ws.handshake_response, ws.close_frame, ws.sock_opt.sslopt) == (None, None, {})
    with serving(subprotocols=["chat"]) as server:
        ws.connect(server.uri, subprotocols=["chat"])
        response = ws.handshake_response
        assert (response.status, response.subprotocol) == (101, "chat")
        assert response.headers == ws.headers
        ws.sock_opt.timeout = 0.01
        with pytest.raises(websocket.WebSocketTimeoutException):
            ws.recv()
        ws.settimeout(SOON)
        assert ws.sock_opt.timeout == SOON
        ws.close(4000, "bye")
        frame = ws.close_frame
        assert (frame.opcode, frame.data) == (ABNF.OPCODE_CLOSE, b"\x0f\xa0bye")
    with serving() as server:
        ws = connecting(server)
        ws.shutdown()
        assert ws.close_frame is None
