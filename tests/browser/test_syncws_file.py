"""syncws.js as a file: how it is loaded, how large it is, what belongs to it."""

import gzip
import json
import pathlib
import re
import shutil
import subprocess

import pytest
from support.fallback_peer import FallbackPeer, echo
from support.minifying import minify
from support.node import BROWSER, NODE, needs_node, run_node
from support.socket_programs import PROGRAMS

pytestmark = pytest.mark.once

#: Bytes, minified and compressed.
MOST_BYTES = 6 * 1024

SOURCE = (BROWSER / "syncws.js").read_text(encoding="utf-8")


def test_it_is_small():
    assert len(gzip.compress(minify(SOURCE).encode(), 9)) <= MOST_BYTES


@needs_node
def test_what_is_so_small_does_the_same(tmp_path):
    program = PROGRAMS["a conversation"]
    (tmp_path / "small.cjs").write_text(minify(SOURCE), encoding="utf-8")
    make = "const make = (url, names) => new Syncws(url, names, { transports: ['streaming'] });"
    with FallbackPeer(echo).running() as url:
        module = (tmp_path / "small.cjs").as_uri()
        assert run_node(make + program.source, url, module) == program.says


def test_it_needs_nothing():
    assert re.findall(r"\b(?:import|require)\b\W", SOURCE) == []


@needs_node
@pytest.mark.parametrize("name", ["syncws.js", "syncws.mjs"])
def test_it_has_no_errors_of_syntax(name):
    subprocess.run([NODE, "--check", str(BROWSER / name)], check=True, timeout=50)


def run(arguments, source, directory):
    command = [NODE, "--no-warnings", *arguments, "-"]
    result = subprocess.run(
        command, input=source, capture_output=True, text=True, timeout=50, cwd=directory
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


TELL = "console.log(JSON.stringify([typeof Syncws, Syncws.name, Syncws.OPEN]));"


@needs_node
def test_it_is_imported_as_a_module():
    source = "report([typeof Syncws, Syncws == globalThis.Syncws]); process.exit();"
    assert run_node(source) == [["function", True]]


@needs_node
def test_the_file_itself_can_be_imported_as_a_module(tmp_path):
    source = f'import "{(BROWSER / "syncws.js").as_uri()}"; {TELL}'
    assert run(["--input-type=module"], source, tmp_path) == ["function", "Syncws", 1]


@needs_node
def test_it_is_a_classic_script(tmp_path):
    source = f"""
        const code = require("fs").readFileSync({json.dumps(str(BROWSER / "syncws.js"))}, "utf-8");
        require("vm").runInThisContext(code);
        {TELL}
    """
    assert run([], source, tmp_path) == ["function", "Syncws", 1]


@needs_node
@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("module", 'import { Syncws } from "syncws";'),
        ("commonjs", 'const { Syncws } = require("syncws");'),
    ],
)
def test_it_is_a_package_of_its_own(kind, source, tmp_path):
    (tmp_path / "node_modules").mkdir()
    shutil.copytree(BROWSER, tmp_path / "node_modules" / "syncws")
    assert run([f"--input-type={kind}"], source + TELL, tmp_path) == ["function", "Syncws", 1]


def test_all_files_that_the_package_names_are_there():
    package = json.loads((BROWSER / "package.json").read_text(encoding="utf-8"))
    assert package["name"] == "syncws"
    entry = package["exports"]["."]
    named = {package["main"], package["module"], package["types"], *entry.values()}
    assert {pathlib.Path(name).name for name in named} == {
        each.name for each in BROWSER.iterdir() if each.name != "package.json"
    }


USE = """
    import { Syncws, type SyncwsOptions, type Transport } from "syncws";

    const options: SyncwsOptions = {
      transports: ["polling"],
      reconnect: { attempts: 3 },
      since: (event) => JSON.parse(event.data).position,
    };
    const ws = new Syncws("/chat", ["chat"], options);
    const plain: WebSocket = ws;
    ws.addEventListener("reconnecting", (event) => console.log(event.delay + event.code));
    ws.onmessage = ({ data }) => console.log(data);
    ws.onclose = ({ code }) => console.log(code + 1);
    ws.send(new Uint8Array(3));
    const transport: Transport | "" = ws.transport;
    new globalThis.Syncws(new URL("ws://localhost/"));
    // @ts-expect-error
    ws.send(3);
    // @ts-expect-error
    new Syncws("/chat", [], { transports: ["pigeons"] });
    export { plain, transport };
"""


@pytest.mark.skipif(shutil.which("tsc") is None, reason="no TypeScript is installed")
@pytest.mark.parametrize("resolution", ["node16", "bundler"])
def test_its_types_are_right(resolution, tmp_path):
    (tmp_path / "node_modules").mkdir()
    shutil.copytree(BROWSER, tmp_path / "node_modules" / "syncws")
    (tmp_path / "use.ts").write_text(USE, encoding="utf-8")
    module = "node16" if resolution == "node16" else "es2022"
    flags = ["--noEmit", "--strict", "--target", "es2022", "--lib", "es2022,dom", "--types", ""]
    result = subprocess.run(
        ["tsc", *flags, "--module", module, "--moduleResolution", resolution, "use.ts"],
        capture_output=True,
        text=True,
        timeout=55,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stdout


def test_its_interface_is_described():
    types = (BROWSER / "syncws.d.ts").read_text(encoding="utf-8")
    names = set(
        re.findall(r"^    (?:get|set) (\w+)\(", SOURCE.split("class Syncws")[1], flags=re.M)
    )
    assert len(names) == 7
    assert {name for name in names if not re.search(rf"\b{name}\b", types)} == set()
