"""wait() together with other threads, on many connections, with signals, and how prompt it is."""

import contextlib
import itertools
import os
import random
import signal
import threading
import time

import pytest
from support.kinds import KINDS, pair_of, wait_for_callers
from support.pairs import SOON, connection_pair, run, wait_until
from support.waiting import WHERE, assert_nothing_is_left, bells, call, receive_all

from syncws import ConnectionClosed, ConnectionClosedOK, wait
from syncws.threaded import closing_handshake, watch
from syncws.threaded.inbox import Bell, Inbox


@pytest.fixture(params=KINDS)
def pair(request):
    with pair_of(request.param) as pair:
        yield pair


@pytest.fixture
def no_look(monkeypatch):
    """No look at connections that nobody reads from: whoever waits gets no help."""
    monkeypatch.setattr(watch._watch, "add", lambda connection: None)


# --- many connections ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", WHERE)
def test_every_message_of_many_connections_comes_once_and_in_order(kind, where):
    seed = random.randrange(1 << 30)
    print("seed", seed)
    rng = random.Random(seed)
    with contextlib.ExitStack() as stack:
        pairs = [stack.enter_context(pair_of(kind)) for _ in range(64)]
        received = {server: [] for _, server in pairs}
        sent = {server: [] for _, server in pairs}

        def send(mine, rng):
            left = [40] * len(mine)
            while any(left):
                index = rng.choice([index for index, count in enumerate(left) if count])
                left[index] -= 1
                client, server = mine[index]
                message = f"{client.number} {left[index]} " + "x" * rng.choice((0, 10, 5000))
                sent[server].append(message)
                fragments = [message[:3], message[3:]] if rng.random() < 0.2 else message
                client.send(fragments)
            for client, _ in mine:
                client.close() if rng.random() < 0.9 else client.fail(1000)

        senders = [run(send, pairs[n::4], random.Random(rng.random())) for n in range(4)]
        call(where, receive_all, list(received), received)
        for sender in senders:
            sender.result()
        assert received == sent
        assert_nothing_is_left(*received)


def test_several_threads_wait_for_the_same_connections_and_share_the_messages(pair):
    client, server = pair
    total = 300

    def work():
        received = []
        while True:
            wait([server, client])
            try:
                received.append(server.recv(0))
            except TimeoutError:
                pass  # another one took it
            except ConnectionClosed:
                return received

    workers = [run(work) for _ in range(4)]
    for number in range(total):
        client.send(f"{number:04}")
    client.close()
    received = [worker.result() for worker in workers]
    for numbers in received:
        assert numbers == sorted(numbers)
    assert sorted(itertools.chain(*received)) == [f"{number:04}" for number in range(total)]


# --- together with other threads ---


@pytest.mark.parametrize("count", [1, 5])
def test_everybody_who_waits_is_woken_by_one_message(no_look, pair, count):
    client, server = pair
    for number in range(5):
        waiting = [run(wait, [server, client]) for _ in range(count)]
        wait_until(lambda: bells(client) == count)
        server.send(str(number))
        for one in waiting:
            assert one.result() == [client]
        assert client.recv(0) == str(number)
    assert_nothing_is_left(*pair)


@pytest.mark.parametrize("callers", [1, 3])
def test_callers_of_recv_get_what_they_would_get_without_who_waits(no_look, pair, callers):
    client, server = pair
    stop = threading.Event()

    def look_on():
        while not stop.is_set():
            wait([client], 0.05)

    def work():
        received = []
        with contextlib.suppress(ConnectionClosedOK):
            while True:
                received.append(client.recv())
        return received

    looking = [run(look_on) for _ in range(2)]
    workers = [run(work) for _ in range(callers)]
    try:
        for number in range(300):
            server.send(f"{number:04}")
        server.close()
        received = sorted(itertools.chain(*(worker.result() for worker in workers)))
        assert received == [f"{number:04}" for number in range(300)]
    finally:
        stop.set()
        for one in looking:
            one.result()


