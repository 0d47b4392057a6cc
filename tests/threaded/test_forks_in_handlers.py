"""A signal handler that forks, whatever the main thread is doing: the child must not hang."""

import os
import subprocess
import sys
import textwrap

import pytest
from support.kinds import KINDS
from support.programs import ROOT

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

PROGRAM = """
    import os, signal, sys, threading, time, warnings
    warnings.simplefilter("ignore")  # threads that the child doesn't have are the point
    sys.path.insert(0, "tests")
    from support.kinds import pair_of
    from support.pairs import wait_until
    from syncws import ConnectionClosed, wait

    kind, call = sys.argv[1:]
    pid = None

    def fork(*_):
        global pid
        pid = os.fork()

    def lock_held(lock):
        '''Have another thread hold a lock until the main thread waits for it, and has forked.'''
        held = threading.Event()

        def hold():
            with lock:
                held.set()
                wait_until(lambda: pid is not None)

        threading.Thread(target=hold, daemon=True).start()
        held.wait()

    with pair_of(kind, ping_interval=None, close_timeout=None) as (ws, peer):
        def fragments():
            yield "a"
            wait_until(lambda: pid is not None)

        def begin_a_fragmented_message():
            threading.Thread(target=lambda: ws.send(fragments()), daemon=True).start()
            wait_until(lambda: ws._writer._fragmented is not None)

        def send_much():
            while True:
                ws.send(bytes(1 << 20))

        def ping():
            ws._control_received = lambda frame: None
            ws.ping().wait()

        first = {
            "fragments": begin_a_fragmented_message,
            "write_lock": lambda: lock_held(ws._writer.lock),
            "state_lock": lambda: lock_held(ws._state_lock),
            "inbox": lambda: lock_held(ws._inbox._lock),
        }
        calls = {
            "recv": ws.recv,
            "iterate": lambda: list(ws),
            "stream": lambda: list(ws.recv_streaming()),
            "wait": lambda: wait([ws]) and ws.recv(),
            "send": send_much,
            "close": lambda: (setattr(peer, "_control_received", lambda frame: None), ws.close()),
            "wait_closed": lambda: ws.wait_closed(),
            "ping": ping,
            "fragments": lambda: ws.send("x"),
            "write_lock": lambda: ws.send("x"),
            "state_lock": lambda: ws.ping().wait(),
            "inbox": ws.recv,
        }
        def after_the_child(function):
            '''Call a function once the child is over, or should be.'''
            def wait():
                try:
                    wait_until(lambda: pid and os.waitid(os.P_PID, pid, OVER), 10)
                finally:
                    function()

            threading.Thread(target=wait, daemon=True).start()

        OVER = os.WEXITED | os.WNOHANG | os.WNOWAIT
        signal.signal(signal.SIGUSR1, fork)
        main = threading.main_thread().ident
        if call in first:
            first[call]()
        threading.Timer(0.1, signal.pthread_kill, (main, signal.SIGUSR1)).start()
        if call in ("recv", "iterate", "stream", "wait", "inbox"):
            # The parent's call ends, too, once there is something.
            after_the_child(lambda: peer.send("x") or peer.close())
        elif call in ("send", "wait_closed", "close", "ping"):
            after_the_child(ws.abort)
        try:
            calls[call]()
        except ConnectionClosed as exc:
            outcome = f"{type(exc).__name__}: {exc.__cause__}"
        else:
            outcome = "returned"
        if pid == 0:
            sys.stdout.write(f"child: {ws.closed} {outcome}\\n")
            sys.stdout.flush()
            os._exit(0)
        deadline = time.monotonic() + 10
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(pid, 9)
                print("the child hangs")
                break
            time.sleep(0.01)
        print("parent:", outcome.split(":")[0])
"""

RAISED = "child: True ConnectionClosedError: the process forked; its parent has the connection"
RETURNED = "child: True returned"

