"""Applications in Tornado's style: patterns that lead to handlers, and servers for them."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Callable

from ...locks import make_rlock
from ...options import check_limit
from ...sansio.http11 import Request, Response
from ...server.callables import refuse_coroutine
from ...server.certificates import as_context
from ...server.routing import not_found
from ...server.serving import serve
from ...server.shutdown import INTERRUPTED_TIMEOUT
from ...server.threading_server import ThreadingServer
from ...threaded import lifecycle
from .handler import WebSocketHandler, run_handler
from .handler_connection import HandlerConnection
from .request import WebRequest
from .request_handler import RequestHandler, execute
from .url_spec import Found, Rule, URLSpec, as_spec

if TYPE_CHECKING:
    import ssl as ssl_module

__all__ = ["Application", "run_forever"]

#: Settings whose effect in Tornado has no place here.
REFUSED_SETTINGS = {
    "autoreload": "the event loop watches files for it, and here there is none: "
    "restart the program by a tool such as watchfiles",
    "static_path": "files aren't served here: leave them to a web server",
}

#: Arguments that listen() doesn't take: they belong to Tornado's HTTP server, or to serve(), while
#: here handlers decide.
REFUSED_OPTIONS = {
    "origins": "handlers have check_origin(), and the setting trusted_origins=",
    "compression": "handlers have get_compression_options()",
    "subprotocols": "handlers have select_subprotocol()",
    "select_subprotocol": "handlers have select_subprotocol()",
    "ping_interval": "it is the setting websocket_ping_interval=",
    "ping_timeout": "it is the setting websocket_ping_timeout=",
    "max_size": "it is the setting websocket_max_message_size=",
    "xheaders": "say whom to believe: trusted_proxies=[...]",
    "trusted_downstream": "say whom to believe: trusted_proxies=[...]",
    "protocol": "proxies say so: trusted_proxies=[...]",
    "idle_connection_timeout": "idle_timeout= closes connections without messages",
    "max_buffer_size": "websocket_max_message_size= is the limit of a message",
}

#: What the program's own methods may not be called with: coroutines are never awaited here.
_METHODS = sorted(
    name
    for cls in (RequestHandler, WebSocketHandler)
    for name, value in vars(cls).items()
    if inspect.isfunction(value) and not name.startswith("_")
)


class Application:
    """Patterns of paths, and the handlers they lead to.

    ::

        app = Application([
            (r"/", Page),
            (r"/chat/([a-z]+)", Chat, {"history": 100}),
        ], websocket_ping_interval=30)
        app.listen(8888)
        run_forever()

    The first pattern that matches the whole path counts; other paths are answered with 404.
    In place of a handler there may be another application, which then looks at the whole path:
    so one server can have several, each with settings of its own. An application may listen on
    several ports, and a program have several servers. Rules may be added while it listens, from
    any thread.

    Args:
        handlers: rules: ``(pattern, handler)``, ``(pattern, handler, kwargs)``,
            ``(pattern, handler, kwargs, name)``, or :class:`URLSpec`.
        default_host: the host whose :meth:`add_handlers` rules also apply to all others.
        settings: kept in :attr:`settings`. ``websocket_ping_interval``,
            ``websocket_ping_timeout``, ``websocket_max_message_size``, ``trusted_origins``,
            ``default_handler_class`` and ``default_handler_args`` (for other paths, in place
            of 404) mean something here.

    Attributes:
        settings: the settings, a dict; handlers have it as ``self.settings``.
        default_host: the host whose rules also apply to all others.

    Raises:
        TypeError: a rule is malformed, or a method of a handler is a coroutine function.
        ValueError: a setting has no meaning here or without an event loop (the text says what to
            use), or is a negative limit.
    """

    def __init__(
        self,
        handlers: Iterable[Rule] | None = None,
        default_host: str | None = None,
        **settings: Any,
    ) -> None:
        for name, hint in REFUSED_SETTINGS.items():
            if settings.get(name):
                raise ValueError(f"the setting {name}= isn't for this library: {hint}")
        if isinstance(settings.get("trusted_origins"), str):
            raise TypeError("the setting trusted_origins= is a list of origins")
        for name in (
            "websocket_ping_interval",
            "websocket_ping_timeout",
            "websocket_max_message_size",
        ):
            check_limit(settings.get(name), name)
        self.settings = settings
        self.default_host = default_host
        default = settings.get("default_handler_class")
        self._default = None
        if default is not None:
            self._default = URLSpec(".*", default, settings.get("default_handler_args"))
            _check_handler(default)
        self._lock = make_rlock()  # held to add rules
        # Replaced, never changed, so that threads may read them meanwhile.
        self._rules = _check_rules(handlers or ())
        self._hosts: tuple[tuple[re.Pattern[str], Sequence[URLSpec]], ...] = ()

    def add_handlers(self, host_pattern: str, host_handlers: Iterable[Rule]) -> None:
        """Add rules for hosts that a pattern matches; they come before those for all hosts.

        Args:
            host_pattern: a regular expression that has to match the whole host, in lower case
                and without a port.
            host_handlers: rules, as for the constructor.

        Raises what the constructor does.
        """
        rules = _check_rules(host_handlers)
        hosts = re.compile(host_pattern), rules
        with self._lock:
            self._hosts = (*self._hosts, hosts)

    def reverse_url(self, name: str, *args: Any) -> str:
        """Return the path of a rule.

        Args:
            name: the rule's name; of several, the last one counts.
            args: values for the groups of its pattern.

        Raises:
            KeyError: there is no such rule.
            ValueError: there are more or fewer groups, or the pattern can't be reversed.
        """
        groups = [self._rules, *(rules for _, rules in self._hosts)]
        named = {spec.name: spec for rules in groups for spec in rules if spec.name}
        if name not in named:
            raise KeyError(f"no rule has the name {name!r}")
        return named[name].reverse(*args)

    def listen(
        self,
        port: int,
        address: str | None = "",
        *,
        ssl_options: ssl_module.SSLContext | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> ThreadingServer:
        """Return a server that already accepts connections, in the background.

        :func:`run_forever`, or the server's ``serve_forever()``, keeps the program alive.

        Args:
            port: port to listen on; 0 finds a free one, see ``server.port``.
            address: name or address to listen on; ``""`` and ``None`` mean all interfaces,
                ``"localhost"`` is this machine only.
            ssl_options: makes it ``wss://``: an :class:`ssl.SSLContext`, or a dict with
                ``certfile``, ``keyfile``, ``password``, ``ca_certs``, ``cert_reqs``, ``ciphers``.
            kwargs: further arguments of :func:`~syncws.serve`, such as ``max_connections``.
                What handlers decide is not accepted: origins, compression, subprotocols,
                times of pings and sizes of messages.

        Raises:
            OSError: the address can't be listened on, or the certificate can't be read.
            TypeError: an argument has a wrong type, or isn't known.
            ValueError: an argument has a wrong value, or contradicts another.
        """
        for name, hint in REFUSED_OPTIONS.items():
            if name in kwargs:
                raise TypeError(f"listen() doesn't take {name}=; {hint}")
        if ssl_options is not None:
            kwargs["ssl"] = as_context(ssl_options)
        server = serve(
            run_handler,
            "" if address is None else address,
            port,
            origins=None,  # handlers check them
            compression=None,  # as handlers say
            create_connection=functools.partial(HandlerConnection, self),
            **kwargs,
        )
        try:
            return server.start()
        except BaseException:
            server.close()
            raise

    # --- called by connections ---

    def respond(self, connection: HandlerConnection, request: Request) -> Response | None:
        """Return the answer to a request; ``None`` if it is to become a WebSocket."""
        web_request = WebRequest(request, connection)
        try:
            found = self._find(web_request)
        except UnicodeDecodeError:
            return connection.respond(400, "The path isn't UTF-8.\n")
        if found is None:
            return not_found()
        spec = found.spec
        if isinstance(spec.handler_class, Application):
            return spec.handler_class.respond(connection, request)
        handler = spec.handler_class(self, web_request, **spec.kwargs)
        handler.path_args, handler.path_kwargs = found.args, found.kwargs
        return execute(handler)

    def _find(self, request: WebRequest) -> Found | None:
        hosts, host = self._hosts, request.host_name
        groups = [rules for pattern, rules in hosts if pattern.fullmatch(host)]
        groups.append(self._rules)
        default = self.default_host
        if default is not None:
            groups += [rules for pattern, rules in hosts if pattern.fullmatch(default)]
        for rules in groups:
            for spec in rules:
                found = spec.match(request.path)
                if found is not None:
                    return found
        return None if self._default is None else Found(self._default, [], {})


def _check_rules(rules: Iterable[Rule]) -> tuple[URLSpec, ...]:
    """Return rules as objects.

    Raises:
        TypeError: one is malformed, or a method of its handler is a coroutine function.
    """
    specs = tuple(map(as_spec, rules))
    for spec in specs:
        if not isinstance(spec.handler_class, Application):
            _check_handler(spec.handler_class)
        elif spec.kwargs:
            raise TypeError(f"{spec.kwargs!r} are for a handler, and this is an application")
    return specs


def _check_handler(cls: type[RequestHandler]) -> None:
    if not issubclass(cls, RequestHandler):
        raise TypeError(f"{cls.__name__} is neither a WebSocketHandler nor a RequestHandler")
    for name in _METHODS:
        method: Callable[..., Any] | None = getattr(cls, name, None)
        if method is None:
            continue
        what = f"{cls.__name__}.{name}"
        refuse_coroutine(method, what)
    for name in ("post", "put", "patch", "delete", "options"):
        if hasattr(cls, name):
            raise TypeError(
                f"{cls.__name__}.{name} would never be called: pages here answer GET and HEAD; "
                "leave other requests to a web framework"
            )


def run_forever() -> None:
    """Block until every server that listens in this process is closed.

    These are the servers that :meth:`Application.listen` returned, and others that were started,
    even in the meantime. Ctrl-C closes them, and the call returns: open connections are told
    (1001), and what isn't done within a second is cut off. Call it in the main thread, the only one
    that gets Ctrl-C. Returns at once if no server listens.
    """
    try:
        for server in iter(_next_server, None):
            server.wait_closed()
    except KeyboardInterrupt:
        servers = _servers()
        for server in servers:
            server.stop(timeout=INTERRUPTED_TIMEOUT)
        for server in servers:
            server.wait_closed(INTERRUPTED_TIMEOUT)


def _servers() -> list[ThreadingServer]:
    """Return the servers that were started and aren't closed yet."""
    servers = [each for each in lifecycle.alive() if isinstance(each, ThreadingServer)]
    return [server for server in servers if not server.wait_closed(0)]


def _next_server() -> ThreadingServer | None:
    return next(iter(_servers()), None)
