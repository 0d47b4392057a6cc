"""Throw mutated frame streams and handshakes at the codec and watch that it keeps its word.

    python tests/fuzz/fuzz_codec.py --count 500000 [--seed N] [--workers 2]
    python tests/fuzz/fuzz_codec.py --seed N --only CASE

A case is made of the seed and its number alone, so that the second line repeats it. In each,
bytes that a peer could send are built, mostly damaged, and fed to a protocol in random pieces
and once more as a whole. Both must end alike. What counts as failure:

- anything raised that a docstring doesn't announce,
- a state, an error or a close frame that don't fit together,
- output that isn't valid, or goes on after a close frame or the end,
- a message or fragment over the limit,
- an undamaged stream that isn't understood.
"""

import argparse
import multiprocessing
import pathlib
import random
import sys
import time
import traceback

# Run as a script, it finds the package and the tests' support next to it.
TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path += [path for path in (str(TESTS.parent), str(TESTS)) if path not in sys.path]

from fuzz.frame_cases import fuzz_frames  # noqa: E402
from fuzz.handshake_cases import fuzz_client_handshake, fuzz_server_handshake  # noqa: E402

MAX_RSS_GROWTH_MIB = 256


def run_case(seed, number):
    rng = random.Random(f"{seed}/{number}")
    rng.choices((fuzz_frames, fuzz_server_handshake, fuzz_client_handshake), (70, 15, 15))[0](rng)


def run_cases(job):
    """Run the cases of a range; return the failures and the growth of memory in MiB."""
    seed, start, stop = job
    failures = []
    before = max_rss_mib()
    for number in range(start, stop):
        try:
            run_case(seed, number)
        except Exception:
            failures.append((number, traceback.format_exc()))
    return stop - start, failures, max_rss_mib() - before


def max_rss_mib():
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def jobs(seed, count, size):
    for start in range(0, count, size):
        yield seed, start, min(count, start + size)


def campaign(seed, count, workers=1, report=print):
    """Run cases 0 to ``count``; report failures and return their number."""
    work = jobs(seed, count, 1000)
    if workers == 1:
        return collect(seed, map(run_cases, work), report)
    with multiprocessing.Pool(workers) as pool:
        return collect(seed, pool.imap_unordered(run_cases, work), report)


def collect(seed, results, report):
    failed = 0
    for _, failures, growth in results:
        for number, trace in failures:
            failed += 1
            if failed <= 20:
                report(f"{trace}repeat it: fuzz_codec.py --seed {seed} --only {number}\n")
        if growth > MAX_RSS_GROWTH_MIB:
            failed += 1
            report(f"memory grew by {growth:.0f} MiB\n")
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10000, help="how many cases")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="how many processes")
    parser.add_argument("--only", type=int, help="repeat this case, with its traceback")
    args = parser.parse_args()
    if args.only is not None:
        run_case(args.seed, args.only)
        print(f"case {args.only} passes")
        return 0
    start = time.monotonic()
    failed = campaign(args.seed, args.count, args.workers)
    took = time.monotonic() - start
    print(
        f"{args.count} cases, seed {args.seed}: {failed} failures, {took:.0f} s,"
        f" peak {max_rss_mib():.0f} MiB"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
