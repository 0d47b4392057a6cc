"""A network that is slow, as a thread between two sockets."""

import contextlib
import socket
import threading
import time


@contextlib.contextmanager
def slow_link(port, rate, *, pause=0.0, buffer=1 << 14):
    """Forward so many bytes a second to a port of this machine; what comes back is not slowed.

    Args:
        port: where to.
        rate: bytes a second.
        pause: seconds that nothing is forwarded before it begins.
        buffer: bytes that the kernel may keep at each end.
    """
    threads, sockets = [], []
    stopped = threading.Event()

    def forward(source, target, rate):
        with contextlib.suppress(OSError):
            if rate is not None:
                stopped.wait(pause)
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
                far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
                far.connect(("127.0.0.1", port))
                for arguments in ((near, far, rate), (far, near, None)):
                    threads.append(threading.Thread(target=forward, args=arguments))
                    threads[-1].start()

    listener = socket.create_server(("127.0.0.1", 0))
    # Before it listens: what is accepted inherits it.
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
