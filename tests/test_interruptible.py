"""What the main thread runs ends its blocks, wherever a signal handler raises.

From Python 3.13 on that is so everywhere but at one kind of place: where a loop goes on because of
a condition at its end (`while`, a last `if`, a comprehension with `if`), the compiler puts the jump
back outside of the `with` or `try` that is around the loop. An exception there leaves the function
without ending the block: a lock stays held. So such a loop is in a function of its own, which the
block calls.
"""

import dis
import pathlib
import sys
import types

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[1] / "syncws"

# The other packages' code runs in threads of servers, or leaves nothing behind.
PARTS = (
    "accel",
    "cli",
    "client",
    "legacy",
    "pubsub",
    "sansio",
    "server",
    "stand_in",
    "styles",
    "testing",
    "threaded",
)

# What only threads of the library run, where no signal handler does.
OWN_THREADS = {"_run"}
OWN_MODULES = {"session_receiver.py", "session_sender.py"}


def code_in(code):
    """Yield a code object, and those of the functions in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from code_in(constant)


def count_blocks(entries, names, offset):
    """Return how many blocks an instruction is in; a comprehension's own doesn't count."""
    count = 0
    while (entry := next((e for e in entries if e.start <= offset < e.end), None)) is not None:
        count += names[entry.target] == "PUSH_EXC_INFO"
        offset = entry.target
    return count


def jumps_out_of_blocks(code):
    """Yield the line of each jump back that is in fewer blocks than where it goes."""
    bytecode = dis.Bytecode(code)
    names = {instruction.offset: instruction.opname for instruction in bytecode}
    line = code.co_firstlineno
    for instruction in bytecode:
        line = instruction.positions.lineno or line
        if instruction.opname == "JUMP_BACKWARD":
            here, there = (
                count_blocks(bytecode.exception_entries, names, offset)
                for offset in (instruction.offset, instruction.argval)
            )
            if here < there:
                yield line


EXAMPLE = """
def loop(lock, values):
    with lock:
        return [value for value in values if value]
"""


@pytest.mark.skipif(
    sys.version_info < (3, 13) or sys.implementation.name != "cpython",
    reason="this Python ends such blocks",
)
def test_no_loop_in_a_block_goes_on_because_of_a_condition_at_its_end():
    found = []
    for part in PARTS:
        modules = set((PACKAGE / part).rglob("*.py"))
        for path in sorted(each for each in modules if each.name not in OWN_MODULES):
            for code in code_in(compile(path.read_text(encoding="utf-8"), str(path), "exec")):
                if code.co_name not in OWN_THREADS:
                    found += [f"{path}:{line}" for line in jumps_out_of_blocks(code)]
    assert found == []


@pytest.mark.skipif(sys.version_info[:2] != (3, 13), reason="later ones may be mended")
def test_such_a_loop_is_found():
    (loop,) = list(code_in(compile(EXAMPLE, "example", "exec")))[1:]
    assert list(jumps_out_of_blocks(loop)) == [4]
