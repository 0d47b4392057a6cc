"""The accelerator in interpreters that have a lock of their own: nothing is shared."""

import sys
import threading

import pytest
from support.interpreters import Interpreter

if sys.version_info < (3, 12):
    pytest.skip("interpreters have no lock of their own", allow_module_level=True)
try:
    from syncws.accel import _speedups
except ImportError:  # there was no compiler
    pytest.skip("syncws.accel._speedups isn't built", allow_module_level=True)

IMPORT = "from syncws.accel import _speedups as c\n"


def keys_here():
    return _speedups.serialize_frame(0x82, b"", True)[2:]


EVERYTHING = """
from syncws import accel
parser = c.FrameParser(masked=False)
events = parser.receive(c.serialize_messages(["text", b"bytes", "é" * 100], False))
masked = c.FrameParser(masked=True)
events += masked.receive(c.serialize_messages(["masked"], True))
masked.receive(b"\\x81\\x82\\0\\0\\0\\0a\\xff")
queue = c.MessageQueue()
queue.put(events)
with c.WriteLock() as taken:
    answer([accel.IMPLEMENTATION, events, masked.error, queue.count, taken])
"""


def test_accelerator_works_in_another_interpreter():
    with Interpreter() as other:
        answer = other.run(IMPORT + EVERYTHING)
    events = ["text", b"bytes", "é" * 100, "masked"]
    assert answer == ascii(["c", events, (1007, "invalid start byte", 1), 4, True])


def test_interpreters_share_no_state():
    mine = keys_here()
    with Interpreter() as one, Interpreter() as two:
        for number, other in enumerate((one, two)):
            code = f"import os; os.urandom = lambda size: b'{number}' * size\n" + IMPORT
            assert other.run(code + "answer(c.serialize_frame(130, b'', True))") == ascii(
                b"\x82\x80" + str(number).encode() * 4
            )
        # Types are each interpreter's own.
        names = ("FrameParser", "MessageQueue", "Channel")
        types = [[id(getattr(_speedups, name)) for name in names]]
        for other in (one, two):
            answer = other.run(f"answer([id(getattr(c, name)) for name in {names}])")
            types.append([int(number) for number in answer.strip("[]").split(",")])
        assert len({number for row in types for number in row}) == 9
        # What one forgets another has still.
        one.run("c.forget_masking_keys(); os.urandom = None")
        assert keys_here() not in (mine, b"0000", b"1111")
        assert two.run("answer(c.serialize_frame(130, b'', True)[2:])") == ascii(b"1111")
    assert keys_here() not in (mine, b"0000", b"1111")


WORK = """
messages = [f"{number} {i}" + "é" * (i % 3) for i in range(1000)]
parser = c.FrameParser(masked=True)
good = 0
for _ in range(100):
    data = c.serialize_messages(messages, True)
    events = []
    for start in range(0, len(data), 5000):
        events += parser.receive(data[start : start + 5000])
    good += events == messages
answer(good)
"""


def test_interpreters_work_at_the_same_time():
    answers = {}

    def work(number):
        # Ended by the thread that used it: 3.12 would wait forever.
        with Interpreter() as other:
            answers[number] = other.run(IMPORT + f"number = {number}\n" + WORK)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {0: "100", 1: "100", 2: "100"}


def test_interpreters_come_and_go():
    parser = _speedups.FrameParser(masked=False)
    parser.receive(b"\x81\x05he")
    for _ in range(10):
        with Interpreter() as other:
            # Some objects are left to the end of the interpreter.
            code = IMPORT + "kept = [c.FrameParser(masked=True), c.MessageQueue(), c]\n"
            code += "kept[0].receive(b'\\x82\\xff'); kept[1].put(['x']); kept.append(kept)\n"
            other.run(code + "class Mine(c.Channel): pass\nkept.append(Mine())")
    assert parser.receive(b"llo") == ["hello"]
    assert len({keys_here() for _ in range(100)}) == 100
