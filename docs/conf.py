"""How Sphinx makes the site: ``sphinx-build -W -b html docs docs/_build/html``.

The pages are the Markdown that is read on a code host, too, so they have nothing in them that is
for Sphinx alone, but for the reference's directives. What a site needs besides is added here while
they are read: the table of contents, and links to files that are not part of the site.
"""

from __future__ import annotations

import importlib
import os
import pathlib
import re
import shutil
import sys
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.search.en import SearchEnglish

DOCS = pathlib.Path(__file__).resolve().parent
ROOT = DOCS.parent
CODE_HOST = "https://github.com/syncws/syncws"

sys.path.insert(0, str(ROOT))

from syncws.version import __version__  # noqa: E402

project = "syncws"
author = "syncws contributors"
copyright = author  # noqa: A001
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.intersphinx"]
root_doc = "README"
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"syncws {release}"
html_baseurl = os.environ.get("READTHEDOCS_CANONICAL_URL", "https://syncws.readthedocs.io/")
html_copy_source = False
html_theme_options = {
    "source_repository": CODE_HOST,
    "source_branch": "main",
    "source_directory": "docs/",
}

# Headings get the anchors that a code host gives them.
myst_heading_anchors = 4

autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "special-members": "__iter__",
}
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
maximum_signature_line_length = 90

# --- references --------------------------------------------------------------------

# Every reference in a docstring must lead somewhere. What is left out are bases and aliases: other
# libraries' classes, generic ones with their arguments, and an alias's own alias.
nitpicky = True
nitpick_ignore_regex = [
    ("py:class", r"(flask|werkzeug)\..*"),
    ("py:class", r".*\[.*\]"),
    ("py:class", r"WSGIEnvironment|.*\.OriginPolicy"),
]

# Without a network, the names of Python's that the docstrings use are taken from a file here.
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", (None, "_build/python.inv")),
}
intersphinx_timeout = 5


def write_inventory(names: pathlib.Path, inventory: pathlib.Path) -> None:
    """Write what Sphinx reads for links to Python's documentation.

    Args:
        names: lines of a kind (``class``), a dotted name, and the page that it is on.
        inventory: the file to write.
    """
    lines = [
        f"{name} py:{kind} 1 {page}.html#{'module-' if kind == 'module' else ''}$ -\n"
        for kind, name, page in map(str.split, names.read_text(encoding="utf-8").splitlines())
    ]
    head = (
        "# Sphinx inventory version 2\n# Project: Python\n# Version: \n"
        "# The remainder of this file is compressed using zlib.\n"
    )
    inventory.parent.mkdir(exist_ok=True)
    inventory.write_bytes(head.encode() + zlib.compress("".join(lines).encode()))


write_inventory(DOCS / "python_names.txt", DOCS / "_build" / "python.inv")

# --- docstrings --------------------------------------------------------------------

NAPOLEON = Config(napoleon_numpy_docstring=False)

#: Public methods that are for the library's own use, at the end of the process and after a fork.
OWN = {"begin_exit", "end_exit", "after_fork"}


