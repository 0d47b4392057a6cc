#!/usr/bin/env python3
"""Compare syncws with the WebSocket libraries that are installed here.

    pip install ".[bench]"
    python tests/bench/compare.py
    python tests/bench/compare.py --only server_roundtrip,client_send --rounds 5

Every figure is the best of the rounds, which take turns. README.md says what the rows mean.
Exit status 1: something couldn't be measured.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

from children import Child, Failed, environment
from driver import CLOSE, HOST, NORMAL_CLOSURE, Unexpected, build_frame, open_connection
from implementations import IMPLEMENTATIONS
from rows import MIB, ROWS
from secure import VARIABLE, make_certificates

OURS = "syncws"

START_TIMEOUT = 20.0
POLL_INTERVAL = 0.05
SETTLE_TIME = 0.5  # until a server with new connections has nothing left to do


# --- one measurement ---------------------------------------------------------------


def free_port():
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return sock.getsockname()[1]


def wait_until_serving(server, port, context):
    """Try until one connection was opened, and closed; the server is warmed up then, too."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        if server.process.poll() is not None:
            raise Failed(server.complaint())
        try:
            with open_connection(port, context) as sock:
                sock.settimeout(START_TIMEOUT)
                sock.sendall(build_frame(CLOSE, NORMAL_CLOSURE, masked=True))
                while sock.recv(4096):
                    pass
            return
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise Failed(f"not serving after {START_TIMEOUT:g} s") from None
            time.sleep(POLL_INTERVAL)
        except (OSError, Unexpected) as exc:
            raise Failed(f"first connection: {exc}") from exc


def resident_memory(pid):
    """The KiB of memory that a process occupies."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        raise Failed("needs /proc") from None
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])


def measure_server(name, row, start):
    """The figures of the driver with an implementation's server."""
    port = free_port()
    context = ssl.create_default_context() if row.tls else None
    with start("implementations.py", "server", name, row.work, int(row.tls), port) as server:
        wait_until_serving(server, port, context)
        before = resident_memory(server.process.pid) if row.unit == "KiB" else 0
        with start("driver.py", "server", *scenario(row), port) as driver:
            try:
                found = driver.read()
            except Failed:
                if server.process.poll() is not None:
                    raise Failed(server.complaint()) from None
                raise
            if row.unit == "KiB":
                time.sleep(SETTLE_TIME)
                found["KiB"] = resident_memory(server.process.pid) - before
            return found


def measure_client(name, row, start):
    """The figures of the driver with an implementation's client."""
    with start("driver.py", "client", *scenario(row)) as driver:
        port = driver.read()["port"]
        arguments = (row.work, int(row.tls), port, row.count, row.size)
        with start("implementations.py", "client", name, *arguments) as client:
            try:
                client.finish()
            except Failed as exc:
                raise Failed(f"{exc}{remark(driver)}") from None
            return driver.read()


def remark(driver):
    """What the driver says about a client that failed: it may have been the one to hang up."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        if driver.process.wait(SETTLE_TIME):
            return f" (driver: {driver.complaint()})"
    return ""


def scenario(row):
    """What the driver is told."""
    numbers = (row.count, row.size, row.connections, row.window, row.tls, row.deflate)
    return row.scenario, *map(int, numbers)


def measure(name, row, start):
    """The one figure of an implementation in a row."""
    measure_role = measure_server if row.role == "server" else measure_client
    found = measure_role(name, row, start)
    if row.unit == "KiB":
        return found["KiB"] / found["count"]
    if row.unit == "us":
        return found["seconds"] / found["count"] * 1e6
    rate = found["count"] / found["seconds"]
    return rate * row.size / MIB if row.unit == "MiB/s" else rate


# --- all measurements --------------------------------------------------------------


def find_implementations(names, env):
    """{name: what it has} of those that are here; the others get a line that says why not."""
    with Child("implementations.py", "check", *names, deadline=60, env=env) as child:
        found = child.read()
    for name, it in list(found.items()):
        if "missing" in it:
            print(f"{name}: skipped: {it['missing']}")
            del found[name]
        else:
            print(", ".join([f"{name}: {it['version']}", *it["notes"]]))
    return found


def measure_row(row, names, rounds, start):
    """({name: best figure}, {name: why there is none}); the rounds take turns."""
    figures, failures = {}, {}
    choose = min if row.less_is_better else max
    for _ in range(rounds):
        for name in names:
            try:
                figure = measure(name, row, start)
            except Failed as exc:
                failures[name] = str(exc)
            else:
                figures[name] = choose(figure, figures.get(name, figure))
    return figures, failures


def best_peer(row, figures):
    """The name of the best one that isn't syncws, or None."""
    choose = min if row.less_is_better else max
    return choose((name for name in figures if name != OURS), key=figures.get, default=None)


def ratio(row, figure, other):
    """How many times as good as the other a figure is."""
    above, below = (other, figure) if row.less_is_better else (figure, other)
    return above / below if above > 0 and below > 0 else None


# --- what is printed ---------------------------------------------------------------


def format_figure(figure):
    return f"{figure:,.0f}" if figure >= 1000 else f"{figure:.1f}"


def format_ratio(number):
    return "-" if number is None else f"{number:.2f}"


