"""``WebSocket``, websocket-client's object: its options, and the errors by their older names."""

import http.cookiejar
import pickle
import socket
import ssl

import pytest
import trustme
from support.certificates import authority, contexts
from support.pairs import SOON
from support.scripted import failure, says, scripted_server, silent
from support.serving import serving

import syncws
from syncws import styles as websocket
from syncws.client.tls_options import make_context
from syncws.styles import ABNF
from syncws.styles.websocket_client.errors import NotConnected, WrongArgument, translate
from syncws.styles.websocket_client.options import connect_arguments


def request_of(uri_suffix="", server_options=None, **options):
    """The request that a server gets."""
    requests = []

    def note(ws, request):
        requests.append(request)

    with serving(process_request=note, **(server_options or {})) as server:
        ws = websocket.create_connection(f"{server.uri}{uri_suffix}", timeout=SOON, **options)
        ws.close()
        (request,) = requests
        return request, server.port


# --- the request ---


def test_origin_is_that_of_the_url():
    request, port = request_of("a?b=c")
    assert request.path == "/a?b=c"
    assert request.headers["Origin"] == f"http://127.0.0.1:{port}"
    assert connect_arguments("ws://localhost/", None, {})["origin"] == "http://localhost"
    assert connect_arguments("wss://[::1]/", None, {})["origin"] == "https://[::1]"
    assert connect_arguments("wss://localhost:80/", None, {})["origin"] == "https://localhost:80"


def test_origin_can_be_another_or_none():
    options = {"server_options": {"origins": None}}
    assert request_of(origin="http://a.b", **options)[0].headers["Origin"] == "http://a.b"
    assert "Origin" not in request_of(suppress_origin=True)[0].headers
    header = ["Origin: http://c.d"]
    assert request_of(header=header, **options)[0].headers.get_all("Origin") == ["http://c.d"]


@pytest.mark.parametrize(
    "header", [["X-A: b", "X-C:d:e", "Cookie: x=y"], {"X-A": "b", "X-C": "d:e", "Cookie": "x=y"}]
)
def test_headers_may_be_a_list_or_a_dict(header):
    request, _ = request_of(header=header, cookie="a=b", host="a.b", suppress_origin=True)
    headers = request.headers
    assert (headers["X-A"], headers["X-C"], headers["Host"]) == ("b", "d:e", "a.b")
    assert headers.get_all("Cookie") == ["x=y; a=b"]


def test_headers_may_be_given_in_all_forms():
    for header in (("X-A: b",), ["X-A:b"], {"X-A": "b", "X-C": None}):
        request, _ = request_of(header=header)
        assert (request.headers.get_all("X-A"), "X-C" in request.headers) == (["b"], False)
    assert request_of(header={"X-A": 1})[0].headers["X-A"] == "1"
    for header in ([], {}, (), None):
        assert "X-A" not in request_of(header=header)[0].headers


@pytest.mark.parametrize(
    "header", [["sec-websocket-protocol: v5,v4"], {"Sec-WebSocket-Protocol": "v5, v4"}]
)
def test_subprotocols_may_be_offered_by_header(header):
    for chosen in ("v5", "v4", None):

        def choose(ws, offered, chosen=chosen):
            return chosen

        with serving(subprotocols=["x"], select_subprotocol=choose) as server:
            ws = websocket.create_connection(server.uri, timeout=SOON, header=header)
            assert ws.connection.request.headers.get_all("Sec-WebSocket-Protocol") == ["v5, v4"]
            assert ws.subprotocol == chosen
            ws.close()
    request, _ = request_of(header=header, subprotocols=["v4", "V3"])
    assert request.headers["Sec-WebSocket-Protocol"] == "v4, V3, v5"


def test_subprotocol_is_in_lower_case():
    with serving(subprotocols=["V4.Chat"]) as server:
        ws = websocket.create_connection(server.uri, timeout=SOON, subprotocols=["V4.Chat"])
        assert ws.subprotocol == ws.getsubprotocol() == "v4.chat"
        ws.close()


HANDSHAKE = {
    "Connection": "keep-alive, Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
}


