"""Make the reference, docs/reference/, from the docstrings.

    python docs/make_reference.py [DIRECTORY]

The sources are read, not imported: so the result is the same with every Python, and annotations
and defaults are as they are written. What is on which page is in the table below.
"""

from __future__ import annotations

import ast
import inspect
import pathlib
import re
import sys
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from docstring_parts import parts, table
from reference_source import (
    ROOT,
    Found,
    Module,
    Package,
    docstring_of,
    enumeration,
    fit,
    is_enumeration,
    is_property,
    signature,
)

REFERENCE = ROOT / "docs" / "reference"

#: Each page's name and title, and what is on it: ``"module"`` for all that it exports,
#: ``"module:name name"`` for some of it, as programs import them. A module's docstring comes first.
PAGES = [
    ("client", "Clients", ["syncws:connect unix_connect reconnect", "syncws.client.retry"]),
    (
        "server",
        "Servers",
        [
            "syncws:serve unix_serve ThreadingServer ServerStats Router broadcast Group",
            "syncws:route unix_route",
            "syncws:basic_auth bearer_auth listen_fds",
            "syncws.server.records:",
        ],
    ),
    (
        "connections",
        "Connections",
        ["syncws:Connection ClientConnection ServerConnection Ping Stats wait"],
    ),
    ("exceptions", "Exceptions", ["syncws.exceptions"]),
    (
        "types",
        "Options and types",
        [
            "syncws:Deflate Headers Request Response Close CloseCode State Role",
            "syncws:WebSocketURI parse_uri SAME_ORIGIN",
            "syncws.options:Options MaxSize MaxQueue",
            "syncws.sansio.handshake:OriginRule Origins",
            "syncws.aliases",
        ],
    ),
    (
        "sans-io",
        "The protocol without I/O",
        [
            "syncws.sansio:",
            "syncws:ClientProtocol ServerProtocol",
            "syncws.sansio.protocol:Protocol",
            "syncws:Frame Opcode",
            "syncws.sansio.state:TRANSITIONS Transition advance",
            "syncws.sansio.extensions.interface",
            "syncws.sansio.dissector",
        ],
    ),
    ("testing", "Testing programs", ["syncws.testing"]),
    (
        "integrations",
        "Within WSGI applications",
        [
            "syncws.integrations.wsgi",
            "syncws.integrations.flask:Sock SockConnection SockClient",
            "syncws.integrations.django",
            "syncws.integrations.in_memory",
        ],
    ),
    ("styles", "The styles of other libraries", ["syncws.styles"]),
    ("legacy", "Older names", ["syncws.legacy"]),
    ("stand-in", "Standing in for other libraries", ["syncws.stand_in"]),
]

#: A field of a section.
FIELD = re.compile(r"(\*{0,2}[\w.]+): (.*)")
ROLE = re.compile(r":(\w+):`(~?)([^`]+)`")

PRIVATE = re.compile(r"_(?!_iter__)")

#: Public methods that are for the library's own use, at the end of the process and after a fork.
OWN = {"begin_exit", "end_exit", "after_fork"}


class Entry(NamedTuple):
    """Something on a page: how programs import it, and what it is."""

    module: str
    name: str
    found: Found