def test_one_message_at_a_time_goes_to_the_caller_of_recv_and_the_next_ends_the_wait(no_look, pair):
    client, server = pair
    for number in range(20):
        if number % 2:
            receiver = run(client.recv)
            wait_for_callers(client, 1)
            waiting = run(wait, [client])
        else:
            waiting = run(wait, [client])
            wait_until(lambda: bells(client))
            receiver = run(client.recv)
            wait_until(lambda: client._inbox._waiters or not client._role_is_free)
        server.send("first")
        assert receiver.result() == "first"
        server.send("second")  # nobody is in recv() any more
        assert waiting.result() == [client]  # for the first one, if it was there in time
        assert client.recv(SOON) == "second"


@pytest.mark.parametrize("where", WHERE)
def test_caller_that_leaves_by_its_timeout_leaves_reading_to_others(no_look, pair, where):
    client, server = pair
    for _ in range(5):
        impatient = run(client.recv, 0.05)

        def has_come(impatient=impatient):
            return client._inbox._waiters or not client._role_is_free or impatient.done()

        wait_until(has_come)

        def send():
            wait_until(lambda: bells(client))
            with pytest.raises(TimeoutError):
                impatient.result()  # noqa: B023
            server.send("x")

        sender = run(send)
        assert call(where, wait, [client]) == [client]
        sender.result()
        assert client.recv(0) == "x"


def test_callers_that_stream_and_who_waits(no_look, pair):
    client, server = pair
    go_on = threading.Event()

    def fragments():
        yield "a"
        yield "b"  # looked at before "a" is sent
        assert go_on.wait(SOON)
        yield "c"

    sender = run(server.send, fragments())
    stream = client.recv_streaming()
    assert next(stream) == "a"
    waiting = run(wait, [client])
    wait_until(lambda: bells(client))
    rest = run(lambda: "".join(stream))
    go_on.set()
    assert rest.result() == "bc"
    sender.result()
    assert wait([client], 0) == []
    assert not waiting.done()
    server.send("x")
    assert waiting.result() == [client]


def test_message_that_nobody_told_of_is_found_by_the_next_look():
    # As if a signal handler had raised in whoever was to tell.
    with connection_pair() as (client, _):
        taken = client._take_role()  # or the reader thread was quicker; nothing comes anyway
        for wait_for in (lambda: wait([client]), client.recv):
            caller = run(wait_for)
            wait_until(lambda: client._queue.waiting)
            client._queue.put(["x"])
            assert caller.result() in ([client], "x")
            client._queue.take("x", [None])
        if taken:
            client._give_up_role()


# --- promptness ---


@pytest.mark.parametrize("where", WHERE)
def test_messages_are_noticed_long_before_the_next_look(no_look, pair, where):
    client, server = pair
    echo = run(lambda: [server.send(message) for message in server])

    def exchange():
        started = time.monotonic()
        for number in range(50):
            client.send(str(number))
            assert wait([client]) == [client]
            assert client.recv(0) == str(number)
        return time.monotonic() - started

    assert call(where, exchange) / 50 < 0.05
    client.close()
    echo.result()


@pytest.mark.parametrize("end", ["take the rest", "drop it"])
@pytest.mark.parametrize("kind", KINDS)
def test_streamed_message_that_takes_the_room_only_delays(no_look, kind, end):
    with pair_of(kind, read_limit=1000) as (client, server):
        go_on = threading.Event()

        def fragments():
            yield b"a"
            yield b""  # looked at before the first is sent
            assert go_on.wait(SOON)
            for _ in range(300):
                yield os.urandom(1000)

        sender = run(server.send, fragments())
        stream = client.recv_streaming()
        assert next(stream) == b"a"
        waiting = run(wait, [client])
        wait_until(lambda: bells(client))
        go_on.set()
        wait_until(client._is_paused)
        used = time.process_time()
        assert wait([client], 0.3) == []
        assert time.process_time() - used < 0.15  # the reader thread must not go in circles
        for _ in range(20):
            assert wait([client], 0) == []
        assert client._queue.streamed < 200_000
        if end == "drop it":
            stream.close()
        else:
            assert sum(map(len, stream)) == 300_000
        sender.result()
        assert not waiting.done()
        server.send("x")
        assert waiting.result() == [client]
        assert client.recv(0) == "x"