@pytest.mark.parametrize(
    "options",
    [
        {"header": HANDSHAKE},
        {"header": [f"{name}: {value}" for name, value in HANDSHAKE.items()]},
        {"connection": "Connection: Upgrade"},
        {"connection": "Connection: keep-alive, upgrade"},
        {"connection": "Upgrade"},
    ],
)
def test_headers_of_the_handshake_may_be_given_and_are_there_once(options):
    headers = request_of(**options)[0].headers
    assert [headers.get_all(name) for name in list(HANDSHAKE)[:3]] == [
        ["Upgrade"],
        ["websocket"],
        ["13"],
    ]
    assert headers["Sec-WebSocket-Key"] != HANDSHAKE["Sec-WebSocket-Key"]
    assert "Sec-WebSocket-Extensions" not in headers  # what isn't asked for can't come


def test_credentials_of_the_url_are_sent():
    options = connect_arguments("ws://user:secret@localhost/", None, {})
    assert options["origin"] == "http://localhost"


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"header": "X-A: b"}, TypeError, "list"),
        ({"header": ["X-A"]}, ValueError, "Name: value"),
        ({"header": [("X-A", "b")]}, TypeError, "Name: value"),
        ({"header": [b"X-A: b"]}, TypeError, "Name: value"),
        ({"header": {"X-A": b"b"}}, TypeError, "X-A is a str, not bytes"),
        ({"header": ["Upgrade: h2c"]}, ValueError, "opening handshake"),
        ({"header": {"Sec-WebSocket-Version": 8}}, ValueError, "'13', not '8'"),
        ({"connection": "Connection: close"}, ValueError, "opening handshake"),
        ({"suppress_host": True}, TypeError, "Host"),
        ({"dispatcher": object()}, TypeError, "thread of its own"),
        ({"get_mask_key": bytes}, TypeError, "unpredictable"),
        ({"no_such_option": 1}, TypeError, "no_such_option"),
        ({"redirect_limit": -1}, ValueError, "negative"),
        ({"ping_payload": 17}, TypeError, "int can't be sent"),
        ({"ping_payload": "x" * 126}, websocket.WebSocketProtocolException, "125 bytes"),
        (
            {"http_proxy_host": "a", "http_proxy_port": 1, "http_proxy_auth": "user:secret"},
            TypeError,
            r"http_proxy_auth= is \(user, password\)$",
        ),
        ({"http_proxy_host": "localhost"}, websocket.WebSocketProxyException, "http_proxy_port"),
    ],
)
def test_wrong_options_are_refused(options, error, match):
    with serving() as server, pytest.raises(error, match=match):
        websocket.create_connection(server.uri, timeout=SOON, **options)


def test_options_without_effect_are_accepted():
    options = {"enable_multithread": False, "skip_utf8_validation": True, "suppress_host": False}
    with serving() as server:
        ws = websocket.create_connection(server.uri, dispatcher=None, **options)
        ws.send("hello")
        assert ws.recv() == "hello"
        ws.close()


