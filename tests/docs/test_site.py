"""The documentation is made into a site without a warning, without a network."""

import json
import os
import re
import subprocess
import sys

import pytest
from support.snippets import DOCS

pytest.importorskip("sphinx", reason="the site is made with Python 3.11 or later")
pytest.importorskip("furo")
pytest.importorskip("myst_parser")

#: Where nothing listens; so the index of Python's documentation can't be fetched.
NOWHERE = "http://127.0.0.1:9"
NO_NETWORK = {"http_proxy": NOWHERE, "https_proxy": NOWHERE, "no_proxy": ""}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder with the site; making it takes as long as some dozen tests."""
    directory = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html"),
            *("-d", directory / "trees", DOCS, directory / "html"),
        ],
        env={**os.environ, **NO_NETWORK},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return directory / "html"


def page(site, name):
    return (site / f"{name}.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.timeout(300)
class TestSite:
    def test_every_page_is_on_it(self, site):
        pages = [path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")]
        assert pages
        assert [path for path in pages if not (site / path).exists()] == []

    def test_each_readme_is_its_folder_s_index(self, site):
        for folder in ("", "reference/", "zh/"):
            assert page(site, f"{folder}index") == page(site, f"{folder}README")

    def test_links_within_it_lead_somewhere(self, site):
        """Those that the reference's directives make, and those of the pages' Markdown."""
        anchors = {}
        for path in site.rglob("*.html"):
            text = path.read_text(encoding="utf-8")
            anchors[path] = set(re.findall(r"\bid=\"([^\"]+)\"", text))
        broken = []
        for path in anchors:
            text = path.read_text(encoding="utf-8")
            for file, anchor in re.findall(r"<a [^>]*href=\"([^\":#?]*)(?:#([^\"]*))?\"", text):
                target = path if not file else (path.parent / file).resolve()
                if not target.exists() or (anchor and anchor not in anchors.get(target, ())):
                    broken.append((path.name, file, anchor))
        assert broken == []

    def test_files_beside_it_are_on_the_code_host(self, site):
        text = page(site, "README")
        assert 'href="https://github.com/syncws/syncws/tree/main/examples"' in text
        assert 'href="https://github.com/syncws/syncws/blob/main/CHANGELOG.md"' in text

    def test_pages_say_their_language(self, site):
        assert re.search(r'<html[^>]* lang="en"', page(site, "tutorial"))
        assert re.search(r'<html[^>]* lang="zh-CN"', page(site, "zh/tutorial"))

    def test_signatures_link_to_python_s_documentation(self, site):
        assert "https://docs.python.org/3/library/socket.html#socket.socket" in page(
            site, "reference/client"
        )

    def test_classes_have_the_members_of_bases_without_an_entry_only(self, site):
        text = page(site, "reference/connections")
        assert 'id="syncws.Connection.recv"' in text
        assert 'id="syncws.ClientConnection.recv"' not in text
        assert "syncws.threaded.core" not in text

    def test_both_languages_are_searched(self, site):
        text = (site / "searchindex.js").read_text(encoding="utf-8")
        terms = json.loads(text[text.index("{") : text.rindex("}") + 1])["terms"]
        assert "backpressur" in terms
        assert "握手" in terms
        assert "帧" in terms
