"""notebooks/explore.py runs, and the results beside it are those of its cells."""

import re
from pathlib import Path

import jupytext
import pytest

from tests.support.emulated_lake import fill
from tests.support.notebooks import EXPLORE, RESULTS, Notebook, charts, executed, kept, texts

MOST_BYTES = 500_000
pytestmark = [pytest.mark.process, pytest.mark.slow]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a lake of emulated records, the same each time."""
    folder = tmp_path_factory.mktemp("lake")
    fill(folder)
    return folder


@pytest.fixture(scope="module")
def fresh(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Notebook:
    """Run the notebook on it."""
    return executed(folder / "config.yaml", tmp_path_factory.mktemp("kernel"))


def labels(notebook: Notebook) -> list[str]:
    """Return what the charts tell to those who do not see them."""
    found = [re.match(r'<svg role="img" aria-label="([^"]+)"', svg) for svg in charts(notebook)]
    return [label[1] for label in found if label]


def test_the_two_files_have_the_same_cells() -> None:
    pairs = [[(c.cell_type, c.source) for c in n.cells] for n in (jupytext.read(EXPLORE), kept())]
    assert pairs[0] == pairs[1], "run: make notebook-results"


def test_the_results_that_are_kept_are_those_of_the_cells(fresh: Notebook) -> None:
    assert texts(fresh) == texts(kept()), "run: make notebook-results"
    assert labels(fresh) == labels(kept()), "run: make notebook-results"


def test_the_results_that_are_kept_stay_small() -> None:
    assert RESULTS.stat().st_size < MOST_BYTES


def test_every_question_is_answered_and_commits_are_shown(fresh: Notebook) -> None:
    shown = "\n".join(texts(fresh))
    numbers = ["0", "1", "2.1", "2.2", "3.1", "3.2", *"456789"]
    assert [number for number in numbers if f"### {number}. " not in shown] == []
    assert "all three agree" in shown
    assert "demo.pin/0: " in shown


def test_text_of_records_is_escaped(fresh: Notebook) -> None:
    shown = "\n".join(texts(fresh))
    assert "the key &#39;index&#39; is null" in shown
    assert "'index'" not in shown


def test_no_chart_shows_a_number_in_exponents_or_cuts_a_label(fresh: Notebook) -> None:
    drawn = charts(fresh)
    assert len(drawn) == 14
    assert [svg for svg in drawn if "e+" in svg or "…" in svg] == []


def test_each_chart_tells_its_numbers_to_those_who_do_not_see_it(fresh: Notebook) -> None:
    assert len(labels(fresh)) == len(charts(fresh))
    told = "Median followers by age group: 18-24 31,000; 25-35 22,000; "
    assert [label for label in labels(fresh) if label.startswith(told)]
