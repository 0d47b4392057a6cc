"""Check the wheel and the sdist in a directory: ``python .ci/check_distributions.py dist``.

The wheel holds the package, all that it needs and no sources. From the sdist the package is
installed, in an environment of its own, with the accelerator.
"""

import pathlib
import re
import subprocess
import sys
import tempfile
import venv
import zipfile

INSTALLED = """
import syncws.accel
print(syncws.__file__, syncws.accel.IMPLEMENTATION)
assert syncws.accel.IMPLEMENTATION == "c", "without the accelerator"
"""


def check(condition, problem):
    """Exit with that problem, unless the condition holds."""
    if not condition:
        sys.exit(problem)


def check_wheel(path):
    """Check what the wheel contains and requires."""
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
        required = re.findall(r"^Requires-Dist: (.*)$", wheel.read(metadata).decode(), re.M)
    print("\n".join(names))
    check("syncws/py.typed" in names, "no syncws/py.typed")
    foreign = [n for n in names if not re.match(r"syncws/|syncws-[^/]*\.dist-info/", n)]
    check(not foreign, f"not the package's: {foreign}")
    sources = [name for name in names if name.endswith((".c", ".h"))]
    check(not sources, f"C sources: {sources}")
    always = [line for line in required if "extra ==" not in line]
    check(not always, f"required without an extra: {always}")


def check_sdist(path):
    """Install the sdist, and run the package and its command."""
    with tempfile.TemporaryDirectory() as directory:
        programs = pathlib.Path(directory, "venv", "bin")
        venv.create(programs.parent, with_pip=True)
        subprocess.run([programs / "pip", "install", path.resolve()], check=True)
        subprocess.run([programs / "python", "-c", INSTALLED], cwd=directory, check=True)
        subprocess.run([programs / "syncws", "--help"], stdout=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    [wheel] = pathlib.Path(sys.argv[1]).glob("*.whl")
    [sdist] = pathlib.Path(sys.argv[1]).glob("*.tar.gz")
    check_wheel(wheel)
    check_sdist(sdist)
