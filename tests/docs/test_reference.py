"""The reference has every public name, and what it names is there."""

import importlib
import inspect
import pkgutil
import re
import types

import pytest
from support.snippets import DOCS

import syncws
import syncws.client
import syncws.integrations
import syncws.legacy
import syncws.pubsub
import syncws.server
import syncws.styles
import syncws.testing
import syncws.testing.backend_contract

DIRECTIVE = re.compile(r"^\.\. (?:auto|py:)(?:class|exception|function|data):: (\S+)$", re.M)
PAGES = {path.stem: path.read_text("utf-8") for path in (DOCS / "reference").glob("*.md")}

#: The names on each page, as programs import them.
NAMES = {page: DIRECTIVE.findall(text) for page, text in PAGES.items()}


def find(name):
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


@pytest.fixture(scope="module")
def listed():
    """Everything that has an entry; also under its other names."""
    return {name: find(name) for names in NAMES.values() for name in names}


def exported(module):
    """What a module is for: ``__all__``, or else what it imports to have it."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    source = inspect.getsource(module)
    again = re.findall(r"^from \S+ import (\w+) as \1$", source, re.M)
    stars = re.findall(r"^from (\.[\w.]+) import \*", source, re.M)
    return again + [
        name for star in stars for name in importlib.import_module(star, module.__name__).__all__
    ]


MODULES = [
    syncws,
    syncws.client,
    syncws.server,
    syncws.legacy,
    syncws.pubsub,
    syncws.styles,
    syncws.testing,
    syncws.testing.backend_contract,
    *(
        importlib.import_module(f"syncws.integrations.{name}")
        for name in ("django", "flask", "in_memory", "wsgi")
    ),
]


def test_no_integration_is_forgotten():
    """Modules of programs' own use have a docstring that shows a program."""
    names = [module.name for module in pkgutil.iter_modules(syncws.integrations.__path__)]
    shown = {
        name
        for name in names
        if "::\n" in (importlib.import_module(f"syncws.integrations.{name}").__doc__ or "")
    }
    assert shown
    assert shown <= {module.__name__.rpartition(".")[2] for module in MODULES}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_each_public_name_is_there(module, listed):
    names = exported(module)
    assert names
    values = list(listed.values())
    missing = [
        name
        for name in names
        if f"{module.__name__}.{name}" not in listed
        and not any(value is getattr(module, name) for value in values)
    ]
    assert missing == []


def test_each_name_loaded_later_is_there(listed):
    values = list(listed.values())
    names = set(syncws._LAZY) - {"legacy", "styles"}
    assert [name for name in names if not any(v is getattr(syncws, name) for v in values)] == []


def test_nothing_is_there_twice():
    names = [name for names in NAMES.values() for name in names]
    assert len(names) == len(set(names))


def test_each_page_is_in_the_index():
    assert set(re.findall(r"\]\(([\w-]+)\.md\)", PAGES["README"])) == set(PAGES) - {"README"}


@pytest.mark.parametrize("name", syncws.__all__)
def test_each_docstring_says_first_what_it_does(name):
    value = getattr(syncws, name)
    if hasattr(value, "__supertype__"):
        return  # a NewType: before 3.10 that is a function
    if isinstance(value, (type, type(inspect))) or inspect.isroutine(value):
        first = inspect.getdoc(value).splitlines()[0]
        assert re.fullmatch(r"[A-Z`].*\.", first)
        assert not re.match(r"(This|The) (function|method|class)\b|Constructor\b", first)


@pytest.mark.parametrize("page", ["connections", "server", "client", "rooms"])
def test_what_is_on_a_page_has_a_text(page):
    """A docstring of its own, and one for each of its methods."""
    for name in NAMES[page]:
        value = find(name)
        if not inspect.isroutine(value) and not isinstance(value, type):
            continue  # an alias
        assert value.__doc__, name
        for member, what in vars(value).items() if isinstance(value, type) else ():
            if not member.startswith("_") and isinstance(what, (types.FunctionType, property)):
                assert inspect.getdoc(what), f"{name}.{member}"
