#!/usr/bin/env python3
"""Judge the server and the client by Autobahn|Testsuite.

    python tests/conformance/run.py --sample                 both roles, a few minutes
    python tests/conformance/run.py --role server --quick    without 9.*, 12.* and 13.*
    python tests/conformance/run.py --full                   all cases
    python tests/conformance/run.py --full --tls             the same over TLS
    python tests/conformance/run.py --deflate small-windows --cases '12.*' '13.*'

Stricter than the harness it runs: a case that is merely "non-strict" fails, too. Exit status
0: every case passed or is informational, or the run was skipped (the last line says so).
"""

import argparse
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

from variants import AUTHORITY, CERTIFICATE, DEFLATE

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]

# What stands for the cases that --quick leaves out: large messages whole, in fragments and in
# chops, and every kind of payload and set of parameters of permessage-deflate.
SAMPLE = [
    *("9.1.1", "9.1.2", "9.1.3", "9.2.1", "9.2.2", "9.2.3", "9.3.1", "9.3.5", "9.4.1", "9.4.5"),
    *("9.5.1", "9.5.6", "9.6.1", "9.6.6", "9.7.1", "9.7.6", "9.8.1", "9.8.6"),
    *("12.1.1", "12.1.5", "12.1.11", "12.2.3", "12.3.4", "12.3.12", "12.4.5", "12.5.6"),
    *("13.1.1", "13.1.6", "13.2.3", "13.3.4", "13.4.5", "13.4.11", "13.5.6", "13.6.3"),
    *("13.7.1", "13.7.6", "13.7.12"),
]

# A few of each kind.
SHORT = [
    *("1.*", "2.*", "3.*", "4.1.*", "5.*", "6.1.*", "6.4.*", "7.*", "10.*"),
    *("9.1.3", "9.2.3", "9.4.5", "9.5.6", "9.7.6", "12.1.5", "12.3.4", "13.3.4", "13.7.6"),
]

# What the harness is called with, once for each.
SCOPES = {
    "short": [["--cases", *SHORT]],
    "quick": [["--quick"]],
    "sample": [["--quick"], ["--cases", *SAMPLE]],
    "full": [[]],
}

NO_PYTHON2 = "no Python 2.7, which Autobahn|Testsuite needs (set $PYTHON2)"

ALLOWED = {"pass", "informational"}


class Skipped(Exception):
    """The run cannot be made here; the argument says why."""


def find_harness():
    """The harness's autobahn.py, from $SYNCWS_HARNESS or from beside the repository."""
    given = os.environ.get("SYNCWS_HARNESS")
    folder = pathlib.Path(given) if given else ROOT.parent / "shared" / "conformance"
    script = folder / "autobahn.py"
    if not script.is_file():
        hint = "$SYNCWS_HARNESS" if given else "set $SYNCWS_HARNESS"
        raise Skipped(f"no harness (autobahn.py) in {folder} ({hint})")
    return script


def environment(impl):
    """The environment of the harness: its cache, and where to find what is judged."""
    env = dict(os.environ)
    cache = env.get("HARNESS_CACHE") or pathlib.Path.home() / ".cache" / "syncws-harness"
    env["HARNESS_CACHE"] = str(cache)
    pathlib.Path(cache).mkdir(parents=True, exist_ok=True)
    look = [sys.executable, "-c", f"import {impl}"]
    # The installed package is what users get; without one, the tree is judged.
    if subprocess.run(look, cwd=cache, env=env, capture_output=True, check=False).returncode:
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH")]))
    return env


def find_wstest(harness, env):
    """Autobahn's program, which the harness installs if it isn't there yet."""
    code = "import autobahn; print(autobahn.install_wstest())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=harness.parent,
        env={**env, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if "no Python 2.7" in done.stderr:
        raise Skipped(NO_PYTHON2)
    if done.returncode:
        sys.exit(f"{done.stderr}the harness can't install Autobahn|Testsuite")
    return done.stdout.split()[-1]


def issue_certificate(folder):
    """Write a certificate for this machine, and that of the authority that issued it."""
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / AUTHORITY)
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / CERTIFICATE)


