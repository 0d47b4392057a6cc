"""A signal handler that raises while a thread collects what it sends."""

from support.interrupting import Bomb, Interrupted
from support.pairs import SOON, connection_pair

from syncws import ConnectionClosed


def interrupt_at(number, call):
    """Raise at the Nth point where handlers run; return whether there is one."""
    try:
        with Bomb(number):
            call()
    except Interrupted:
        return True
    return False


def test_nothing_is_held_back_after_a_batch_that_was_interrupted():
    held_back, number, interrupted = [], 0, True

    def collect():
        with client.batch():
            client.send("a")
            client.send("b")

    while interrupted:
        number += 1
        with connection_pair(close_timeout=1) as (client, server):
            interrupted = interrupt_at(number, collect)
            before = client.stats.messages_sent
            try:
                client.send("after", timeout=SOON)
            except ConnectionClosed:
                continue
            if client.stats.messages_sent == before:
                held_back.append(number)
                continue
            received = []
            while not received or received[-1] != "after":
                received.append(server.recv(SOON))
            assert received in (["after"], ["a", "b", "after"])
    assert number > 10
    assert held_back == []