class Reference:
    """All pages, and where on them each thing is."""

    def __init__(self) -> None:
        self.package = Package()
        self.pages: dict[str, list[Entry | Module]] = {}
        self._anchors: Counter[tuple[str, str]] = Counter()
        #: Page and anchor of each name, dotted and plain.
        self.places: dict[str, tuple[str, str]] = {}
        #: Classes that are on a page, and their names there.
        self.classes: dict[ast.AST, str] = {}
        for page, _, sources in PAGES:
            self.pages[page] = [thing for source in sources for thing in self._read(source)]
        for page, things in self.pages.items():
            for thing in things:
                if isinstance(thing, Entry):
                    self._place(page, thing)

    def _read(self, source: str) -> Iterator[Entry | Module]:
        name, colon, names = source.partition(":")
        module = self.package.module(name)
        if not names:
            yield module
        for each in names.split() if colon else self._exported(module):
            found = self.package.find(module, each)
            if found is None:
                if colon:
                    raise LookupError(f"{name} has no {each}")
                continue  # another package's
            if colon or found.node not in self.classes:
                if isinstance(found.node, ast.ClassDef):
                    self.classes.setdefault(found.node, each)
                yield Entry(name, each, found)

    def _exported(self, module: Module) -> Iterator[str]:
        for name in module.exported():
            if name != "*":
                yield name
                continue
            for star in module.stars:
                yield from self.package.module(star).exported()

    def _place(self, page: str, entry: Entry) -> None:
        modules = entry.module, entry.found.module.name
        names = [entry.name, *(f"{module}.{entry.name}" for module in modules)]
        self._put(page, title(entry), names)
        if isinstance(entry.found.node, ast.ClassDef):
            for member, (_, node) in self.members(entry.found).items():
                self._put(
                    page, member_title(entry.name, node), [f"{name}.{member}" for name in names]
                )

    def _put(self, page: str, heading: str, names: list[str]) -> None:
        """Note where names are, in the order of the page: GitHub numbers equal headings."""
        where = anchor(heading)
        number = self._anchors[page, where]
        self._anchors[page, where] += 1
        place = page, f"{where}-{number}" if number else where
        for name in names:
            self.places.setdefault(f"{page}: {name}", place)
            self.places.setdefault(name, place)

    def members(self, found: Found) -> dict[str, Found]:
        """Return methods and properties of a class: its own, and those of bases on no page."""
        members: dict[str, Found] = {}
        for base in self.package.bases(found):
            if base.node not in self.classes:
                members = {**self.members(base), **members}
        for node in found.node.body:
            if isinstance(node, ast.FunctionDef) and is_documented(node):
                members[node.name] = Found(found.module, node)
        return members

    def known_bases(self, found: Found) -> list[str]:
        """Return the nearest bases of a class that are on a page."""
        known: list[str] = []
        for base in self.package.bases(found):
            if base.node in self.classes:
                known.append(self.classes[base.node])
            else:
                known += self.known_bases(base)
        return list(dict.fromkeys(known))

    def link(self, page: str, target: str, within: str, text: str) -> str:
        """Return a link to a name, or just its text in code if it is on no page.

        Args:
            page: where the link is.
            target: the name, as a docstring has it.
            within: the class whose docstring it is, or ``""``.
            text: what is shown.
        """
        names = [f"{within}.{target}", target]
        if target.startswith((".", "syncws.")):
            parts = target.split(".")
            names += [".".join(parts[-2:]), parts[-1]]
        for name in names:
            place = self.places.get(f"{page}: {name}") or self.places.get(name)
            if place is not None:
                other, where = place
                return f"[`{text}`]({'' if other == page else f'{other}.md'}#{where})"
        return f"`{text}`"

    # --- pages ---

    def render(self) -> dict[str, str]:
        """Return the text of each file."""
        files = {"README.md": self._index()}
        for page, name, _ in PAGES:
            text = "\n".join(self._page(page, name))
            files[f"{page}.md"] = re.sub(r"\n{3,}", "\n\n", text).rstrip("\n") + "\n"
        return files

    def _index(self) -> str:
        lines = [
            "# Reference",
            "",
            "What programs may use, as the docstrings describe it; `help()` shows the same.",
            "Made by `python docs/make_reference.py`.",
            "",
        ]
        for page, name, _ in PAGES:
            entries = [thing for thing in self.pages[page] if isinstance(thing, Entry)]
            links = ", ".join(
                self.link("README", f"{entry.module}.{entry.name}", "", entry.name)
                for entry in entries
            )
            lines += [f"- **[{name}]({page}.md)**: {links}"]
        return "\n".join(lines) + "\n"

    def _page(self, page: str, name: str) -> Iterator[str]:
        yield from (f"# {name}", "", "[Reference](README.md)", "")
        for thing in self.pages[page]:
            if isinstance(thing, Module):
                yield from (f"## Module `{thing.name}`", "")
                docstring = ast.get_docstring(thing.tree) or ""
                yield from self._docstring(page, docstring, "")
            else:
                yield from self._entry(page, thing)

    def _entry(self, page: str, entry: Entry) -> Iterator[str]:
        module, node = entry.found
        yield from (f"## {title(entry)}", "")
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            yield from code(f"{entry.name} = {module.segment(node.value)}" if node.value else "")
            yield from self._docstring(page, module.comment(node), "")
            return
        if isinstance(node, ast.FunctionDef):
            yield from code(signature(module, node, entry.name))
            yield from self._docstring(page, docstring_of(node), "")
            return
        yield from self._class(page, entry)

    def _class(self, page: str, entry: Entry) -> Iterator[str]:
        module, node = entry.found
        how = self._class_signature(entry.found, entry.name)
        if how:
            yield from code(how)
        bases = [self.link(page, base, "", base) for base in self.known_bases(entry.found)]
        if bases:
            yield from (f"A kind of {', '.join(bases)}, with all that it has.", "")
        yield from self._docstring(page, docstring_of(node), entry.name)
        yield from enumeration(module, node)
        members = self.members(entry.found).values()
        for member in sorted(members, key=lambda member: is_property(member.node)):
            yield from (f"### {member_title(entry.name, member.node)}", "")
            if is_property(member.node):
                returns = member.node.returns
                yield from code(
                    f"{member.node.name}: {member.module.segment(returns)}" if returns else ""
                )
            else:
                yield from code(signature(member.module, member.node, member.node.name))
            yield from self._docstring(page, docstring_of(member.node), entry.name)

    def _class_signature(self, found: Found, name: str) -> str:
        """Return how objects are made, as the class or a base on no page says; not exceptions."""
        module, node = found
        if module.name.endswith("exceptions") or is_enumeration(module, node):
            return ""
        for each in node.body:
            if isinstance(each, ast.FunctionDef) and each.name == "__init__":
                return signature(module, each, name, returns=False)
        if any("dataclass" in module.segment(each) for each in node.decorator_list):
            fields = [each for each in node.body if isinstance(each, ast.AnnAssign)]
            return fit(name, [module.segment(field) for field in fields])
        bases = [base for base in self.package.bases(found) if base.node not in self.classes]
        return next(filter(None, (self._class_signature(base, name) for base in bases)), "")

    # --- docstrings ---

    def _docstring(self, page: str, text: str, within: str) -> Iterator[str]:
        for kind, lines in parts(text):
            yield ""
            if kind == "code":
                yield from lines
            elif kind == "table":
                head, *rows = (f"| {' | '.join(row)} |" for row in table(lines))
                rule = "|---" * len(table(lines)[0]) + "|"
                yield self._linked(page, "\n".join([head, rule, *rows]), within)
            else:
                linked = self._linked(page, "\n".join(lines), within).splitlines()
                if kind == "text":
                    yield from linked
                else:
                    yield from self._section(page, self._linked(page, kind, within), linked)
        yield ""

    def _section(self, page: str, name: str, lines: list[str]) -> Iterator[str]:
        """Yield a section of a docstring: its fields as a list, or its text."""
        yield from (f"**{name}**", "")
        for line in inspect.cleandoc("\n".join(lines)).splitlines():
            field = FIELD.match(line)
            if field is None or name in ("Returns", "Yields"):
                yield line.replace("    ", "  ", 1) if line.startswith("    ") else line
            elif name.startswith("Raises"):
                yield f"- {self.link(page, field[1], '', field[1])}: {field[2]}"
            else:
                yield f"- `{field[1]}`: {field[2]}"
        yield ""

    def _linked(self, page: str, text: str, within: str) -> str:
        """Return a part of a docstring with links, and code as Markdown has it."""

        def replace(match: re.Match[str]) -> str:
            kind, short, target = match.groups()
            target = re.sub(r"\s+", "", target)
            shown = target.rpartition(".")[2] if short else target.lstrip(".")
            call = "()" if kind in ("func", "meth") else ""
            return self.link(page, target, within, shown + call)

        text = re.sub(r"``(.+?)``", r"`\1`", text, flags=re.S)
        return ROLE.sub(replace, text)