class Subject:
    """What is judged, and how the harness is told.

    Args:
        harness: the harness's script.
        impl: the module that is judged.
        deflate: a setting of compression; ``None`` is the default.
        tls: the folder with certificates; ``None`` is without TLS.

    Attributes:
        name: what the harness calls it.
        env: the environment of the harness.
    """

    def __init__(self, harness, impl, deflate=None, tls=None):
        self.name, self.env = impl, environment(impl)
        self._options, self._testee = [], None
        if deflate is not None or tls is not None:
            self.name = pathlib.Path(sys.executable).name
            self._testee = [sys.executable, str(HERE / "testee.py")]
        if deflate is not None:
            self._testee += ["--deflate", deflate]
        if tls is not None:
            self._testee += ["--tls", str(tls)]
            self._options = ["--wstest", str(HERE / "wstest_tls.py")]
            self.env["WSTEST"] = find_wstest(harness, self.env)
            self.env["WSTEST_CERTIFICATE"] = str(tls / CERTIFICATE)

    def options(self, role):
        """The options of the harness that say what is judged."""
        if self._testee is None:
            return [role, "--impl", self.name]
        place = "--port {port}" if role == "server" else "--url {url} --agent {agent}"
        command = f"{shlex.join(self._testee)} {place} {role}"
        return [role, "--cmd", command, *self._options]


def parse_counts(output, impl, role):
    """({kind: number}, total) from the harness's counting line, or None if it has none."""
    line = re.search(rf"^{re.escape(impl)} {role}: (pass \d+ / .*) of (\d+)$", output, re.M)
    if line is None:
        return None
    counts = {}
    for part in line[1].split(" / "):
        kind, number = part.rsplit(" ", 1)
        counts[kind] = int(number)
    return counts, int(line[2])


def non_strict(out, impl):
    """The ids of the cases that the report calls non-strict."""
    index = out / "reports" / "index.json"
    results = json.loads(index.read_text()).get(impl, {}) if index.exists() else {}
    return [case for case, result in results.items() if result["behavior"] == "NON-STRICT"]


def judge(harness, subject, role, selection):
    """Run the harness once; return (counts, whether all is well)."""
    out = pathlib.Path(tempfile.mkdtemp(prefix=f"conformance-{role}-"))
    command = [sys.executable, str(harness), *subject.options(role), "--out", str(out), *selection]
    done = subprocess.run(
        command,
        env=subject.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if "no Python 2.7" in done.stderr:
        shutil.rmtree(out)
        raise Skipped(NO_PYTHON2)
    print(done.stdout, end="", flush=True)
    parsed = parse_counts(done.stdout, subject.name, role)
    if parsed is None:
        print(f"{done.stderr}the harness exited {done.returncode} without counting", flush=True)
        return {}, False
    counts, total = parsed
    wrong = sum(number for kind, number in counts.items() if kind not in ALLOWED)
    well = done.returncode == 0 and total > 0 and wrong == 0 and sum(counts.values()) == total
    if counts.get("non-strict"):
        print(f"  non-strict: {' '.join(non_strict(out, subject.name))}", flush=True)
    if well:
        shutil.rmtree(out)
    return counts, well


def judge_role(harness, subject, role, scope):
    """Run all that the scope asks of one role; print a line; return whether all is well."""
    sums, all_well = {}, True
    for selection in SCOPES[scope]:
        counts, well = judge(harness, subject, role, selection)
        all_well = all_well and well
        for kind, number in counts.items():
            sums[kind] = sums.get(kind, 0) + number
    text = ", ".join(f"{number} {kind}" for kind, number in sums.items() if number)
    verdict = "ok" if all_well else "FAILED"
    print(f"conformance {role}: {verdict}: {text or 'no result'}", flush=True)
    return all_well


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--role", choices=["server", "client", "both"], default="both")
    scope = parser.add_mutually_exclusive_group()
    for name in SCOPES:
        scope.add_argument(f"--{name}", dest="scope", action="store_const", const=name)
    scope.add_argument("--cases", nargs="+", metavar="PATTERN", help="just these cases")
    parser.add_argument("--impl", default="syncws", help="another module with the same API")
    parser.add_argument("--tls", action="store_true", help="over TLS (needs trustme)")
    parser.add_argument("--deflate", choices=DEFLATE, help="other settings of compression")
    parser.set_defaults(scope="sample")
    options = parser.parse_args()
    if options.impl != "syncws" and (options.tls or options.deflate):
        parser.error("--tls and --deflate are for syncws")
    if options.cases:
        options.scope = "cases"
        SCOPES["cases"] = [["--cases", *options.cases]]

    roles = ["server", "client"] if options.role == "both" else [options.role]
    try:
        with tempfile.TemporaryDirectory() as folder:
            harness = find_harness()
            tls = pathlib.Path(folder) if options.tls else None
            if tls:
                issue_certificate(tls)
            subject = Subject(harness, options.impl, options.deflate, tls)
            results = [judge_role(harness, subject, role, options.scope) for role in roles]
    except Skipped as exc:
        print(f"conformance: skipped: {exc}")
        return 0
    print(f"conformance: {'ok' if all(results) else 'FAILED'}")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
