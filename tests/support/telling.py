"""Run a program that tells what happens to it, perhaps with this library in place of others.

The program reads ``settings`` and calls ``tell``, which prints one event a line. Nothing but
the standard library is imported before it.
"""

import hashlib
import json
import runpy
import sys
import threading

#: What the test passes: addresses, files, and so on.
settings = {}

_lock = threading.Lock()


def tell(*event):
    """Print an event: its name and its values. Any thread may call it."""
    line = json.dumps(event, default=_describe) + "\n"
    with _lock:
        sys.__stdout__.write(line)
        sys.__stdout__.flush()


def at_once(*functions):
    """Call functions, each in a thread of its own; what they tell is sorted by name later."""
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def attempt(name, function, *args, **kwargs):
    """Call a function; tell what it returned, or what it raised."""
    try:
        result = function(*args, **kwargs)
    except Exception as exc:
        tell(name, "raised", exc)
    else:
        tell(name, result)


def _describe(value):
    """Convert what JSON can't represent."""
    if isinstance(value, BaseException):
        return type(value).__name__
    if isinstance(value, (bytes, bytearray)):
        return [type(value).__name__, value.decode("latin-1") if len(value) < 100 else mark(value)]
    return repr(value)


def mark(message):
    """A large message, abbreviated."""
    data = message.encode() if isinstance(message, str) else message
    return [type(message).__name__, len(message), hashlib.sha1(data).hexdigest()]


def main(text, program):
    """Run the program in a file, with these settings, given as JSON."""
    settings.update(json.loads(text))
    threading.excepthook = lambda args: tell("a thread failed", args.exc_value)
    if settings["stand in"]:
        import syncws

        syncws.install_as(*settings["stand in"])
    runpy.run_path(program, run_name="__main__")
    tell("end")
