"""The WSGI servers: where each has its socket, and what is to be known about it.

None of them is imported. A server is known by what it puts into the environ, or by the thread
that runs the request.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from ..fallback.session_transport import SessionTransport

__all__ = ["GIVEN", "HAS_FALLBACK", "Found", "UnsupportedServer", "find_host", "find_server"]

#: In an environ that is none of a server's: the socket that was put there for us, or a Found.
GIVEN = "syncws.socket"

#: In the environ of a request that could have come by plain HTTP as well.
HAS_FALLBACK = "syncws.fallback"

Environ = Mapping[str, Any]


class UnsupportedServer(RuntimeError):
    """No connection can be taken over from this WSGI server; the text says why, and what can."""


@dataclass
class Found:
    """A request's server, and its socket.

    Attributes:
        sock: the connection's socket, which is the server's.
        take_early: returns what the server has read after the request. It may read from the
            socket, and raise :exc:`OSError` where that would block.
        is_stopping: tells whether the server is about to end.
        grace: seconds that it gives requests to end then; ``None`` if that isn't known.
        threads: how many requests it runs at the same time; ``None`` if that isn't known, or
            not limited.
        is_ours: whether the socket isn't a server's at all, but was put there for us.
        transport: the session of the fallback that the request came by, if it did.
        warning: what its users should know.
    """

    sock: Any
    take_early: Callable[[], bytes]
    is_stopping: Callable[[], bool] = lambda: False
    grace: float | None = None
    threads: int | None = None
    is_ours: bool = False
    transport: SessionTransport | None = None
    warning: str | None = None


def find_server(environ: Environ) -> Found:
    """Return the server that runs this request.

    Raises:
        UnsupportedServer: it is none whose connections can be taken over.
    """
    for look in _LOOKS:
        found = look(environ)
        if found is not None:
            return found
    for key, reason in _REASONS.items():
        if key in environ:
            raise UnsupportedServer(f"{reason}. {_WHAT_CAN}")
    software = environ.get("SERVER_SOFTWARE", "")
    if software.startswith("waitress"):
        raise UnsupportedServer(f"{_WAITRESS}. {_WHAT_CAN}")
    name = f"this WSGI server ({software})" if software else "this WSGI server"
    raise UnsupportedServer(
        f"{name} isn't known, and gives no access to a request's connection. {_WHAT_CAN}"
    )


def find_host(environ: Environ) -> Found:
    """Return what is known about the server that runs this request, whatever it gives away.

    If connections can't be taken over, there is no socket.
    """
    for look in (*_LOOKS, *_LOOKS_WITHOUT_SOCKET):
        found = look(environ)
        if found is not None:
            break
    else:
        found = Found(None, lambda: b"")
    if not environ.get("wsgi.multithread") and not _has_threads(found.sock):
        found.threads = 1
    return found


def _has_threads(sock: Any) -> bool:
    """Tell whether a server that says it has no threads has some.

    gevent's pywsgi has green ones; what is made of wsgiref with ThreadingMixIn doesn't know.
    """
    if type(sock).__module__.startswith("gevent"):
        return True
    target = getattr(threading.current_thread(), "_target", None)
    return getattr(target, "__name__", "") == "process_request_thread"


_WHAT_CAN = (
    "WebSockets work with gunicorn (--worker-class gthread --threads N), cheroot, gevent's "
    "pywsgi, Werkzeug's development server and wsgiref, and with syncws.serve() in a process "
    "or thread of its own"
)

_WAITRESS = (
    "waitress can't hand over a connection: its main thread reads and writes all of them, and "
    "a request gets neither the socket nor what comes after the request"
)

#: What servers put into the environ that can't work, and why.
_REASONS = {
    "waitress.client_disconnected": _WAITRESS,
    "uwsgi.version": (
        "uWSGI can't hand over a connection: it is kept by its C core, or by another process, "
        "which passes requests on, and has a WebSocket API of its own"
    ),
    "mod_wsgi.version": (
        "mod_wsgi can't hand over a connection: Apache keeps it, often in another process, and "
        "passes on requests and responses only"
    ),
}


# --- each server -----------------------------------------------------------------


def _find_given(environ: Environ) -> Found | None:
    given = environ.get(GIVEN)
    if given is None or isinstance(given, Found):
        return given
    return Found(given, lambda: b"", is_ours=True)


def _find_werkzeug(environ: Environ) -> Found | None:
    sock = environ.get("werkzeug.socket")
    if sock is None:
        return None
    return Found(sock, _reads(environ.get("wsgi.input")))


def _find_gunicorn(environ: Environ) -> Found | None:
    # The latter by workers that run pywsgi.
    sock = environ.get("gunicorn.socket") or environ.get("gunicorn.sock")
    if sock is None:
        return None
    stream = environ.get("wsgi.input")
    unreader = getattr(getattr(stream, "reader", None), "unreader", None)
    early = _unreads(unreader) if unreader is not None else _reads(_unwrap(stream))
    found = Found(sock, early)
    worker: Any = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    cfg = getattr(worker, "cfg", None)
    if hasattr(worker, "alive") and cfg is not None:
        found.is_stopping = lambda: not worker.alive
        found.grace = cfg.graceful_timeout
        if type(worker).__name__ == "ThreadWorker":
            found.threads = cfg.threads
        elif type(worker).__name__ == "SyncWorker":
            found.warning = (
                "gunicorn's sync worker serves nobody else while a WebSocket is open, and its "
                f"--timeout ({cfg.timeout} s) ends it: use --worker-class gthread --threads N"
            )
    return found


def _find_cheroot(environ: Environ) -> Found | None:
    thread = threading.current_thread()
    if not type(thread).__module__.startswith("cheroot"):
        return None
    server, conn = getattr(thread, "server", None), getattr(thread, "conn", None)
    sock = getattr(conn, "socket", None)
    if server is None or sock is None:
        return None
    found = Found(sock, _reads(getattr(conn, "rfile", None)))
    found.is_stopping = lambda: not server.ready
    found.grace = getattr(server, "shutdown_timeout", None)
    # It starts this number of threads, and no more by itself.
    found.threads = getattr(getattr(server, "requests", None), "min", None)
    return found


def _find_stream(environ: Environ) -> Found | None:
    """Find pywsgi, wsgiref and what is made of it, by the stream that they read from."""
    stream = _unwrap(environ.get("wsgi.input"))
    sock = getattr(getattr(stream, "raw", None), "_sock", None)
    return None if sock is None else Found(sock, _reads(stream))


def _unwrap(stream: Any) -> Any:
    """Return the buffered reader that a request's body is read from."""
    stream = getattr(stream, "rfile", stream)  # pywsgi's
    return getattr(getattr(stream, "_read", None), "__self__", stream)  # Django's has its methods


