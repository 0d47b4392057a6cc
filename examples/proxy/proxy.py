"""An HTTP proxy for trying: it only knows CONNECT. Usage: python proxy.py [PORT]."""

import contextlib
import socket
import socketserver
import sys
import threading


def relay(source, target):
    """Pass bytes on, until the end of them."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        # CONNECT localhost:8765 HTTP/1.1, headers, and an empty line.
        request = self.rfile.readline().decode("latin-1").strip()
        while self.rfile.readline().strip():
            pass
        print(request, flush=True)
        method, _, rest = request.partition(" ")
        host, _, port = rest.partition(" ")[0].rpartition(":")
        if method != "CONNECT":
            self.wfile.write(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n")
            return
        try:
            target = socket.create_connection((host, int(port)), timeout=10)
        except (OSError, ValueError):
            self.wfile.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            return
        with target:
            target.settimeout(None)
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            # From now on all is the client's and the server's: the proxy understands none of it.
            back = threading.Thread(target=relay, args=(target, self.connection))
            back.start()
            relay(self.connection, target)
            back.join()


class Proxy(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080
    with Proxy(("127.0.0.1", port), Handler) as proxy, contextlib.suppress(KeyboardInterrupt):
        print(f"listening on http://localhost:{proxy.server_address[1]}", flush=True)
        proxy.serve_forever()
