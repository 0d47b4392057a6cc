"""What is given up while the accelerator still works with it, and what was never set up."""

import os
import subprocess
import sys
import textwrap

import pytest
from support.programs import ROOT

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and fork")


def run_program(text, *, pure, timeout=30):
    """Run a program; return what it printed. It must not crash."""
    result = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(text)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SYNCWS_PURE": "1" if pure else "0"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


ITERATOR = """
    import gc, os, signal, threading, time
    from syncws import connect, serve

    got = []

    def on_signal(*_):
        global it
        got.append(next(it, None))
        {drop}
        gc.collect()
        garbage = [bytearray(200) for _ in range(1000)]
        gc.collect()

    signal.signal(signal.SIGUSR1, on_signal)
    asking = threading.Event()

    def handle(ws):
        ws.recv()
        asking.wait()
        time.sleep(0.1)  # the main thread is waiting by now, mostly
        os.kill(os.getpid(), signal.SIGUSR1)
        while not got and not ws.closed:  # the handler reads, too
            {send}
            break

    with serve(handle, "localhost", 0) as server:
        ws = connect(server.uri, compression={compression}, proxy=None)
        ws.send("ready")
        it = iter(ws)
        del ws
        asking.set()
        got.append(next(it, None))
    print(got)
"""


@posix
@pytest.mark.parametrize("pure", [False, True], ids=["c", "pure"])
@pytest.mark.parametrize("compression", ["None", "'deflate'"])
@pytest.mark.parametrize("drop", ["pass", "it = iter([])"])
def test_iterator_may_be_asked_and_dropped_by_a_handler_that_interrupts_it(pure, compression, drop):
    text = ITERATOR.format(drop=drop, compression=compression, send="pass")
    assert run_program(text, pure=pure) == "[None, None]\n"


@posix
@pytest.mark.parametrize("pure", [False, True], ids=["c", "pure"])
def test_each_of_two_calls_of_one_iterator_gets_a_message(pure):
    send = "ws.send('first'); ws.send('second')"
    text = ITERATOR.format(drop="pass", compression=None, send=send)
    assert run_program(text, pure=pure) == "['first', 'second']\n"


FORK_IN_CONVERSION = """
    import os, sys
    from syncws.sansio.protocol import Protocol
    from syncws.sansio.state import Role
    from syncws.threaded.connection import Connection
    from syncws.exceptions import ConnectionClosed
    import socket, gc

    ours, theirs = socket.socketpair()
    ws = Connection(ours, Protocol(Role.CLIENT))
    ws._start()

    class Item:
        cost = 1
        def message(self, decode):
            global pid
            pid = os.fork()
            gc.collect()
            return "message"

    ws._inbox.put_item(Item())
    message = ws.recv(5)
    if pid == 0:
        try:
            ws.recv(5)
        except ConnectionClosed:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    print(message, ws.open)
    ws.abort()
"""


@posix
@pytest.mark.parametrize("pure", [False, True], ids=["c", "pure"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fork_while_a_message_is_converted_leaves_the_queue_where_it_is(pure):
    text = "import warnings; warnings.simplefilter('ignore')\n" + textwrap.dedent(
        FORK_IN_CONVERSION
    )
    assert run_program(text, pure=pure) == "message True\n"


UNINITIALIZED = """
    import inspect, itertools
    from syncws.accel import Channel
    from syncws.threaded.connection import Connection
    from syncws.client.client_connection import ClientConnection

    class Sub(Channel):
        pass

    direct = (-1, None, 0, None, None, None, [], b"", 0)
    arguments = [(), (None,), (b"",), (1.0,), (b"", True), direct]
    skipped = "__class__ __init_subclass__ __subclasshook__ __new__ __init__".split()
    called = 0
    for cls in (Channel, Sub, Connection, ClientConnection):
        for name in dir(cls):
            if name in skipped:
                continue
            if name.startswith("_") and cls not in (Channel, Sub):
                continue
            for args in arguments:
                channel = cls.__new__(cls)
                try:
                    value = getattr(channel, name)
                    if callable(value):
                        value = value(*args)
                    if inspect.isgenerator(value) or name == "__iter__":
                        next(value)
                except Exception:
                    pass
                called += 1
        channel = cls.__new__(cls)
        for value in (None, 1, channel):
            try:
                channel._queue = value
            except Exception:
                pass
    print(called > 100)
"""


@pytest.mark.parametrize("pure", [False, True], ids=["c", "pure"])
def test_methods_of_what_was_not_initialized_raise_and_do_not_crash(pure):
    assert run_program(UNINITIALIZED, pure=pure) == "True\n"


def test_a_channel_goes_direct_once_and_not_before_it_has_a_queue():
    c = pytest.importorskip("syncws.accel._speedups")
    if sys.platform == "win32":
        pytest.skip("no reading by descriptor")
    channel = c.Channel()
    settings = (-1, c.FrameParser(masked=False), 0, object(), object(), c.WriteLock(), [])
    with pytest.raises(RuntimeError, match=r"__init__\(\) was not called"):
        channel._go_direct(*settings, bytearray(), False)
    channel._queue = c.MessageQueue()
    assert channel._go_direct(*settings, bytearray(), False)
    with pytest.raises(RuntimeError, match="already"):
        channel._go_direct(*settings, bytearray(), False)
