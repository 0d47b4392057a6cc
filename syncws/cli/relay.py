"""Relaying between clients and a server: bytes as they are, seen by an observer.

Each connection has two threads, one for each direction: it reads from one side, shows what came,
and writes to the other, waiting for it; so a side that doesn't read keeps the other from sending.
Only the head of the request is changed.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from ..client.dial import adopt
from ..client.reaching import Route
from ..demo.pages import is_own_host
from ..exceptions import WebSocketException
from ..sansio.fields import build_authorization_basic, build_host
from ..sansio.plain_responses import build_response
from ..sansio.uri import WebSocketURI
from ..threaded.deadline import Deadline
from ..threaded.timekeeper import call_later
from ..threaded.transport import Transport
from ..wiretap.tap import Observe
from .showing import describe, escape
from .trace_lines import Tracer

if TYPE_CHECKING:
    import socket

__all__ = ["Relays", "rewrite"]

#: Seconds for a client to send the head of its request, and for the server to be reached.
HEAD_TIMEOUT = 10.0
DIAL_TIMEOUT = 10.0

#: Bytes of a head.
MAX_HEAD = 1 << 16

#: Seconds that the other direction may take once one has ended.
LINGER_TIMEOUT = 10.0


class Relays:
    """All connections of a proxy.

    Args:
        target: the server.
        route: how it is reached.
        tracer: shows what is said.
        name: by which clients may ask for the proxy, besides those of this machine.
    """

    def __init__(
        self, target: WebSocketURI, route: Route, tracer: Tracer, name: str = "localhost"
    ) -> None:
        self._name = name
        self._target = target
        self._route = route
        self._tracer = tracer
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()  # guards both below, for a few instructions
        self._running: dict[threading.Thread, Relay] = {}
        self._stopping = False

    def accepted(self, sock: socket.socket, _: Any = None) -> None:
        """Relay a connection in threads of its own. Never blocks.

        Raises:
            OSError: no thread is available.
        """
        label = f"#{next(self._numbers)} "
        relay = Relay(
            adopt(sock), self._target, self._route, self._tracer, label=label, name=self._name
        )
        thread = threading.Thread(target=self._run, args=(relay,), name="syncws-proxy", daemon=True)
        with self._lock:
            if self._stopping:
                relay.abort()
                relay.client.close()
                return
            self._running[thread] = relay
        try:
            thread.start()
        except RuntimeError as exc:  # a peer's doing rather than a defect
            with self._lock:
                del self._running[thread]
            raise OSError(errno.EAGAIN, str(exc)) from exc

    def _run(self, relay: Relay) -> None:
        try:
            relay.run()
        finally:
            with self._lock:
                del self._running[threading.current_thread()]

    def stop(self, deadline: Deadline) -> None:
        """Cut all connections, and wait for their ends."""
        with self._lock:
            self._stopping = True
            running = list(self._running.items())
        for _, relay in running:
            relay.abort()
        for thread, _ in running:
            thread.join(deadline.remaining())


class Relay:
    """One connection from a client, and the one to the server that is made for it.

    Args:
        client: the client's connection; owned from now on.
        target: the server.
        route: how it is reached.
        tracer: shows what is said.
        label: what lines about it begin with.
        name: see :class:`Relays`.
    """

    def __init__(
        self,
        client: Transport,
        target: WebSocketURI,
        route: Route,
        tracer: Tracer,
        *,
        label: str,
        name: str,
    ) -> None:
        self.client = client
        self._server: Transport | None = None
        self._target = target
        self._route = route
        self._label = label
        self._name = name
        self._tracer = tracer
        self._observe: Observe = tracer.observer(label)
        self._aborted = False

    def abort(self) -> None:
        """Cut both connections: every thread that uses them returns. Any thread may."""
        self._aborted = True
        self.client.abort()
        server = self._server
        if server is not None:
            server.abort()

    def run(self) -> None:
        """Relay until both sides have ended, or one is gone."""
        self._tell(f"connected: {_shown(self.client.remote_address)}")
        try:
            head, rest = self._read_head()
            self._check_host(head)
            self._server = self._dial()
            if self._aborted:  # meanwhile
                self._server.abort()
            self._forward(self._server, head, rest)
        except _Refused as exc:
            self._refuse(exc)
        except (OSError, RuntimeError) as exc:  # a RuntimeError if no thread is available
            self._tell(f"failed: {describe(exc)}")
        finally:
            self.abort()
            self.client.close()
            if self._server is not None:
                self._server.close()
            self._tell("closed")

    def _read_head(self) -> tuple[bytes, bytes]:
        """Return the head of the client's request, and what came with it.

        Raises:
            _Refused: it isn't a request's, is too large, or did not come.
            OSError: the client is gone.
        """
        deadline = Deadline(HEAD_TIMEOUT)
        data = bytearray()
        while True:
            try:
                received = self.client.recv(deadline)
            except TimeoutError:
                raise _Refused(408, "the request did not come in time") from None
            self._observe(True, received)
            if not received:
                raise ConnectionResetError(errno.ECONNRESET, "the client left before its request")
            start = max(len(data) - 3, 0)
            data += received
            end = data.find(b"\r\n\r\n", start)
            if end >= 0:
                return bytes(data[: end + 4]), bytes(data[end + 4 :])
            if len(data) > MAX_HEAD:
                raise _Refused(431, f"the head of the request is over {MAX_HEAD} bytes")

    def _check_host(self, head: bytes) -> None:
        """Check that the request isn't for a name that others have pointed here (DNS rebinding).

        A page of theirs would be of the proxy's own origin, which becomes the server's; and it
        would have the use of the credentials.

        Raises:
            _Refused: it is.
        """
        for line in head.decode("latin-1").split("\r\n")[1:]:
            name, _, value = line.partition(":")
            host = value.strip(" \t").lower()
            if name.lower() != "host" or host.partition(":")[0] == self._name.lower():
                continue
            # A name without a dot, such as a container's, belongs to this network.
            if "." in host and not is_own_host(host):
                raise _Refused(421, f"{host!r} isn't a name of the machine that the proxy is on")

    def _dial(self) -> Transport:
        """Return a connection to the server.

        Raises:
            _Refused: it can't be reached.
        """
        try:
            return self._route.open(self._target, Deadline(DIAL_TIMEOUT), is_origin=True)
        except TimeoutError as exc:
            raise _Refused(504, f"the server can't be reached: {exc}") from exc
        except (OSError, WebSocketException, ImportError) as exc:
            raise _Refused(502, f"the server can't be reached: {describe(exc)}") from exc

    def _refuse(self, refusal: _Refused) -> None:
        self._tell(f"answered with {refusal.status}: {refusal}")
        response = build_response(refusal.status, f"{refusal}\n", {"Connection": "close"})
        with contextlib.suppress(OSError):
            self.client.send_now(response.serialize())
            self.client.finish_sending()
            # Closing while something is unread would take the answer back.
            limit = Deadline(1.0)
            for _ in iter(partial(self.client.recv, limit), b""):
                pass

    def _forward(self, server: Transport, head: bytes, rest: bytes) -> None:
        """Send the request on, and relay both directions until they end."""
        changed, notes = rewrite(head, self._target)
        for note in notes:
            self._tell(f"to the server: {note}")
        server.send_all(changed + rest, Deadline(DIAL_TIMEOUT))
        back = threading.Thread(
            target=self._pump, args=(False, server, self.client), name="syncws-proxy", daemon=True
        )
        back.start()
        self._pump(True, self.client, server)
        back.join()

    def _pump(self, sent: bool, source: Transport, sink: Transport) -> None:
        """Relay one direction until its end; blocks while the other side does not read."""
        try:
            while True:
                data = source.recv()
                self._observe(sent, data)
                if not data:
                    break
                sink.send_all(data)
            sink.finish_sending()
        except OSError as exc:
            if not self._aborted:
                self._tell(f"cut: {describe(exc)}")
            self.abort()
        else:
            # Whoever has nothing more to say needs no longer than this to hear the rest.
            call_later(LINGER_TIMEOUT, self.abort)

    def _tell(self, text: str) -> None:
        self._tracer.tell(text, self._label)


class _Refused(Exception):
    """The request can't be relayed; the client is told so.

    Attributes:
        status: the status of the answer.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def _shown(address: object) -> str:
    return f"{address[0]} port {address[1]}" if isinstance(address, tuple) else "somebody"