# --- pieces ----------------------------------------------------------------------


def title(entry: Entry) -> str:
    """Return the heading of something on a page."""
    return f"{entry.name}()" if isinstance(entry.found.node, ast.FunctionDef) else entry.name


def member_title(name: str, node: ast.FunctionDef) -> str:
    """Return the heading of a member of a class."""
    return f"{name}.{node.name}{'' if is_property(node) else '()'}"


def is_documented(node: ast.FunctionDef) -> bool:
    """Tell whether a method is for programs; setters are their properties' other half."""
    decorators = [each for each in node.decorator_list if isinstance(each, ast.Attribute)]
    is_setter = any(each.attr == "setter" for each in decorators)
    if is_setter or node.name in OWN or PRIVATE.match(node.name):
        return False
    return ast.get_docstring(node) is not None


def anchor(heading: str) -> str:
    """Return what GitHub makes of a heading for links to it."""
    return re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-")


def code(text: str) -> Iterator[str]:
    """Yield a block of code; not as Python, which the tests of the documentation would run."""
    if text:
        yield from (f"    {line}" if line else "" for line in text.splitlines())
        yield ""


def main(directory: pathlib.Path) -> None:
    """Write the files, and remove those that are no more."""
    files = Reference().render()
    directory.mkdir(exist_ok=True)
    for path in directory.glob("*.md"):
        if path.name not in files:
            path.unlink()
    for name, text in files.items():
        (directory / name).write_text(text, encoding="utf-8")
    print(f"{len(files)} files in {directory}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else REFERENCE)
