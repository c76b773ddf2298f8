"""What the documents name exists, and the picture and the hosted workflow say what is true."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.support.places import ROOT

PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "deploy/README.md"})
CHECKED = [ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "docs/architecture.md"]
CHECKED += sorted(ROOT.glob("docs/decisions/*.md"))
LINK = re.compile(r"\]\(([^)#:\s]+)[)#]")
NAMED = re.compile(r"`([\w.-]*/[\w./-]*|[\w-]+\.(?:lock|toml|yaml))`|\s(tests/[\w/]+\.py)")
PINNED = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}")


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


def house() -> ModuleType:
    """Load the script that draws the picture; docs/ is not a package."""
    spec = importlib.util.spec_from_file_location("house", ROOT / "docs/house.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def workflow() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text_of(ROOT / ".github/workflows/ci.yaml"))
    return found


def steps() -> list[dict[str, Any]]:
    return [step for job in workflow()["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    assert [to for to in LINK.findall(text_of(page)) if not (page.parent / to).exists()] == []


@pytest.mark.parametrize("page", CHECKED, ids=label)
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    named = [first or second for first, second in NAMED.findall(text_of(page))]
    inside = {path.parent.name for path in ROOT.glob("*/*/__init__.py")}
    paths = [name for name in named if not name.startswith("/")]  # `/live` is a route
    missing = {name for name in paths if not (ROOT / name).exists()}
    assert {name for name in missing if name.rstrip("/") not in inside} == set()


def test_every_decision_is_in_the_list_and_on_the_site() -> None:
    decisions = {path.name for path in ROOT.glob("docs/decisions/*.md")} - {"README.md"}
    assert decisions
    assert set(LINK.findall(text_of(ROOT / "docs/decisions/README.md"))) == decisions
    site = text_of(ROOT / "mkdocs.yaml")
    assert {name for name in decisions if f"docs/decisions/{name}" not in site} == set()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/architecture.md"])
def test_every_target_of_make_that_a_page_names_exists(page: str) -> None:
    blocks = re.findall(
        r"`make ([a-z ]+)`|^make ([a-z ]+?)\s*(?:#|$)", text_of(ROOT / page), re.MULTILINE
    )
    named = {word for pair in blocks for words in pair for word in words.split()}
    assert named
    makefile = text_of(ROOT / "Makefile")
    assert {name for name in named if f"\n{name}: " not in makefile} == set()


def test_the_picture_is_what_the_command_draws() -> None:
    drawn = subprocess.run(
        [sys.executable, "docs/house.py"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    assert drawn.stdout == text_of(ROOT / "docs/house.svg"), "run: make picture"


def test_the_picture_has_an_arrow_for_each_import_that_no_chain_implies() -> None:
    graph = {"top": {"a", "b", "low"}, "a": {"low"}, "b": {"a", "low"}, "low": set[str]()}
    reduced = house().reduced(graph)
    assert reduced == {"top": {"b"}, "b": {"a"}, "a": {"low"}, "low": set()}
    assert house().drawn(house().imports(house().packages())).count('<line class="a"') > 0


def test_the_picture_stands_each_package_above_what_it_imports() -> None:
    drawn = house()
    graph = drawn.imports(drawn.packages())
    placed = drawn.boxes(drawn.reduced(graph))
    assert graph["pinpip"] >= {"core", "consumers", "sinks"}
    assert all(placed[a].y < placed[b].y for a, below in graph.items() for b in below)


def test_the_hosted_workflow_runs_what_must_pass() -> None:
    runs = [step["run"] for step in steps() if "run" in step]
    assert ".ci/run" in runs
    assert os.access(ROOT / ".ci/run", os.X_OK)
    assert {"push", "pull_request"} <= set(workflow()["on"])
    assert workflow()["permissions"] == {"contents": "read"}


def test_the_hosted_workflow_pins_its_actions_to_commits() -> None:
    used = [step["uses"] for step in steps() if "uses" in step]
    assert used
    assert [name for name in used if not PINNED.fullmatch(name)] == []


def test_the_hooks_before_a_commit_are_the_checks_of_make() -> None:
    parsed = yaml.safe_load(text_of(ROOT / ".pre-commit-config.yaml"))
    hooks = [hook for repo in parsed["repos"] for hook in repo["hooks"]]
    assert {repo["repo"] for repo in parsed["repos"]} == {"local"}
    recipes = text_of(ROOT / "Makefile").replace("$(BIN)", ".venv/bin")
    wanted = [" ".join(hook["entry"].replace(" --force-exclude", "").split()) for hook in hooks]
    checks = {"ruff check": "ruff check .", "ruff format": "ruff format --check ."}
    assert {hook["id"] for hook in hooks} == {"ruff-check", "ruff-format", "mypy"}
    assert all(command in recipes for command in [*wanted, *checks.values()])


@pytest.mark.parametrize("form", sorted(ROOT.glob(".github/ISSUE_TEMPLATE/*.yaml")), ids=label)
def test_an_issue_form_has_what_its_host_asks_for(form: Path) -> None:
    parsed = yaml.safe_load(text_of(form))
    assert {"name", "description", "body"} <= parsed.keys()
    asked = [field for field in parsed["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in asked}) == len(asked) > 0


def test_the_site_has_a_page_of_reference_for_each_package() -> None:
    site = text_of(ROOT / "mkdocs.yaml")
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(re.findall(r"reference/(\w+)\.md", site)) == set(packages)


def test_the_site_is_built_so_that_a_warning_stops_it() -> None:
    # With --quiet, MkDocs counts no warnings: --strict then passes over a broken link.
    assert "mkdocs build --strict\n" in text_of(ROOT / "Makefile")


def test_the_changelog_has_the_version_of_the_code() -> None:
    version = re.search(r'__version__ = "(.+)"', text_of(ROOT / "core/__init__.py"))
    assert version is not None
    released = re.findall(
        r"^## \[(\d[^\]]*)\] - \d{4}-\d\d-\d\d$", text_of(ROOT / "CHANGELOG.md"), re.MULTILINE
    )
    assert released[:1] == [version[1]]
