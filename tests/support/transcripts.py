"""The transcripts in the documentation: sessions in several terminals, played again.

In docs/ a transcript is a block of text that follows a line ``<!-- name -->``. Its lines are in
chronological order, each with the name of its terminal::

    server | $ python server.py
    server | Ready.
    ann    | $ python client.py ann
    ann    | » hello
    ann    | ann: hello
    ann    | ^D
    server | ^C

``$`` starts a program: a block of Python on the same page, or one of Python's modules. ``»`` is a
line that is typed, ``^C`` and ``^D`` are keys; everything else is printed. ``...`` stands for any
text; alone on a line, for any lines.

By the end of the transcript each program has ended, with status 0 unless it printed a traceback,
and printed nothing else.
"""

import contextlib
import os
import queue
import re
import shlex
import signal
import subprocess
import sys
import threading

from support.snippets import DOCS, PATIENCE, PORT, ROOT, free_port

BLOCK = re.compile(r"^<!-- (?P<name>[a-z0-9-]+) -->\n```text\n(?P<text>.*?)^```$", re.M | re.S)
FILE = re.compile(
    r"^<!-- (?P<name>[a-z0-9-]+) -->\n```(?P<kind>python|html)\n(?P<text>.*?)^```$", re.M | re.S
)
DIFF = re.compile(r"^<!-- (?P<name>[a-z0-9-]+) -->\n```diff\n(?P<text>.*?)^```$", re.M | re.S)
LINE = re.compile(r"(?P<terminal>[a-z]+) *\|(?: (?P<text>.*))?")
COMMAND = re.compile(r"\$ python (?P<arguments>.*)")

SUFFIXES = {"python": ".py", "html": ".html"}


def read(page):
    """The text of a page, given as a path below docs without suffix."""
    return (DOCS / f"{page}.md").read_text(encoding="utf-8")


def transcripts(page):
    """The transcripts of a page by name, without other blocks of text."""
    found = {match["name"]: match["text"] for match in BLOCK.finditer(read(page))}
    return {name: text for name, text in found.items() if LINE.match(text)}


def changes(page, name):
    """What a page says to change in a file: pairs of an old and a new text."""
    found = {match["name"]: match["text"] for match in DIFF.finditer(read(page))}
    hunks = [hunk.splitlines(keepends=True) for hunk in found[name].split("@@\n")]
    return [
        tuple("".join(line[1:] for line in hunk if line[0] in marks) for marks in (" -", " +"))
        for hunk in hunks
    ]


def programs(page, name):
    """The names of the page's blocks that a transcript runs."""
    started = re.findall(r"\| \$ python (?:.* )?([a-z_]+)\.py\b", transcripts(page)[name])
    return {program.replace("_", "-") for program in started}


def write_files(page, directory, port):
    """Write the programs of a page, and the files they need, where a reader would save them."""
    for match in FILE.finditer(read(page)):
        name = match["name"].replace("-", "_") + SUFFIXES[match["kind"]]
        (directory / name).write_text(match["text"].replace(PORT, str(port)), encoding="utf-8")


class Terminal:
    """A running program, and the lines that it prints, errors included."""

    def __init__(self, arguments, directory):
        self.printed = []
        self._lines = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-W", "error", *arguments],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def expect(self, wanted, *, anywhere=False):
        """Take the next line, or all lines up to the expected one."""
        pattern = ".*".join(map(re.escape, wanted.split("...")))
        while True:
            line = self.take()
            if line is not None and re.fullmatch(pattern, line):
                return
            if not anywhere or line is None:
                raise AssertionError(f"printed {line!r} instead of {wanted!r}")

    def take(self):
        """The next line, or None at the end."""
        try:
            line = self._lines.get(timeout=PATIENCE)
        except queue.Empty:
            raise AssertionError(f"nothing more was printed after {self.printed}") from None
        self.printed.append(line)
        return line

    def press(self, keys):
        if keys == "^D":
            self.process.stdin.close()
        elif keys == "^C":
            self.process.send_signal(signal.SIGINT)
        else:
            self.process.stdin.write(keys + "\n")
            self.process.stdin.flush()

    def finish(self, *, anything=False):
        """Check that the program ends as it should."""
        while (line := self.take()) is not None:
            assert anything, f"printed {line!r} besides"
        self.process.wait(PATIENCE)
        failed = any("Traceback" in line for line in self.printed if line)
        allowed = (0, 1, -signal.SIGINT) if failed else (0,)
        assert self.process.returncode in allowed, self.printed

    def kill(self):
        self.process.kill()
        self._reader.join()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def play(page, name, directory, changes=()):
    """Do what a transcript of a page says, and check that what it shows is printed.

    Changes are pairs of what is in the transcript, and what is typed or expected in its place.
    """
    port = free_port()
    write_files(page, directory, port)
    text = transcripts(page)[name].replace(PORT, str(port))
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    terminals = {}
    leaps = set()  # terminals where any lines may come next
    try:
        for number, line in enumerate(text.splitlines(), 1):
            found = LINE.fullmatch(line)
            assert found, f"line {number} of {name} is none of a transcript: {line!r}"
            try:
                _step(terminals, leaps, found["terminal"], found["text"] or "", directory)
            except AssertionError as exc:
                raise AssertionError(f"{page}: {name}, line {number}: {line!r}: {exc}") from None
        for key, terminal in terminals.items():
            terminal.finish(anything=key in leaps)
    finally:
        for terminal in terminals.values():
            terminal.kill()


def _step(terminals, leaps, key, text, directory):
    command = COMMAND.fullmatch(text)
    if command:
        before = terminals.get(key)
        if before is not None:
            before.finish(anything=key in leaps)
            before.kill()
        leaps.discard(key)
        terminals[key] = Terminal(shlex.split(command["arguments"]), directory)
    elif text == "...":
        leaps.add(key)
    elif text in ("^C", "^D"):
        terminals[key].press(text)
    elif text.startswith("» "):
        terminals[key].press(text[2:])
    else:
        terminals[key].expect(text, anywhere=key in leaps)
        leaps.discard(key)
