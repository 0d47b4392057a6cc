"""Hours, or minutes, of a server among healthy and hostile clients: see README.md."""

import argparse
import pathlib
import resource
import signal
import sys
import tempfile
import time

import trustme
from measures import Child, growth, percentile, sample

HERE = pathlib.Path(__file__).resolve().parent

SAMPLE_INTERVAL = 2.0

#: Of the connections, those that attack.
HOSTILE_SHARE = 0.15

#: Seconds between two times that the server has no descriptors left, and how long that lasts.
EXHAUSTION_INTERVAL = 30.0
EXHAUSTION_TIME = 0.5

#: Of the healthy clients, those that may be refused, as the server has no descriptors just then.
REFUSED_SHARE = 0.05

#: Seconds that a crowd stays; after it has left, seconds that its threads may take to end, and
#: seconds that aren't looked at for trends.
CROWD_TIME = 5.0
CROWD_LEAVES = 10.0
CROWD_SETTLES = 10.0

#: Trends of fewer seconds after the warm-up tell nothing.
MIN_WINDOW = 120.0

#: How much more may be there at the end than after the warm-up, by a line through all samples.
#: Descriptors and threads go up and down with the connections, which come and go at random: 5 %
#: of them. Memory is what the allocator keeps of the worst moment so far, and a worse one may
#: always come: 10 %, and 4 MiB. That is less than 1 KiB for each connection that there was in
#: 15 minutes.
COUNT_SHARE = 0.05
MEMORY_SHARE = 0.10
MEMORY_KIB = 4096

#: How much more memory the server may have at the end, without clients, than before the first
#: one: what is loaded and made only once, and pages that one object keeps from being given back.
END_KIB = 40960

#: The same for each client of a crowd.
CROWD_KIB = 10


