"""Proxies that do what a script says, and then carry bytes between client and server."""

import contextlib
import socket
import ssl
import threading

from support.pairs import SOON, receive_exactly
from support.scripted import parse_head, read_head

from syncws.threaded.deadline import Deadline
from syncws.threaded.tls_socket import TlsSocketTransport
from syncws.threaded.transport import Transport

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


def carry(receive, send, sink):
    """Carry bytes one way as they come, and the end of the stream too."""
    with contextlib.suppress(OSError):
        while data := receive():
            send(data)
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sink, socket.SHUT_WR)  # that of an SSLSocket gives up TLS, too


def join(client, server, regroup=None):
    """Carry bytes both ways until both have ended, each in a thread."""
    # Two threads can't use one SSLSocket; they can use one of the library's transports.
    kind = TlsSocketTransport if isinstance(client, ssl.SSLSocket) else Transport
    transport = kind(client)

    def send(data):
        transport.send_all(data, Deadline(SOON))

    if regroup is not None:
        send = regroup(send)
    down = threading.Thread(target=carry, args=(lambda: server.recv(1 << 16), send, client))
    down.start()
    carry(lambda: transport.recv(Deadline(SOON)), server.sendall, server)
    down.join(SOON)


def tunnel(requests=None, response=ESTABLISHED, regroup=None):
    """A script for a proxy that connects its client to a server on loopback.

    Args:
        requests: a list to which the first line and headers of each request are added.
        response: what to answer.
        regroup: makes, of the function that sends to the client, the one to send with.
    """

    def script(client):
        first, headers, _ = parse_head(read_head(client))
        if requests is not None:
            requests.append((first, headers))
        port = int(first.split(" ")[1].rpartition(":")[2])
        client.sendall(response)
        with socket.create_connection(("127.0.0.1", port), timeout=SOON) as server:
            join(client, server, regroup)

    return script


def socks5(requests):
    """A script for a SOCKS5 proxy (RFC 1928) without a password that connects to loopback.

    Args:
        requests: a list that gets, of each request, host and port as a text, and no headers.
    """

    def script(client):
        _, methods = receive_exactly(client, 2)
        receive_exactly(client, methods)
        client.sendall(b"\5\0")
        *_, kind = receive_exactly(client, 4)
        if kind == 3:
            host = receive_exactly(client, receive_exactly(client, 1)[0]).decode()
        else:
            host = socket.inet_ntoa(receive_exactly(client, 4))
        port = int.from_bytes(receive_exactly(client, 2), "big")
        requests.append((f"{host}:{port}", {}))
        with socket.create_connection(("127.0.0.1", port), timeout=SOON) as server:
            client.sendall(b"\5\0\0\1" + bytes(6))
            join(client, server)

    return script


class Records:
    """TLS records within a stream of bytes (RFC 8446 §5.1)."""

    APPLICATION_DATA = 23

    def __init__(self):
        self._buffer = b""

    def take(self, data):
        """Yield the records that are complete by now."""
        self._buffer += data
        while len(self._buffer) >= 5:
            end = 5 + int.from_bytes(self._buffer[3:5], "big")
            if len(self._buffer) < end:
                return
            record, self._buffer = self._buffer[:end], self._buffer[end:]
            yield record


def grouped(number, begin):
    """A ``regroup`` that joins this many TLS records, once ``begin`` is set.

    Each call that sends over TLS makes one record.
    """

    def regroup(send):
        records, held = Records(), []

        def grouping(data):
            for record in records.take(data):
                if not begin.is_set():
                    send(record)
                    continue
                held.append(record)
                if len(held) == number:
                    send(b"".join(held))
                    begin.clear()

        return grouping

    return regroup


def bytewise(send):
    """A ``regroup`` that sends each byte by itself."""

    def sending(data):
        for index in range(len(data)):
            send(data[index : index + 1])

    return sending