def read_sections(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Turn the sections of a docstring into fields.

    Napoleon's own handler takes what is before a colon in a property's docstring for its type;
    here it is text, and sections are sections, as in any other.
    """
    kind = "method" if what in ("attribute", "data", "property") else what
    lines[:] = GoogleDocstring(list(lines), NAPOLEON, app, kind, name, thing, options).lines()


def is_left_out(app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any) -> Any:
    """Tell whether a member is not shown; ``None`` if that is decided as always."""
    is_field = (getattr(thing, "__doc__", None) or "").startswith("Alias for field number")
    return True if name in OWN or is_field else None


def find(name: str) -> Any:
    """Return what a dotted name stands for, as programs import it."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


#: All classes that have an entry in the reference, with their names there.
CLASSES: dict[Any, str] = {
    find(name): name
    for page in sorted((DOCS / "reference").glob("*.md"))
    for name in re.findall(r"^\.\. auto(?:class|exception):: (\S+)$", page.read_text("utf-8"), re.M)
}


def nearest(bases: Iterable[Any]) -> dict[Any, None]:
    """Return the nearest bases that have an entry, or are Python's."""
    found: dict[Any, None] = {}
    for base in bases:
        if base in CLASSES or getattr(base, "__module__", "").partition(".")[0] != "syncws":
            found[base] = None
        else:
            found.update(nearest(base.__bases__))
    found.pop(object, None)
    return found


def add_inherited(page: str, text: str) -> str:
    """Have each class shown with its own members, and with those of bases that have no entry."""

    def replace(directive: re.Match[str]) -> str:
        kind = find(directive[2])
        above = kind.__mro__[1:]
        shown = {base for known in CLASSES.keys() & set(above) for base in known.__mro__}
        foreign = {base for base in above if base.__module__.partition(".")[0] != "syncws"}
        names = sorted(base.__name__ for base in shown | foreign)
        options = [f"   :inherited-members: {', '.join(names)}"]
        if nearest(kind.__bases__):
            options.append("   :show-inheritance:")
        return "\n".join([directive[0], *options])

    if not page.startswith("reference/"):
        return text
    return re.sub(r"^\.\. auto(class|exception):: (\S+)$", replace, text, flags=re.M)


def find_inherited(app: Sphinx, env: Any, node: Any, text: Any) -> Any:
    """Resolve what a class's docstring says of a member that its base has.

    Annotations name aliases and classes, too, that programs don't import; those are text.
    """
    if "refexplicit" not in node:
        return text
    if not node.get("py:class"):
        return None
    python = env.domains["py"]
    for base in find(f"{node['py:module']}.{node['py:class']}").__mro__:
        if base in CLASSES:
            name = f"{CLASSES[base]}.{node['reftarget']}"
            found = python.resolve_xref(
                env, node["refdoc"], app.builder, node["reftype"], name, node, text
            )
            if found is not None:
                return found
    return None


def name_bases(app: Sphinx, name: str, thing: Any, options: Any, bases: list[Any]) -> None:
    """Name the bases that readers can look up."""
    bases[:] = nearest(bases)


# --- pages -------------------------------------------------------------------------

LINK = re.compile(r"(?<=\]\()(?![\w+.-]+:)([^)#\s]+)((?:#[^)\s]*)?)(?=\))")
CAPTION = re.compile(r"(?:\*\*(?P<bold>[^*]+)\*\*|#{2,} +(?P<heading>.+))\s*")


def prepare(app: Sphinx, page: str, source: list[str]) -> None:
    """Add to a page what it needs on the site."""
    text = add_inherited(page, source[0])
    contents = "\n".join(toctrees(page, text))
    source[0] = LINK.sub(lambda link: outward(page, link), text) + "\n" + contents


def outward(page: str, link: re.Match[str]) -> str:
    """Return a link's target: on the code host, if it is a file that is not on the site."""
    target = (DOCS / page).parent.joinpath(link[1]).resolve()
    if target.is_relative_to(DOCS) or not target.is_relative_to(ROOT):
        return link[0]
    kind = "tree" if target.is_dir() else "blob"
    return f"{CODE_HOST}/{kind}/main/{target.relative_to(ROOT).as_posix()}{link[2]}"


def toctrees(page: str, text: str) -> Iterator[str]:
    """Yield the table of contents that a page is, by its links.

    Below ``README.md`` is what it links to in its folder and further down, below ``tutorial.md``
    what it links to in ``tutorial/``. Headings and lines in bold are the captions.
    """
    folder, _, name = page.rpartition("/")
    below = DOCS / folder if name == "README" else DOCS / page
    caption, seen = "", {page}
    sections: dict[str, list[str]] = {}
    for line in text.splitlines():
        found = CAPTION.fullmatch(line)
        if found:
            caption = found["bold"] or found["heading"]
        for link in LINK.finditer(line):
            target = (DOCS / page).parent.joinpath(link[1]).resolve()
            if target.suffix == ".md" and target.is_relative_to(below):
                linked = target.relative_to(DOCS).with_suffix("").as_posix()
                if linked not in seen:
                    sections.setdefault(caption, []).append(linked)
                    seen.add(linked)
    for caption, pages in sections.items():
        yield "\n```{toctree}\n:hidden:"
        yield from ([f":caption: {caption}"] if caption and page == root_doc else [])
        yield from ("", *(f"/{linked}" for linked in pages), "```")


def set_language(app: Sphinx, page: str, template: str, context: dict[str, Any], _: Any) -> None:
    """Say in which language a page is."""
    if page.startswith("zh/"):
        context["language"] = "zh-CN"


def add_indexes(app: Sphinx, exception: Exception | None) -> None:
    """Give each folder's README the name that web servers look for, too."""
    if exception is None and app.builder.format == "html":
        for path in pathlib.Path(app.outdir).rglob("README.html"):
            shutil.copyfile(path, path.with_name("index.html"))


# --- search ------------------------------------------------------------------------


class SearchBoth(SearchEnglish):
    """Search in English and Chinese.

    There are no spaces between Chinese words. So each character, each pair of neighbours and each
    run of characters is a term: what is searched for is one of these, or a part of a run.
    """

    HAN = re.compile("[\u4e00-\u9fff]+")

    def split(self, text: str) -> list[str]:
        """Return the terms of a text."""
        terms = super().split(self.HAN.sub(" ", text))
        for run in self.HAN.findall(text):
            terms += [run, *run, *map("".join, zip(run, run[1:]))]
        return terms


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect all this."""
    app.add_search_language(SearchBoth)
    app.connect("autodoc-process-docstring", read_sections)
    app.connect("autodoc-skip-member", is_left_out)
    app.connect("autodoc-process-bases", name_bases)
    app.connect("missing-reference", find_inherited, priority=900)  # after intersphinx
    app.connect("source-read", prepare)
    app.connect("html-page-context", set_language)
    app.connect("build-finished", add_indexes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