class Soak:
    """Starts the processes, watches them, and judges."""

    def __init__(self, arguments, directory):
        self.arguments = arguments
        self.duration = 60 * arguments.minutes
        self.warm_up = min(300.0, self.duration / 3)
        authority = trustme.CA()
        certificate, ca = directory / "certificate.pem", directory / "authority.pem"
        issued = authority.issue_cert("localhost", "127.0.0.1")
        issued.private_key_and_cert_chain_pem.write_to_path(str(certificate))
        authority.cert_pem.write_to_path(str(ca))
        self.failures = []
        self.told = []  # errors that were printed
        self.samples = []
        self.reported = {"trimmed": [], "blocks": []}  # what the server says, with the times
        self.children = []
        self.server = self._start("soak_server", {"certificate": str(certificate)})
        self.before = sample(self.server.process.pid)
        hostile = max(1, round(arguments.connections * HOSTILE_SHARE))
        configuration = {
            "seed": arguments.seed,
            "ports": self.server.ready["ports"],
            "authority": str(ca),
            "ramp": min(20.0, self.duration / 6),
            "lifetime": min(20.0, self.duration / 6),
            "connections": arguments.connections - hostile,
            "attackers": hostile,
        }
        self.clients = self._start("soak_clients", configuration)
        self.faults = self._start("soak_faults", configuration)
        self.crowd = None
        if arguments.crowd:
            self.crowd = self._start("soak_crowd", {**configuration, "crowd": arguments.crowd})

    def _start(self, name, configuration):
        child = Child(str(HERE / f"{name}.py"), configuration)
        self.children.append(child)
        return child

    # --- while it runs ---

    def run(self):
        self.start = time.monotonic()
        next_report, next_exhaustion = self.arguments.report_interval, EXHAUSTION_INTERVAL / 2
        next_crowd, calm_at = self.arguments.crowd_interval / 4, 0.0
        while (now := time.monotonic() - self.start) < self.duration:
            if self.crowd is not None and now >= next_crowd:
                next_crowd += self.arguments.crowd_interval
                self._crowd()
                calm_at = time.monotonic() - self.start + CROWD_SETTLES
                continue
            if now >= calm_at:
                self.samples.append((now, sample(self.server.process.pid)))
            if now >= next_report:
                next_report += self.arguments.report_interval
                self._report(now)
            if now >= next_exhaustion:
                next_exhaustion += EXHAUSTION_INTERVAL
                self._exhaust()
            time.sleep(max(0.0, min(SAMPLE_INTERVAL, self.duration - now)))

    def _exhaust(self):
        """Take all descriptors from the server that it does not use yet, for a while."""
        pid = self.server.process.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (sample(pid)["descriptors"], hard))
        time.sleep(EXHAUSTION_TIME)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))

    def _crowd(self):
        """Have a crowd come, stay and leave all at once; its threads must end soon."""
        pid = self.server.process.pid
        before = sample(pid)["threads"]
        self.crowd.ask("gather")
        time.sleep(CROWD_TIME)
        there = sample(pid)["threads"]
        self.crowd.ask("vanish")
        left_at = time.monotonic()
        while (threads := sample(pid)["threads"]) > before + (there - before) / 10:
            if time.monotonic() > left_at + CROWD_LEAVES:
                self.failures.append(f"{threads} threads {CROWD_LEAVES:g} s after a crowd left")
                break
            time.sleep(0.05)
        took = time.monotonic() - left_at
        print(f"a crowd came and left: {before} to {there} threads, ended in {took:.2f} s")

    def _report(self, now):
        server, clients, faults, *_ = (child.ask("stats") for child in self.children)
        for name, points in self.reported.items():
            points.append((now, server[name]))
        for stats in (server, clients, faults):
            for error in stats["errors"]["first"]:
                if error not in self.told:
                    self.told.append(error)
                    print(error, flush=True)
        latest = self.samples[-1][1]
        earlier = self.samples[max(0, len(self.samples) - 6)]
        cpu = (latest["cpu"] - earlier[1]["cpu"]) / max(0.1, self.samples[-1][0] - earlier[0])
        attacks = faults["counts"]
        print(
            f"{now:6.0f} s  {server['connections']:4} open  {clients.get('opened', 0):6} opened  "
            f"{clients.get('sent', 0):8} messages  {clients.get('broadcasts', 0):7} broadcasts  "
            f"{_milliseconds(clients['latencies'])}  {sum(attacks.values()):6} attacks  "
            f"{latest['rss'] / 1024:6.1f} MiB  {latest['descriptors']:4} fds  "
            f"{latest['threads']:4} threads  {100 * cpu:3.0f} % CPU  "
            f"errors {server['errors']['count']}/{clients['errors']['count']}"
            f"/{faults['errors']['count']}",
            flush=True,
        )

    # --- the end ---

    def finish(self):
        """Stop all; return whether all was well."""
        print("stopping", flush=True)
        faults = self.faults.ask("stop")
        clients = self.clients.ask("stop")
        self.faults.end()
        self.clients.end()
        crowd = {"counts": {}, "errors": {"count": 0}}
        if self.crowd is not None:
            crowd = self.crowd.ask("stop")
            self.crowd.end()
        left = self._wait_until_idle()
        after = sample(self.server.process.pid)
        server = self.server.ask("stop")
        self.server.process.wait(10)
        self._judge(server, clients, faults, crowd, left, after)
        for name, count in sorted({**faults["counts"], **crowd["counts"]}.items()):
            print(f"  {count:6} {name}")
        print("server:", {k: v for k, v in server.items() if k != "errors"})
        for failure in self.failures:
            print("FAILED:", failure)
        print("verdict:", "failed" if self.failures else "passed", flush=True)
        return not self.failures

    def _wait_until_idle(self):
        deadline = time.monotonic() + 30
        while True:
            left = self.server.ask("left")
            if left["ServerConnection"] == 0 or time.monotonic() > deadline:
                return left
            time.sleep(0.5)

    def _judge(self, server, clients, faults, crowd, left, after):
        for name, stats in (
            ("server", server),
            ("clients", clients),
            ("attackers", faults),
            ("crowd", crowd),
        ):
            if stats["errors"]["count"]:
                self.failures.append(f"{stats['errors']['count']} errors of the {name}:")
                self.failures += stats["errors"]["first"]
        if server["raised"] != server["logged"]:
            self.failures.append(f"raised {server['raised']}, logged {server['logged']}")
        if server.get("healthy", 0) != clients.get("done", 0):
            self.failures.append(
                f"{server.get('healthy', 0)} connections ended well for the server, "
                f"{clients.get('done', 0)} for the clients"
            )
        if clients.get("refused", 0) > clients.get("opened", 0) * REFUSED_SHARE + 20:
            self.failures.append(f"{clients['refused']} healthy clients were refused")
        if not (clients.get("sent") and clients.get("broadcasts") and clients.get("done")):
            self.failures.append("nothing was sent")
        if server["seconds"] > 5:
            self.failures.append(f"closing the servers took {server['seconds']:.1f} s")
        print(f"left at the end: {left}, {after}, before: {self.before}")
        if after["rss"] > self.before["rss"] + END_KIB + CROWD_KIB * self.arguments.crowd:
            self.failures.append(f"{after['rss'] - self.before['rss']} KiB more than before")
        remains = {
            k: v for k, v in left.items() if k not in ("threads", "Inbox", "Transport") and v
        }
        if remains:
            self.failures.append(f"left at the end: {remains}")
        for name in ("descriptors", "threads"):
            # The threads that serve all connections start with the first one, and stay.
            if after[name] > self.before[name] + 5:
                self.failures.append(f"{name}: {self.before[name]} before, {after[name]} after")
        self._judge_trends()

    def _judge_trends(self):
        everything = {
            name: [(now, values[name]) for now, values in self.samples]
            for name in ("rss", "descriptors", "threads")
        }
        for name, points in {**everything, **self.reported}.items():
            points = [(now, value) for now, value in points if now >= self.warm_up]
            if len(points) < 3:
                continue
            rise, mean = growth(points), sum(value for _, value in points) / len(points)
            bound = max(10, COUNT_SHARE * mean)
            if name in ("rss", "trimmed"):
                bound = MEMORY_KIB + MEMORY_SHARE * mean
            elif name == "blocks":
                bound = MEMORY_SHARE * mean
            seconds = points[-1][0] - points[0][0]
            judged = seconds >= MIN_WINDOW
            print(
                f"{name}: {rise:+.0f} in {seconds:.0f} s ({3600 * rise / seconds:+.0f} an hour), "
                f"mean {mean:.0f}, at most {max(value for _, value in points):.0f}, "
                + (f"allowed {bound:.0f}" if judged else "too short to judge")
            )
            if judged and rise > bound:
                self.failures.append(f"{name} grew by {rise:.0f} in {seconds:.0f} s")

    def end(self):
        for child in self.children:
            child.end()


def _milliseconds(latencies):
    buckets = {int(bucket): count for bucket, count in latencies.items()}
    shares = (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    return " ".join(f"{name} {1000 * percentile(buckets, share):.0f}" for name, share in shares) + (
        " ms"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--connections", type=int, default=500)
    parser.add_argument("--crowd", type=int, default=0, help="idle clients that come and leave")
    parser.add_argument("--crowd-interval", type=float, default=120, help="seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report-interval", type=float, default=10, help="seconds")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # the first is ignored in the background
        signal.signal(number, signal.default_int_handler)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20000), hard))
    with tempfile.TemporaryDirectory() as directory:
        soak = Soak(arguments, pathlib.Path(directory))
        try:
            try:
                soak.run()
            except KeyboardInterrupt:
                print("interrupted")
            return 0 if soak.finish() else 1
        except KeyboardInterrupt:  # twice: at once
            return 130
        finally:
            soak.end()


if __name__ == "__main__":
    sys.exit(main())