CALLS = {
    "recv": RAISED,
    "iterate": RAISED,
    "stream": RAISED,
    "wait": RAISED,
    "send": RAISED,
    "close": RETURNED,
    "wait_closed": RETURNED,
    "ping": RAISED,
    "fragments": RAISED,
    "write_lock": RAISED,
    "state_lock": RAISED,
    "inbox": RAISED,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("pure", ["0", "1"], ids=["c", "pure"])
def test_child_goes_on_at_once_and_the_parent_is_not_disturbed(kind, call, pure):
    if pure == "1" and kind != "plain":
        pytest.skip("TLS and compression take the same way with the accelerator")
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), kind, call],
        cwd=ROOT,
        env={**os.environ, "SYNCWS_PURE": pure},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    lines = result.stdout.splitlines()
    assert lines, result.stderr
    assert lines[0] == CALLS[call], result.stderr
    assert lines[1].startswith("parent: ")
    assert result.returncode == 0, result.stderr


SERVER = """
    import os, signal, sys, threading, time, warnings
    warnings.simplefilter("ignore")
    from syncws import connect, serve
    pid = None

    def fork(*_):
        global pid
        pid = os.fork()

    signal.signal(signal.SIGUSR1, fork)
    server = serve(lambda ws: ws.send(ws.recv()), "127.0.0.1", 0)
    main = threading.main_thread().ident
    threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGUSR1)).start()

    def stop():
        with connect(server.uri, proxy=None) as ws:
            ws.send("still there")
            assert ws.recv() == "still there"
        server.stop()

    threading.Timer(0.8, stop).start()
    CALL
    if pid == 0:
        os.write(1, b"child\\n")
        os._exit(0)
    deadline = time.monotonic() + 10
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(pid, 9)
            print("the child hangs")
            break
        time.sleep(0.01)
    print("parent")
"""


@pytest.mark.parametrize("call", ["server.serve_forever()", "server.start().wait_closed()"])
def test_child_of_a_server_goes_on_at_once(call):
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SERVER.replace("CALL", call))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert result.stdout == "child\nparent\n", result.stderr


CONNECT = """
    import os, signal, socket, sys, threading, time, warnings
    warnings.simplefilter("ignore")
    sys.path.insert(0, "tests")
    from syncws import connect
    from syncws.sansio.handshake import accept_value

    pid = None

    def fork(*_):
        global pid
        pid = os.fork()

    def answer(tunnel):
        sock, _ = listener.accept()
        for turn in range(1 + tunnel):
            request = b""
            while not request.endswith(b"\\r\\n\\r\\n"):
                request += sock.recv(1)
            if not turn:
                os.kill(os.getpid(), signal.SIGUSR1)
                while pid is None:
                    time.sleep(0.01)
                time.sleep(0.3)  # the child is reading, if it does
            if turn < tunnel:
                sock.sendall(b"HTTP/1.1 200 Fine\\r\\n\\r\\n")
        key = request.split(b"Sec-WebSocket-Key: ")[1].split(b"\\r\\n")[0].decode()
        sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\n"
            b"Connection: Upgrade\\r\\nSec-WebSocket-Accept: "
            + accept_value(key).encode() + b"\\r\\n\\r\\n\\x81\\x05hello"
        )
        time.sleep(2)
        sock.sendall(b"\\x81\\x05again")
        sock.recv(1000)

    signal.signal(signal.SIGUSR1, fork)
    listener = socket.create_server(("127.0.0.1", 0))
    uri = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
    proxy = uri.replace("ws", "http", 1) if sys.argv[1] == "proxy" else None
    threading.Thread(target=answer, args=(bool(proxy),), daemon=True).start()
    try:
        ws = connect(uri, proxy=proxy, open_timeout=1.5)
    except Exception as exc:
        os.write(1, f"{'child' if pid == 0 else 'parent'} {type(exc).__name__}\\n".encode())
        os._exit(0)
    if pid == 0:
        os.write(1, b"child connected\\n")
        os._exit(0)
    os.waitpid(pid, 0)
    print("parent", ws.recv(5), ws.recv(5))
"""


@pytest.mark.parametrize("way", ["direct", "proxy"])
def test_child_of_who_connects_leaves_the_connection_to_the_parent(way):
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CONNECT), way],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    child, parent = result.stdout.splitlines()
    assert child.startswith("child ")
    assert child != "child connected"
    assert parent == "parent hello again", result.stderr