# --- the head --------------------------------------------------------------------


def rewrite(head: bytes, target: WebSocketURI) -> tuple[bytes, list[str]]:
    """Return a request's head as the server is to get it, and the lines that were changed.

    It asks for the server's host. An origin that is the proxy's own, as of a page that came
    through it, becomes the server's. What isn't to become a WebSocket is the last request of its
    connection, since others would not be changed. Each other byte stays.

    Args:
        head: the head, with the empty line at its end.
        target: the server; credentials in it are sent if the request has none.
    """
    lines = head[:-4].decode("latin-1").split("\r\n")
    fields = [line.partition(":") for line in lines[1:]]
    values = {name.lower(): value.strip(" \t") for name, _, value in fields}
    host = build_host(target.host, target.port, target.secure)
    replaced = {"host": host}
    if values.get("origin", "").partition("://")[2] == values.get("host", ""):
        replaced["origin"] = f"{'https' if target.secure else 'http'}://{host}"
    if values.get("upgrade", "").lower() != "websocket":
        replaced["connection"] = "close"
    changed, notes = [lines[0]], []
    for line, (name, _, value) in zip(lines[1:], fields):
        wanted = replaced.get(name.lower())
        if wanted is not None and wanted != value.strip(" \t"):
            line = f"{name}: {wanted}"
            notes.append(escape(line))
        changed.append(line)
    if "connection" in replaced and "connection" not in values:
        changed.append("Connection: close")
    if target.user_info is not None and "authorization" not in values:
        changed.append(f"Authorization: {build_authorization_basic(*target.user_info)}")
        notes.append("Authorization: (not shown)")
    return "\r\n".join((*changed, "", "")).encode("latin-1"), notes