def print_row(row, figures, failures):
    """All implementations in one row."""
    direction = "less" if row.less_is_better else "more"
    print(f"\n{row.name}: {row.meaning} ({row.unit}, {direction} is better)")
    best = best_peer(row, figures)
    for name, figure in figures.items():
        versus = ratio(row, figure, figures[best]) if best else None
        print(f"  {name:20} {format_figure(figure):>12} {format_ratio(versus):>8}")
    for name, why in failures.items():
        print(f"  {name:20} failed: {why}")
    if not figures and not failures:
        print("  nothing here does this")
    sys.stdout.flush()


def print_summary(results):
    """syncws against the best of the others, one line a row."""
    lines = [("row", "unit", OURS, "best of peers", "", "ratio")]
    for name, figures in results.items():
        row, ours = ROWS[name], figures.get(OURS)
        if ours is None:
            continue
        best = best_peer(row, figures)
        theirs = format_figure(figures[best]) if best else "-"
        number = ratio(row, ours, figures[best]) if best else None
        lines.append(
            (name, row.unit, format_figure(ours), theirs, best or "", format_ratio(number))
        )
    if len(lines) > 1:
        print()
        for name, unit, ours, theirs, best, number in lines:
            print(f"{name:26} {unit:6} {ours:>12} {theirs:>14} {best:18} {number:>7}")


# --- the command -------------------------------------------------------------------


def names_from(known, what):
    """A converter of arguments: names separated by commas, each of them known."""

    def convert(text):
        names = list(dict.fromkeys(text.split(",")))
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(
                    f"no {what} is called {name!r}; there are {', '.join(known)}"
                )
        return names

    return convert


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", type=names_from(ROWS, "row"), metavar="ROW,...")
    parser.add_argument(
        "--impl", type=names_from(IMPLEMENTATIONS, "implementation"), metavar="NAME,..."
    )
    parser.add_argument("--rounds", type=positive, default=3, metavar="N")
    parser.add_argument(
        "--cpus", metavar="N,...", help='CPUs to run on, or "all"; by default one, where possible'
    )
    parser.add_argument("--deadline", type=float, default=60.0, help="seconds for one measurement")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write figures there")
    parser.add_argument(
        "--quick", action="store_true", help="next to no work: figures that mean nothing"
    )
    options = parser.parse_args()
    try:
        pin(options.cpus)
    except (OSError, ValueError) as exc:
        parser.error(f"--cpus {options.cpus}: {exc}")
    return options


def pin(cpus):
    """Keep this process, and those it will start, on these CPUs.

    By default on one, together: waking another CPU up takes longer than most of what is
    measured here, and not always as long.
    """
    if cpus == "all" or (cpus is None and not hasattr(os, "sched_setaffinity")):
        return
    if not hasattr(os, "sched_setaffinity"):
        raise ValueError("processes can't be pinned on this system")
    chosen = {max(os.sched_getaffinity(0))} if cpus is None else set(map(int, cpus.split(",")))
    os.sched_setaffinity(0, chosen)
    print(f"on CPU {','.join(map(str, sorted(chosen)))}")


def allow_many_files():
    """Raise the limit of open files: a thousand connections need as many."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def choose_rows(options, folder):
    """The rows to measure; those over TLS have what they need in the folder, or are left out."""
    rows = [ROWS[name] for name in options.only or ROWS]
    if any(row.tls for row in rows):
        try:
            os.environ[VARIABLE] = str(make_certificates(folder, HOST))
        except ImportError as exc:
            print(f"TLS: skipped: {exc}")
            rows = [row for row in rows if not row.tls]
    return [row.scaled_down() for row in rows] if options.quick else rows


def is_able(found, row):
    """Whether an implementation has what a row measures."""
    return row.work in found[row.role] and (row.role in found["deflate"] or not row.deflate)


def run(options, folder):
    """Measure and print; return whether nothing failed."""
    rows = choose_rows(options, folder)
    env = environment()
    names = list(IMPLEMENTATIONS) if options.impl is None else options.impl
    found = find_implementations(names, env)
    if not found:
        print("there is nothing to measure")
        return False

    def start(script, *arguments):
        return Child(script, *arguments, deadline=options.deadline, env=env)

    results, all_failures = {}, {}
    for row in rows:
        able = [impl for impl in found if is_able(found[impl], row)]
        results[row.name], failures = measure_row(row, able, options.rounds, start)
        print_row(row, results[row.name], failures)
        if failures:
            all_failures[row.name] = failures
    print_summary(results)
    if options.json:
        write_json(options, found, results, all_failures)
    return not all_failures


def processor():
    """The model of the processor."""
    with contextlib.suppress(OSError):
        found = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
        if found:
            return found[1]
    return platform.processor() or platform.machine()


def shown_arguments(arguments):
    """The arguments, without the file that figures are written to."""
    shown, following = [], iter(arguments)
    for argument in following:
        if argument == "--json":
            next(following, None)
        elif not argument.startswith("--json="):
            shown.append(argument)
    return shown


def write_json(options, found, results, failures):
    content = {
        "date": time.strftime("%Y-%m-%d"),
        "command": " ".join(["python", "tests/bench/compare.py", *shown_arguments(sys.argv[1:])]),
        "cores": os.cpu_count(),
        "processor": processor(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "rounds": options.rounds,
        "quick": options.quick,
        "versions": {name: it["version"] for name, it in found.items()},
        "units": {name: ROWS[name].unit for name in results},
        "figures": results,
        "failures": failures,
    }
    options.json.write_text(json.dumps(content, indent=2) + "\n")


def main():
    options = parse_arguments()
    allow_many_files()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with tempfile.TemporaryDirectory() as folder:
            return 0 if run(options, folder) else 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
