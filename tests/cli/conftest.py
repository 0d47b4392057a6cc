"""What tests of the command line have in common."""

import contextlib
import os
import socket
import sys

import pytest
from support.redis_cluster import redis_cluster
from support.redis_server import redis_server
from support.shell import join_stdin_threads

__all__ = ["redis_cluster", "redis_server"]


@pytest.fixture
def typed(monkeypatch):
    """Put text on standard input, and by default its end; return the other end of it."""
    with contextlib.ExitStack() as stack:

        def type_in(data=b"", eof=True):
            read, write = os.pipe()
            monkeypatch.setattr(sys, "stdin", stack.enter_context(open(read, encoding="utf-8")))
            stack.callback(join_stdin_threads)
            keyboard = stack.enter_context(open(write, "wb", buffering=0))
            keyboard.write(data)
            if eof:
                keyboard.close()
            return keyboard

        yield type_in


@pytest.fixture
def no_names(monkeypatch):
    """Resolve no names, without asking anybody."""

    def getaddrinfo(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
