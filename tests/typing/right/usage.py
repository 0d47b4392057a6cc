"""A bit of everything that users write."""

from __future__ import annotations

import ipaddress
import re
import ssl

from syncws import (
    SAME_ORIGIN,
    ClientConnection,
    ConnectionClosed,
    Deflate,
    Headers,
    Request,
    Response,
    Router,
    ServerConnection,
    ServerStats,
    State,
    ThreadingServer,
    basic_auth,
    bearer_auth,
    connect,
    install_as,
    listen_fds,
    serve,
    unix_connect,
    unix_serve,
    wait,
)


def echo(ws: ServerConnection) -> None:
    for message in ws:
        ws.send(message)


def with_path(ws: ServerConnection, path: str) -> None:
    ws.send([path, "fragment"], timeout=1.5, compress=False)


def health(ws: ServerConnection, request: Request) -> Response | None:
    return ws.respond(200, "fine", {"X-A": "b"}) if request.path == "/health" else None


def dated(ws: ServerConnection, request: Request, response: Response) -> None:
    response.headers["X-Path"] = request.path


def extra(path: str, headers: Headers) -> dict[str, str]:
    return {"X-Path": path, "X-Host": headers["Host"]}


class Mine(ServerConnection):
    def process_request(self, request: Request) -> Response | None:
        return None


def servers() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server: ThreadingServer = serve(
        echo,
        ["localhost", "::1"],
        8765,
        ssl=context,
        origins=[SAME_ORIGIN, "https://example.com", re.compile("https://.*"), None],
        subprotocols=["chat"],
        compression=Deflate(level=9),
        process_request=health,
        process_response=dated,
        extra_headers=extra,
        max_size=(2**20, 2**16),
        max_header_size=2**15,
        max_queue=(16, 4),
        create_connection=Mine,
    )
    with server:
        port: int | None = server.port
        print(port, server.uri)
        server.serve_forever()
    unix_serve(with_path, "/tmp/socket").start().close(timeout=1)


router = Router()


@router.route("/chat/<room>")
def chat(ws: ServerConnection, room: str) -> None:
    username: str | None = ws.username
    host: str | None = ws.requested_host
    print(username, host, ws.secure)


@router.http("/health/<int:number>")
def answer(request: Request, number: int) -> str:
    return f"{request.path} {number}"


def protected() -> None:
    tokens = {"secret": "somebody"}
    serve(
        router,
        hosts=["example.com", "*.example.com:8765"],
        trusted_proxies=["10.0.0.0/8", ipaddress.ip_network("::1"), "unix"],
        process_request=[
            health,
            basic_auth("realm", {"a": "b"}),
            basic_auth("realm", [("a", "b")]),
            basic_auth(credentials=("a", "b")),
            basic_auth(check_credentials=lambda username, password: password == username),
            bearer_auth(tokens.get, realm="realm"),
        ],
    )
    chat(ServerConnection.__new__(ServerConnection), room="typed as it was")


def limited() -> None:
    server = serve(
        echo,
        sock=listen_fds("ws"),
        idle_timeout=60,
        max_connections="process",
        max_connections_per_address=10,
        max_body_size=1 << 20,
    )
    server.pause()
    server.resume()
    stats: ServerStats = server.stats()
    refused: int = stats.refusals.get("full", 0)
    uptime: float = stats.uptime
    limit: int | None = server.max_connections
    port: int = server.socket.getsockname()[1]
    print(refused, uptime, stats.connections_open, stats.paused, limit, port, server.fileno())
    server.stop(code=1012, drain_seconds=30)
    server.close(code=1012, reason="restart", timeout=5, drain_seconds=30)


def clients() -> str | bytes:
    ws: ClientConnection = connect(
        "wss://localhost/",
        ssl=ssl.create_default_context(),
        additional_headers=lambda: [("Authorization", "Bearer x")],
    )
    with ws, unix_connect("/tmp/socket"):
        ws.send("text")
        ws.send(b"text", text=True)
        ping = ws.ping()
        done: bool = ping.wait(1)
        latency: float | None = ping.latency
        state: State = ws.state
        print(done, latency, state, ws.stats.bytes_sent, ws.socket.getpeername())
        if ws.ssl_object is not None:
            print(ws.ssl_object.getpeercert(), ws.ssl_object.cipher())
        try:
            for piece in ws.recv_streaming():
                print(piece)
        except ConnectionClosed as exc:
            print(exc.code, exc.reason)
        ready: list[ClientConnection] = wait([ws], timeout=1)
        return ready[0].recv(timeout=1, decode=False)


def standing_in() -> tuple[str, ...]:
    with install_as("websocket", "websockets") as stand_in:
        return stand_in.libraries