_LOOKS: tuple[Callable[[Environ], Found | None], ...] = (
    _find_given,
    _find_werkzeug,
    _find_gunicorn,
    _find_cheroot,
    _find_stream,
)


# --- servers without a socket -----------------------------------------------------


def _find_waitress(environ: Environ) -> Found | None:
    channel = getattr(environ.get("waitress.client_disconnected"), "__self__", None)
    server = getattr(channel, "server", None)
    if server is None:
        return None
    found = Found(None, lambda: b"")
    found.threads = getattr(getattr(server, "adj", None), "threads", None)
    dispatcher = getattr(server, "task_dispatcher", None)
    # The number of threads that are to end.
    found.is_stopping = lambda: bool(getattr(dispatcher, "stop_count", 0))
    found.grace = 5.0  # of ThreadedTaskDispatcher.shutdown()
    return found


def _find_uwsgi(environ: Environ) -> Found | None:
    uwsgi: Any = sys.modules.get("uwsgi")
    if "uwsgi.version" not in environ or uwsgi is None:
        return None
    found = Found(None, lambda: b"")
    with contextlib.suppress(AttributeError, KeyError, ValueError):
        found.threads = int(uwsgi.opt["threads"])
    if found.threads is None and "enable-threads" not in getattr(uwsgi, "opt", {}):
        found.warning = (
            "uWSGI lets threads of the program run with --enable-threads or --threads N only: "
            "without, the fallback answers nothing"
        )
    return found


def _find_mod_wsgi(environ: Environ) -> Found | None:
    mod_wsgi: Any = sys.modules.get("mod_wsgi")
    if "mod_wsgi.version" not in environ:
        return None
    found = Found(None, lambda: b"")
    found.threads = getattr(mod_wsgi, "threads_per_process", None)
    return found


_LOOKS_WITHOUT_SOCKET: tuple[Callable[[Environ], Found | None], ...] = (
    _find_waitress,
    _find_uwsgi,
    _find_mod_wsgi,
)


# --- what came after the request -------------------------------------------------


def _reads(stream: Any) -> Callable[[], bytes]:
    """Return what takes the rest of a buffered reader's buffer."""

    def take() -> bytes:
        # Only if it has nothing it reads from the socket, which doesn't block by then.
        read1 = getattr(stream, "read1", None)
        return b"" if read1 is None else read1(-1) or b""

    return take


def _unreads(unreader: Any) -> Callable[[], bytes]:
    """Return what takes the rest of gunicorn's buffer."""

    def take() -> bytes:
        if not unreader.buf.getvalue():
            return b""
        data: bytes = unreader.read()
        return data

    return take