def test_failing_while_a_streamed_message_takes_the_room_ends_the_wait(no_look, pair, monkeypatch):
    monkeypatch.setattr(closing_handshake, "LINGER_TIMEOUT", 10 * SOON)
    client, server = pair
    server._ensure_reading()
    go_on = threading.Event()

    def fragments():
        yield b"a"
        yield b""  # looked at before the first is sent
        assert go_on.wait(SOON)  # what comes before it is streamed needs no room
        for _ in range(1000):
            yield os.urandom(1000)

    sender = run(server.send, fragments())
    stream = client.recv_streaming()
    assert next(stream) == b"a"
    go_on.set()
    waiting = run(wait, [client])
    wait_until(lambda: client._is_paused() and bells(client))
    client.fail()
    assert waiting.result() == [client]
    stream.close()
    with contextlib.suppress(ConnectionClosed):
        sender.result()


def test_waiting_takes_no_processor_time():
    with contextlib.ExitStack() as stack:
        pairs = [stack.enter_context(pair_of(kind)) for kind in KINDS * 5]
        clients = [client for client, _ in pairs]
        wait(clients, 0.05)  # the reader threads run

        def send():
            stop.wait(0.5)
            pairs[-1][1].send("x")

        stop = threading.Event()
        sender = run(send)
        used = time.process_time(), time.thread_time()
        assert wait(clients) == clients[-1:]
        used = time.process_time() - used[0], time.thread_time() - used[1]
        sender.result()
        assert used[1] < 0.02
        assert used[0] < 0.25


# --- signals; see test_signals.py and test_receiving_signals.py for more ---


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="there are no signals to a thread")
def test_ctrl_c_ends_the_wait_and_leaves_nothing(pair):
    def interrupt():
        wait_until(lambda: bells(*pair) == 2)
        times.append(time.monotonic())
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    for _ in range(3):
        times = []
        interrupting = run(interrupt)
        with pytest.raises(KeyboardInterrupt):
            wait(pair)
        assert time.monotonic() - times[0] < 5
        interrupting.result()
        assert_nothing_is_left(*pair)
    pair[0].send("x")
    assert wait(pair) == [pair[1]]


# --- batches ---


@pytest.mark.parametrize("timeout", [SOON, None])
def test_what_this_thread_has_collected_is_sent_first(pair, timeout):
    client, server = pair
    echo = run(lambda: [server.send(message) for message in server])
    with client.batch():
        client.send("x")
        assert wait([client], timeout) == [client]
        assert client.recv(0) == "x"
    client.close()
    echo.result()


def test_connection_that_breaks_while_sending_what_was_collected_is_ready(pair):
    client, server = pair
    with contextlib.suppress(ConnectionClosed), client.batch():
        client.send("x")
        client.abort()
        assert wait([client, server], SOON)[0] is client


# --- bells ---


def test_bell_that_nobody_has_any_more_is_forgotten():
    inbox = Inbox()
    kept = Bell()
    inbox.add_bell(kept)
    inbox.add_bell(Bell())
    assert inbox.queue.waiting == 2
    inbox.put(["x"])
    assert inbox.queue.waiting == len(inbox._bells) == 1
    assert not kept.lock.locked()
    inbox.add_bell(Bell())
    inbox.ring()
    inbox.remove_bell(kept)
    inbox.remove_bell(kept)
    assert inbox.queue.waiting == len(inbox._bells) == 0


def test_fragments_wake_nobody_before_the_last():
    inbox, bell = Inbox(), Bell()
    inbox.add_bell(bell)
    inbox.put_fragment(b"a", is_text=True, fin=False)
    assert bell.lock.locked()
    inbox.put_fragment(b"b", is_text=None, fin=True)
    assert not bell.lock.locked()
