"""Options of WebSockets in web frameworks: where they come from, and which there are."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from .sock_connection import SockConnection
from .wsgi import Gateway

__all__ = ["FALLBACK_KEY", "GATEWAY_OPTIONS", "check_names", "merge_options", "split_options"]

#: All options that accepting a connection has.
GATEWAY_OPTIONS = frozenset(inspect.signature(Gateway).parameters)

#: Keys of a configuration that are ours begin with this.
PREFIX = "SYNCWS_"

#: The one that isn't about single connections.
FALLBACK_KEY = "SYNCWS_FALLBACK"

#: Keys of ``SOCK_SERVER_OPTIONS``, as simple-websocket has them, and what they are here.
SOCK_SERVER_OPTIONS = {
    "ping_interval": "ping_interval",
    "max_message_size": "max_size",
    "subprotocols": "subprotocols",
}

#: Keys of it that make no difference: how much is read at once is the library's to choose.
UNUSED = frozenset(["receive_bytes"])

#: Keys of it that would replace parts of simple-websocket.
FOREIGN = frozenset(["thread_class", "event_class", "selector_class"])


def check_names(names: Iterable[str], what: str) -> None:
    """Return if these are options.

    Args:
        names: the names.
        what: what has them, for the error.

    Raises:
        TypeError: one isn't.
    """
    for name in names:
        if name not in GATEWAY_OPTIONS:
            found = _find_similar(name)
            hint = f"; did you mean {found!r}?" if found else ""
            raise TypeError(f"{what} has no option {name!r}{hint}")


def _find_similar(name: str) -> str | None:
    """Return the option that may have been meant."""
    return next(iter(difflib.get_close_matches(name, sorted(GATEWAY_OPTIONS), 1)), None)


def split_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return those of the options that are ours, and the others."""
    ours = {name: value for name, value in options.items() if name in GATEWAY_OPTIONS}
    return ours, {name: value for name, value in options.items() if name not in ours}


def merge_options(config: Mapping[str, Any], *more: Mapping[str, Any]) -> dict[str, Any]:
    """Return what to make a gateway with.

    Args:
        config: an application's configuration.
        more: options that come before those of it; the later ones before the earlier.

    Raises:
        TypeError: the configuration has an option that has a wrong type.
        ValueError: it has a key that isn't an option's.
    """
    options: dict[str, Any] = {"create_connection": SockConnection}
    for each in (_read_sock_server_options(config), _read_own(config), *more):
        if "subprotocols" in each:  # which those before it were to select from
            options.pop("select_subprotocol", None)
        options.update(each)
    return options


def _read_own(config: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the values of our keys."""
    options = {}
    for key, value in config.items():
        if not isinstance(key, str) or not key.startswith(PREFIX) or key == FALLBACK_KEY:
            continue
        name = key[len(PREFIX) :].lower()
        if name not in GATEWAY_OPTIONS or key != key.upper():
            found = _find_similar(name)
            hint = f"; did you mean {PREFIX + found.upper()!r}?" if found else ""
            raise ValueError(f"there is no configuration key {key!r}{hint}")
        options[name] = value
    return options


def _read_sock_server_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what flask-sock's key stands for."""
    given = config.get("SOCK_SERVER_OPTIONS") or {}
    if not isinstance(given, Mapping):
        raise TypeError(f"SOCK_SERVER_OPTIONS is a dict, not {given!r}")
    options: dict[str, Any] = {}
    for key, value in given.items():
        if key in SOCK_SERVER_OPTIONS:
            options[SOCK_SERVER_OPTIONS[key]] = value or None  # there, 0 means none as well
        elif key in FOREIGN and value is not None:
            raise ValueError(
                f"SOCK_SERVER_OPTIONS: {key!r} can't be replaced here; gevent's monkey "
                "patches need no such option"
            )
        elif key not in UNUSED and key not in FOREIGN:
            hint = f"; use {PREFIX}{key.upper()}" if key in GATEWAY_OPTIONS else ""
            raise ValueError(f"SOCK_SERVER_OPTIONS has no key {key!r}{hint}")
    if options.get("subprotocols"):
        options.update(_choose_leniently(options["subprotocols"]))
    return options


def _choose_leniently(subprotocols: str | Iterable[str]) -> dict[str, Any]:
    """Return the options that choose as simple-websocket does: a client needn't offer any."""
    names = [subprotocols] if isinstance(subprotocols, str) else list(subprotocols)

    def choose(ws: Any, offered: Iterable[str]) -> str | None:
        return next((name for name in offered if name in names), None)

    return {"subprotocols": names, "select_subprotocol": choose}
