"""Programs of JavaScript that tests run with Node, and what these report."""

import json
import pathlib
import re
import shutil
import subprocess

import pytest

__all__ = ["BROWSER", "NODE", "needs_node", "run_node"]

#: Seconds for a program, on a busy machine.
DEADLINE = 50.0

BROWSER = pathlib.Path(__file__).parents[2] / "syncws" / "browser"
MODULE = (BROWSER / "syncws.mjs").as_uri()
NODE = shutil.which("node")


def _version():
    if NODE is None:
        return (0, 0)
    text = subprocess.run([NODE, "--version"], capture_output=True, text=True, timeout=30).stdout
    major, minor = re.match(r"v(\d+)\.(\d+)", text).groups()
    return int(major), int(minor)


VERSION = _version()

needs_node = pytest.mark.skipif(VERSION < (20, 10), reason="no Node 20.10 or later is installed")

# A WebSocket is behind this option in Node 20; later ones have it, and the option.
FLAGS = ["--experimental-websocket", "--no-warnings", "--input-type=module"]

PRELUDE = """
// Events of a window.
const page = new EventTarget();
globalThis.addEventListener = (...args) => page.addEventListener(...args);
const { Syncws } = await import(%(module)s);
const url = %(url)s;
const report = (value) => console.log(JSON.stringify(value));
const next = (target, type) => new Promise((resolve) => {
  target.addEventListener(type, resolve, { once: true });
});
// Ends as a page does: servers are told.
const farewells = [];
const request = globalThis.fetch;
globalThis.fetch = (url, options) => {
  const response = request(url, options);
  if (options.method == "DELETE") farewells.push(response);
  return response;
};
const done = async () => {
  page.dispatchEvent(new Event("pagehide"));
  await Promise.allSettled(farewells);
  process.stdout.write("", () => process.exit());
};
setTimeout(() => {
  console.error("the program took too long");
  process.exit(3);
}, %(deadline)d).unref();
"""


def run_node(source, url=None, module=MODULE):
    """Run a program that has `Syncws` and `url`; return what it reported, in order.

    It ends with `done()`.
    """
    prelude = PRELUDE % {
        "module": json.dumps(module),
        "url": json.dumps(url),
        "deadline": DEADLINE * 1000,
    }
    result = subprocess.run(
        [NODE, *FLAGS, "-"],
        input=prelude + source,
        capture_output=True,
        text=True,
        timeout=DEADLINE + 10,
    )
    assert result.returncode == 0, result.stderr + result.stdout
    return [json.loads(line) for line in result.stdout.splitlines()]
