"""What tests of wait() have in common."""

from support.pairs import SOON, run

from syncws import ConnectionClosed, wait

WHERE = ["main thread", "another thread"]


def call(where, function, *args):
    return function(*args) if where == "main thread" else run(function, *args).result()


def bells(*connections):
    return sum(len(connection._inbox._bells) for connection in connections)


def assert_nothing_is_left(*connections):
    assert bells(*connections) == 0
    for connection in connections:
        assert not connection._inbox._waiters
        assert connection._queue.waiting == 0


def receive_all(connections, received):
    """Receive from connections, in a loop of wait() and recv(0), until all are closed."""
    left = list(connections)
    while left:
        ready = wait(left, SOON)
        assert ready, "nothing came"
        for connection in ready:
            try:
                received[connection].append(connection.recv(0))
            except ConnectionClosed:
                left.remove(connection)
