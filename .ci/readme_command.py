"""Print the command in the README below a marker: ``python .ci/readme_command.py test-command``.

It is the first code block, fenced or indented, after the comment ``<!-- test-command -->``.
"""

import pathlib
import re
import sys
import textwrap

README = pathlib.Path(__file__).resolve().parents[1] / "README.md"
FENCED = re.compile(r"^```[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"((?:^(?: {4}|\t).*\n?|^\s*\n)+)", re.MULTILINE)


def find_command(text, marker):
    """Return the command in that text below that marker, without prompts."""
    _, found, below = text.partition(f"<!-- {marker} -->")
    if not found:
        raise ValueError(f"README.md has no <!-- {marker} -->")
    below = below.partition("<!--")[0]
    block = FENCED.search(below) or INDENTED.search(below)
    command = textwrap.dedent(block[1]).strip() if block else ""
    if not command:
        raise ValueError(f"README.md has no command below <!-- {marker} -->")
    return re.sub(r"^\$ ", "", command, flags=re.MULTILINE)


def readme_command(marker):
    """Return the command in the README below that marker."""
    return find_command(README.read_text(encoding="utf-8"), marker)


if __name__ == "__main__":
    print(readme_command(sys.argv[1]))
