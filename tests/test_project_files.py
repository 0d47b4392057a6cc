"""What services and editors read is well formed, and says the same as the rest."""

import pathlib
import re

import pytest
import yaml

tomllib = pytest.importorskip("tomllib", reason="there since Python 3.11")

ROOT = pathlib.Path(__file__).resolve().parents[1]
CODE_HOST = "https://github.com/syncws/syncws"
SITE = "https://syncws.readthedocs.io"

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WORKFLOWS = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in (ROOT / ".github/workflows").glob("*.yml")
}
JOBS = [
    pytest.param(job, id=f"{name}-{title}")
    for name, workflow in WORKFLOWS.items()
    for title, job in workflow["jobs"].items()
]


def steps():
    return [
        step
        for workflow in WORKFLOWS.values()
        for j in workflow["jobs"].values()
        for step in j["steps"]
    ]


def pythons():
    """The versions that the metadata says are supported."""
    found = [
        re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", classifier)
        for classifier in PYPROJECT["project"]["classifiers"]
    ]
    return [match[1] for match in found if match]


def test_there_are_workflows_for_tests_and_wheels():
    assert set(WORKFLOWS) == {"tests", "wheels"}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_may_only_read(name):
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}


def test_only_publishing_may_do_more():
    more = {
        title: job["permissions"]
        for workflow in WORKFLOWS.values()
        for title, job in workflow["jobs"].items()
        if "permissions" in job
    }
    assert more == {"publish": {"id-token": "write"}}


def test_nothing_is_published_without_a_release():
    publish = WORKFLOWS["wheels"]["jobs"]["publish"]
    assert publish["if"] == "github.event_name == 'release'"
    assert publish["needs"] == ["sdist", "wheels", "wheels-313t"]


@pytest.mark.parametrize("job", JOBS)
def test_jobs_end(job):
    assert job["timeout-minutes"] <= 90


def test_actions_are_pinned():
    used = [step["uses"] for step in steps() if "uses" in step]
    assert used
    assert [
        u for u in used if not re.fullmatch(r"[\w-]+/[\w-]+@(v\d+(\.\d+)*|release/v\d+)", u)
    ] == []


def test_the_gate_has_every_supported_python():
    gate = WORKFLOWS["tests"]["jobs"]["gate"]["steps"]
    setup = next(step for step in gate if "setup-python" in step.get("uses", ""))
    assert sorted(setup["with"]["python-version"].split()) == sorted(pythons())


def test_hooks_are_those_of_the_gate():
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    hooks = [hook for repo in yaml.safe_load(text)["repos"] for hook in repo["hooks"]]
    assert {hook["id"] for hook in hooks} == {"ruff-check", "ruff-format", "mypy"}


def test_the_site_is_made_there_as_here():
    settings = yaml.safe_load((ROOT / ".readthedocs.yaml").read_text(encoding="utf-8"))
    assert (ROOT / settings["sphinx"]["configuration"]).exists()
    assert settings["sphinx"]["fail_on_warning"] is True
    (install,) = settings["python"]["install"]
    assert set(install["extra_requirements"]) <= set(PYPROJECT["project"]["optional-dependencies"])


def test_the_project_s_addresses_agree():
    urls = PYPROJECT["project"]["urls"]
    assert urls["Documentation"] == SITE
    others = [url for name, url in urls.items() if name != "Documentation"]
    assert all(url == CODE_HOST or url.startswith(CODE_HOST + "/") for url in others)
    conf = (ROOT / "docs/conf.py").read_text(encoding="utf-8")
    assert f'"{CODE_HOST}"' in conf
    assert f'"{SITE}/"' in conf


def test_links_of_these_pages_lead_somewhere():
    for name in ("CONTRIBUTING.md", "SECURITY.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        targets = re.findall(r"\]\((?!\w+:)([^)#]+)\)", text)
        assert targets
        assert [target for target in targets if not (ROOT / target).exists()] == []


def test_wheels_are_built_for_every_supported_python():
    assert PYPROJECT["tool"]["cibuildwheel"]["build"] == "cp*"
    lowest = min(int(version.partition(".")[2]) for version in pythons())
    assert PYPROJECT["project"]["requires-python"] == f">=3.{lowest}"


def test_wheels_are_built_for_free_threaded_pythons():
    """Those from 3.14 on by themselves; 3.13t by the last builder that knows it."""
    wheels, of_313t = (WORKFLOWS["wheels"]["jobs"][name] for name in ("wheels", "wheels-313t"))
    (builder,) = (step for step in of_313t["steps"] if "cibuildwheel" in step.get("uses", ""))
    assert builder["uses"].partition("@v")[2].startswith("3.")
    assert builder["env"]["CIBW_BUILD"] == "cp313t-*"
    assert builder["env"]["CIBW_ENABLE"] == "cpython-freethreading"
    assert of_313t["strategy"] == wheels["strategy"]
    assert "skip" not in PYPROJECT["tool"]["cibuildwheel"]


def test_free_threaded_pythons_are_tested():
    job = WORKFLOWS["tests"]["jobs"]["free-threaded"]
    assert job["strategy"]["matrix"]["python"] == ["3.13t", "3.14t"]
    assert job["steps"][-1]["env"] == {"PYTHON_GIL": "0"}
    classifiers = PYPROJECT["project"]["classifiers"]
    assert "Programming Language :: Python :: Free Threading :: 2 - Beta" in classifiers