def test_socket_options_are_set():
    option = (socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    with serving() as server:
        ws = websocket.create_connection(server.uri, sockopt=((*option, 1),))
        assert ws.sock.getsockopt(*option)
        ws.close()


def test_a_socket_option_that_can_not_be_set_is_named():
    wrong = (socket.SOL_SOCKET, 9999, 1)
    with (
        serving() as server,
        pytest.raises(ValueError, match=r"sockopt \(.*9999, 1\) can't be set"),
    ):
        websocket.create_connection(server.uri, sockopt=(wrong,))
    with serving() as server:
        heard = []
        app = websocket.WebSocketApp(server.uri, on_error=lambda app, exc: heard.append(exc))
        assert app.run_forever(sockopt=(wrong,), reconnect=0.01)  # it would fail again
        assert [type(exc) for exc in heard] == [ValueError]


def test_socket_that_is_connected_is_used():
    with serving() as server:
        sock = socket.create_connection(("127.0.0.1", server.port))
        ws = websocket.create_connection("ws://example.com/", socket=sock, suppress_origin=True)
        assert ws.sock.getsockname() == sock.getsockname()
        ws.close()


def test_cookies_may_be_kept_in_a_jar():
    jar = http.cookiejar.CookieJar()
    with serving(extra_headers={"Set-Cookie": "a=b"}) as server:
        uri = server.uri.replace("127.0.0.1", "localhost")
        for _ in range(2):
            websocket.create_connection(uri, cookies=jar).close()
    assert [cookie.name for cookie in jar] == ["a"]


@pytest.mark.parametrize("limit", [0, 1])
def test_redirects_are_followed_up_to_a_limit(limit):
    with serving() as server:
        moved = f"HTTP/1.1 302 Found\r\nLocation: {server.uri}\r\n\r\n".encode()
        with scripted_server(says(moved)) as other:
            connect = websocket.create_connection
            if limit:
                connect(other.uri, redirect_limit=limit, suppress_origin=True).close()
            else:
                with pytest.raises(websocket.WebSocketBadStatusException) as info:
                    connect(other.uri, redirect_limit=limit)
                assert info.value.status_code == 302


# --- timeouts ---


@pytest.mark.parametrize("name", ["timeout", "http_proxy_timeout", "open_timeout"])
def test_connecting_ends_at_the_timeout(name):
    with scripted_server(silent) as server, failure(websocket.WebSocketTimeoutException) as info:
        websocket.create_connection(server.uri, **{name: 0.05})
    assert isinstance(info.value, TimeoutError)
    assert isinstance(info.value, websocket.WebSocketException)


def test_timeout_is_stronger_than_that_of_the_proxy():
    both = {"timeout": 1, "http_proxy_timeout": 2}
    assert connect_arguments("ws://localhost/", None, both)["open_timeout"] == 1
    assert "open_timeout" not in connect_arguments("ws://localhost/", None, {"timeout": None})


# --- TLS ---


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files: the authority's certificate; a client's certificate and key."""
    directory = tmp_path_factory.mktemp("certificates")
    own = authority().issue_cert("client@example.com")
    authority().cert_pem.write_to_path(str(directory / "ca.pem"))
    own.cert_chain_pems[0].write_to_path(str(directory / "cert.pem"))
    own.private_key_pem.write_to_path(str(directory / "key.pem"))
    return directory


@pytest.fixture(scope="module")
def tls_server():
    with serving(ssl=contexts()[0]) as server:
        yield server


def test_certificates_are_checked_by_what_is_given(files, tls_server):
    uri = f"wss://localhost:{tls_server.port}/"
    text = (files / "ca.pem").read_text()
    for sslopt in (
        {"ca_certs": str(files / "ca.pem")},
        {"ca_cert_data": text},
        {"ca_certs": str(files / "ca.pem"), "check_hostname": False},
        {"ca_certs": str(files / "ca.pem"), "cert_reqs": ssl.CERT_REQUIRED, "ca_cert_path": None},
        {"cert_reqs": ssl.CERT_NONE},
        {"cert_reqs": ssl.CERT_NONE, "check_hostname": False},
        {"context": contexts()[1]},
        {"context": contexts()[1], "suppress_ragged_eofs": True},
        {"ca_certs": str(files / "ca.pem"), "ciphers": "ECDHE+AESGCM", "ecdh_curve": "prime256v1"},
        {"ca_certs": str(files / "ca.pem"), "ssl_version": ssl.PROTOCOL_TLS_CLIENT},
        {"ssl_version": ssl.PROTOCOL_TLS_CLIENT, "cert_reqs": ssl.CERT_NONE},
    ):
        ws = websocket.create_connection(uri, timeout=SOON, sslopt=sslopt)
        assert ws.is_ssl()
        ws.close()


def test_variable_may_name_the_certificates(files, tls_server, monkeypatch):
    uri = f"wss://localhost:{tls_server.port}/"
    monkeypatch.setenv("WEBSOCKET_CLIENT_CA_BUNDLE", str(files / "ca.pem"))
    for options in ({}, {"sslopt": {}}, {"sslopt": {"check_hostname": True}}):
        websocket.create_connection(uri, timeout=SOON, **options).close()
    websocket.create_connection(uri, timeout=SOON, sslopt={"context": contexts()[1]}).close()
    for bundle in ("/nonexistent", str(files)):  # a folder without hashes as names
        monkeypatch.setenv("WEBSOCKET_CLIENT_CA_BUNDLE", bundle)
        with pytest.raises(ssl.SSLCertVerificationError):
            websocket.create_connection(uri, timeout=SOON)


def test_name_of_the_server_may_be_another(files, tls_server):
    ca = str(files / "ca.pem")
    with serving(ssl=other_server()) as server:
        uri = f"wss://localhost:{server.port}/"
        with pytest.raises(ssl.SSLCertVerificationError):
            websocket.create_connection(uri, sslopt={"ca_certs": ca})
        for sslopt in ({"server_hostname": "other.example"}, {"check_hostname": False}):
            websocket.create_connection(uri, sslopt={"ca_certs": ca, **sslopt}).close()


def other_server():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority().issue_cert("other.example").configure_cert(context)
    return context


def test_certificate_of_the_client_is_sent(files):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority().issue_cert("localhost").configure_cert(context)
    authority().configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # which tells the client at once
    ca, cert, key = (str(files / name) for name in ("ca.pem", "cert.pem", "key.pem"))
    with serving(ssl=context) as server:
        uri = f"wss://localhost:{server.port}/"
        for own in ({"certfile": cert, "keyfile": key}, {"cert_chain": (cert, key, None)}):
            websocket.create_connection(uri, sslopt={"ca_certs": ca, **own}).close()
        with pytest.raises(OSError):  # noqa: PT011  # TLS's own, or a reset
            websocket.create_connection(uri, sslopt={"ca_certs": ca})


def test_server_that_is_not_trusted_is_refused(tls_server):
    stranger = trustme.CA()
    context = ssl.create_default_context()
    stranger.configure_trust(context)
    for sslopt in (None, {}, {"context": context}):
        with pytest.raises(ssl.SSLCertVerificationError):
            websocket.create_connection(f"wss://localhost:{tls_server.port}/", sslopt=sslopt)


@pytest.mark.parametrize(
    ("sslopt", "error"),
    [
        ({"check_hostnames": False}, TypeError),
        ({"cert_reqs": ssl.CERT_NONE, "check_hostname": True}, ValueError),
        ({"ca_certs": "/nonexistent"}, FileNotFoundError),
        ({"certfile": "/nonexistent"}, FileNotFoundError),
        ({"ciphers": "no such thing"}, ssl.SSLError),
        ({"context": "not one"}, TypeError),
    ],
)
def test_wrong_options_of_tls_are_refused(sslopt, error):
    with pytest.raises(error):
        websocket.create_connection("wss://localhost:1/", sslopt=sslopt)
    with pytest.raises(ConnectionRefusedError):  # there is no TLS
        websocket.create_connection("ws://127.0.0.1:1/", sslopt=sslopt)


def test_context_and_what_it_would_have_is_refused():
    with pytest.raises(ValueError, match="check_hostname"):
        websocket.create_connection(
            "wss://localhost:1/", sslopt={"context": contexts()[1], "check_hostname": False}
        )


def test_none_next_to_a_context_is_as_if_it_were_not_there():
    with pytest.raises(ConnectionRefusedError):
        websocket.create_connection(
            "wss://127.0.0.1:1/", sslopt={"context": contexts()[1], "ca_certs": None}
        )


def test_context_of_nothing_is_the_default_one():
    context, default = make_context({}), ssl.create_default_context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    for version in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS):
        other = make_context({"ssl_version": version})
        assert other.verify_flags == context.verify_flags == default.verify_flags
        assert other.minimum_version == default.minimum_version


# --- errors ---


def test_refusal_has_the_response():
    def refuse(ws, request):
        return ws.respond(401, "who?\n", {"WWW-Authenticate": "Basic", "X-A": "b"})

    with serving(process_request=refuse) as server:
        with failure(websocket.WebSocketBadStatusException) as info:
            websocket.create_connection(server.uri)
        exc = info.value
        assert (exc.status_code, exc.status_message) == (401, "Unauthorized")
        assert exc.resp_headers["x-a"] == "b"
        assert exc.resp_body == b"who?\n"
        assert isinstance(exc, syncws.InvalidStatus)
        assert isinstance(exc, websocket.WebSocketException)
        assert str(pickle.loads(pickle.dumps(exc))) == str(exc)


def test_host_that_is_not_known_is_told_by_its_name():
    with pytest.raises(websocket.WebSocketAddressException) as info:
        websocket.create_connection("ws://no-such-host.invalid/")
    assert isinstance(info.value, socket.gaierror)
    assert isinstance(info.value, websocket.WebSocketException)
    assert "no-such-host.invalid" in str(info.value)
    assert info.value.errno == info.value.__cause__.errno


def test_server_that_is_none_is_told_by_its_name():
    for response in (b"HTTP/1.1 101 Hm\r\n\r\n", b"no HTTP\r\n\r\n"):
        with scripted_server(says(response)) as server, failure(websocket.WebSocketException):
            websocket.create_connection(server.uri)
    with pytest.raises(websocket.WebSocketException):
        websocket.create_connection("http://localhost/")


def test_exceptions_that_have_their_name_stay_as_they_are():
    for exc in (
        websocket.WebSocketTimeoutException("x"),
        websocket.WebSocketAddressException(-2, "x"),
        websocket.WebSocketConnectionClosedException("x"),
        NotConnected("x"),
        ValueError(),
    ):
        assert translate(exc) is exc
    assert NotConnected("x").code == 1006


BYE = syncws.Close(1000, "bye")


@pytest.mark.parametrize(
    ("exc", "name"),
    [
        (syncws.ConnectionClosedOK(BYE, BYE, True), "ConnectionClosed"),
        (syncws.ConnectionClosedError(BYE, None), "ConnectionClosed"),
        (syncws.ProtocolError("x"), "Protocol"),
        (syncws.ProxyError("x"), "Proxy"),
    ],
)
def test_exceptions_of_the_library_get_the_names_of_websocket_client(exc, name):
    known = translate(exc)
    assert type(known).__name__ == f"WebSocket{name}Exception"
    assert isinstance(known, type(exc))
    assert isinstance(known, getattr(websocket, f"WebSocket{name}Exception"))
    assert str(known) == str(exc)


@pytest.mark.parametrize(
    "exc",
    [
        NotConnected("not yet"),
        WrongArgument("a number"),
        websocket.WebSocketConnectionClosedException("text"),
        websocket.WebSocketPayloadException("text"),
        websocket.WebSocketBadStatusException("no", 404, "Not Found", {"a": "b"}, b"c"),
        translate(syncws.ConnectionClosedOK(BYE, BYE, True)),
    ],
)
def test_exceptions_can_be_pickled(exc):
    copy = pickle.loads(pickle.dumps(exc))
    assert (type(copy), str(copy), copy.args) == (type(exc), str(exc), exc.args)
    assert vars(copy) == vars(exc)


def test_names_are_subclasses_of_those_of_the_library():
    assert issubclass(websocket.WebSocketConnectionClosedException, syncws.ConnectionClosed)
    assert issubclass(websocket.WebSocketProtocolException, syncws.ProtocolError)
    assert issubclass(websocket.WebSocketProxyException, syncws.ProxyError)
    assert websocket.WebSocketException is syncws.WebSocketException


def test_constants_are_those_of_websocket_client():
    theirs = pytest.importorskip("websocket")
    for name in dir(theirs):
        if name.startswith("STATUS_"):
            assert getattr(websocket, name) == getattr(theirs, name)
    for name in ("CONT", "TEXT", "BINARY", "CLOSE", "PING", "PONG"):
        assert getattr(ABNF, f"OPCODE_{name}") == getattr(theirs.ABNF, f"OPCODE_{name}")
    assert ABNF.OPCODES == theirs.ABNF.OPCODES
    assert ABNF.OPCODE_MAP == theirs.ABNF.OPCODE_MAP


def test_names_of_websocket_client_are_there():
    theirs = pytest.importorskip("websocket")
    inner = {"continuous_frame", "frame_buffer", "sock_opt", "recv", "recv_line", "send"}
    inner |= {"DEFAULT_SOCKET_OPTION", "debug", "dump", "error", "info", "trace", "warning"}
    inner |= {"isEnabledForDebug", "isEnabledForError", "Any", "Optional"}
    public = {name for name in dir(theirs) if not name.startswith("_")} - inner
    public = {name for name in public if type(getattr(theirs, name)).__name__ != "module"}
    assert {name for name in public if not hasattr(websocket, name)} == set()


@pytest.mark.parametrize(
    "make",
    [
        lambda uri: websocket.create_connection(uri, timeout=-1),
        lambda uri: websocket.create_connection(uri, http_proxy_timeout=-0.5),
        lambda uri: websocket.create_connection(uri, max_size=-1),
        lambda uri: websocket.WebSocket().connect(uri, timeout=-1),
        lambda uri: websocket.WebSocket().settimeout(-1),
        lambda uri: websocket.setdefaulttimeout(-1),
        lambda uri: websocket.set_reconnect(-1),
        lambda uri: websocket.WebSocketApp(uri).run_forever(http_proxy_timeout=-1),
    ],
)
def test_limits_that_are_negative_are_refused(make):
    with pytest.raises(ValueError, match="can't be negative, got -"):
        make("ws://localhost:1/")
