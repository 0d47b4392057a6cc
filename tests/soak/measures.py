"""What the soak test measures, and how its processes talk to each other."""

import collections
import json
import math
import os
import pathlib
import subprocess
import sys
import threading

TESTS = pathlib.Path(__file__).resolve().parents[1]

#: Buckets of a histogram are 10 % apart.
BASE = math.log(1.1)


class Errors:
    """A count of errors, and the first of them. Any thread may add some."""

    def __init__(self, limit=20):
        self._lock = threading.Lock()
        self._limit = limit
        self.count = 0
        self.first = []

    def add(self, text):
        with self._lock:
            self.count += 1
            if len(self.first) < self._limit:
                self.first.append(text)

    def as_dict(self):
        with self._lock:
            return {"count": self.count, "first": list(self.first)}


class Counter:
    """Named counts. Any thread may add to them."""

    def __init__(self):
        self._lock = threading.Lock()
        self._counts = collections.Counter()

    def add(self, name, number=1):
        with self._lock:
            self._counts[name] += number

    def as_dict(self):
        with self._lock:
            return dict(self._counts)


class Histogram:
    """Durations in seconds, of which percentiles are known to 10 %."""

    def __init__(self):
        self._lock = threading.Lock()
        self._buckets = collections.Counter()

    def add(self, seconds):
        bucket = math.ceil(math.log(max(seconds, 1e-6)) / BASE)
        with self._lock:
            self._buckets[bucket] += 1

    def take(self):
        """Return the buckets, and begin anew."""
        with self._lock:
            buckets, self._buckets = self._buckets, collections.Counter()
        return dict(buckets)


def percentile(buckets, share):
    """The duration that this share does not exceed; 0 if there are none."""
    left = share * sum(buckets.values())
    for bucket in sorted(buckets):
        left -= buckets[bucket]
        if left <= 0:
            return math.exp(bucket * BASE)
    return math.exp(max(buckets) * BASE) if buckets else 0.0


def sample(pid):
    """Memory in KiB, descriptors, threads and CPU seconds of a process."""
    with open(f"/proc/{pid}/status") as file:
        status = dict(line.split(":", 1) for line in file)
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return {
        "rss": int(status["VmRSS"].split()[0]),
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": int(status["Threads"]),
        "cpu": (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),
    }


def growth(points):
    """How much a line through (time, value) points rises over all of their time."""
    count = len(points)
    mean_time = sum(time for time, _ in points) / count
    mean_value = sum(value for _, value in points) / count
    spread = sum((time - mean_time) ** 2 for time, _ in points)
    slope = sum((time - mean_time) * (value - mean_value) for time, value in points) / spread
    return slope * (points[-1][0] - points[0][0])


class Child:
    """A process that answers each line of JSON on its input by one on its output."""

    def __init__(self, program, configuration):
        self.process = subprocess.Popen(
            [sys.executable, program, json.dumps(configuration)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for us only
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])},
        )
        self.ready = self._read()

    def _read(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args[1]} ended: {self.process.wait()}")
        return json.loads(line)

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self._read()

    def end(self):
        """End it, whatever it does; it ends by itself when its input does."""
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def answer_commands(ready, commands):
    """Say that this process is ready, and answer until the end of input, or of it."""

    def say(value):
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()

    say(ready)
    for line in sys.stdin:
        command = line.strip()
        say(commands[command]())
        if command == "stop":
            break
