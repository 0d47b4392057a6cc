"""A slow network, made of threads between two sockets."""

import contextlib
import socket
import threading
import time


@contextlib.contextmanager
def slow_link(port, rate, *, rate_back=None, buffer=1 << 14):
    """Forward to a port of this machine and back; yield the port to connect to.

    Args:
        port: the port to forward to.
        rate: bytes a second; ``None`` is unlimited.
        rate_back: the same, for the other direction.
        buffer: bytes that the kernel may buffer at each end.
    """
    threads, sockets = [], []
    stopped = threading.Event()

    def forward(source, target, rate):
        with contextlib.suppress(OSError):
            began, forwarded = time.monotonic(), 0
            while data := source.recv(4096):
                target.sendall(data)
                forwarded += len(data)
                if rate is not None:
                    stopped.wait(max(0.0, began + forwarded / rate - time.monotonic()))
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.socket()
                sockets.extend((near, far))
                for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                    far.setsockopt(socket.SOL_SOCKET, option, buffer)
                far.connect(("127.0.0.1", port))
                for arguments in ((near, far, rate), (far, near, rate_back)):
                    threads.append(threading.Thread(target=forward, args=arguments))
                    threads[-1].start()

    listener = socket.create_server(("127.0.0.1", 0))
    # On the listener: accepted sockets inherit it.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield listener.getsockname()[1]
    finally:
        stopped.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        for sock in sockets:
            sock.close()
