"""`pinpip report --html`: one file that says what its tables and verify say, for every reader."""

import json
import re
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from playwright.sync_api import Browser, Page

from pinpip.verify.record import KEY
from tests.support import emulated_lake
from tests.support.browser import CHROMIUM, Scheme, chromium, opened, violations
from tests.support.commands import change, copied, invoke
from tests.support.processes import Home
from tests.support.report_pages import Parsed

KEYS = 300
LARGEST = 1_500_000  # bytes

pytestmark = pytest.mark.slow
needs_chromium = pytest.mark.skipif(
    not CHROMIUM.exists(), reason="Debian's package chromium is not installed"
)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("lake")
    emulated_lake.fill(folder, KEYS)
    return Home(folder)


@pytest.fixture
def home(filled: Home, tmp_path: Path) -> Home:
    return copied(filled, tmp_path / "copy")


@pytest.fixture(scope="module")
def file(filled: Home) -> Path:
    """Return the report of all answers."""
    path = filled.folder / "report.html"
    invoke(filled, "report", "--html", str(path))
    return path


def made(home: Home, *arguments: str) -> str:
    """Make a report; return its text."""
    path = home.folder / "report.html"
    done = invoke(home, "report", *arguments, "--html", str(path))
    assert done.exit_code == 0, done.output
    return path.read_text("utf-8")


def table(html: str) -> list[list[str]]:
    """Return the rows of the table of pipelines."""
    return Parsed(html).tables["data"][1:]


def test_each_pipeline_has_the_rows_and_the_times_of_its_table(filled: Home, file: Path) -> None:
    rows = {row[0].split("|")[1]: row for row in table(file.read_text("utf-8"))}
    assert rows.keys() == filled.config.pipelines.keys()
    for name, row in rows.items():
        frame = pl.read_delta(filled.uri(name))
        newest = frame["_timestamp"].max()
        assert isinstance(newest, datetime)
        rejected = pl.read_delta(filled.uri(f"{name}_quarantine")).height
        assert row[1:3] == [f"{frame.height:,}", f"{rejected:,}"]
        assert f"|{newest:%Y-%m-%d %H:%M:%S} UTC" in row[3]
        assert f"|{newest + timedelta(seconds=2):%Y-%m-%d %H:%M:%S} UTC" in row[4]


def test_tables_that_were_never_verified_are_called_so(file: Path) -> None:
    html = file.read_text("utf-8")
    assert "<b>Not fully verified.</b>" in html
    assert html.count("never verified; next: pinpip verify") == 6


def test_an_offline_verdict_is_shown_and_is_not_called_verified(home: Home) -> None:
    invoke(home, "verify", "--offline")
    html = made(home, "0")
    assert "<b>Not fully verified.</b>" in html
    assert html.count("a run with --offline is not a full proof") == 6


def pretend_complete(home: Home) -> None:
    """Change the kept verdicts to those of runs that asked the sources."""
    for name in home.config.pipelines:
        path = Path(home.uri(name), KEY)
        kept = json.loads(path.read_text("utf-8"))
        path.write_text(json.dumps(kept | {"options": {"offline": False, "grace": 60}}))


def test_complete_verdicts_on_all_commits_make_a_verified_report(home: Home) -> None:
    invoke(home, "verify", "--offline")
    pretend_complete(home)
    assert "<b>Verified.</b>" in made(home, "0")
    emulated_lake.fill(home.folder, 30, first=KEYS)
    html = made(home, "0")
    assert "<b>Verified.</b>" not in html
    assert html.count("not verified yet: the last ") >= 6


def test_rows_of_an_earlier_incarnation_are_not_called_verified(home: Home) -> None:
    invoke(home, "verify", "--offline")
    pretend_complete(home)
    change(home, "pipelines/pin/incarnation", "2")
    html = made(home, "0")
    assert "<b>Verified.</b>" not in html
    assert "this was pinpip/pin/1, and pinpip/pin/2 was not verified yet" in html


def test_differences_that_verify_found_are_on_top(home: Home) -> None:
    DeltaTable(home.uri("geo")).delete("ind = 1")
    assert invoke(home, "verify", "--offline").exit_code == 3
    html = made(home, "0")
    assert "<b>Not to be trusted.</b>" in html
    assert '<small class="finding">missing' in html


def test_a_damaged_verdict_is_unknown(home: Home) -> None:
    Path(home.uri("pin"), "_pinpip").mkdir(exist_ok=True)
    Path(home.uri("pin"), KEY).write_text("{")
    html = made(home, "0")
    assert "verdict.json cannot be read" in html
    assert "<b>Verified.</b>" not in html


def test_one_missing_table_leaves_the_other_answers(home: Home) -> None:
    for name in ("geo", "streaming_geo"):
        shutil.rmtree(home.uri(name))
    path = home.folder / "report.html"
    done = invoke(home, "report", "5", "9", "--html", str(path))
    assert done.exit_code == 0
    assert done.stderr.count("note: there is no table of geo records") == 1
    html = path.read_text("utf-8")
    assert html.count("<b>No rows.</b> There is no table of geo records yet") == 1
    assert len(Parsed(html).tables["q5"]) > 1


def test_an_empty_lake_is_an_error_and_replaces_no_file(home: Home) -> None:
    shutil.rmtree(home.folder / "lake")
    path = home.folder / "report.html"
    path.write_text("of yesterday")
    done = invoke(home, "report", "--html", str(path))
    assert done.exit_code == 1
    assert path.read_text() == "of yesterday"


def test_a_file_that_exists_is_replaced_whole(home: Home) -> None:
    path = home.folder / "report.html"
    path.write_text("of yesterday")
    done = invoke(home, "report", "0", "--html", str(path))
    assert f"{path}, which was replaced" in done.stdout
    assert path.read_text("utf-8").endswith("</html>\n")
    assert [p.name for p in home.folder.glob(".*.part")] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--html", "r.html", "--format", "md"],
        ["--html", "r.html", "--out", "x", "--format", "csv"],
        ["--html", "r.html", "--json"],
        ["--html", "s3://bucket/r.html"],
    ],
)
def test_what_does_not_go_together_is_refused(filled: Home, arguments: list[str]) -> None:
    assert invoke(filled, "report", *arguments).exit_code == 2


def test_the_whole_report_is_small(file: Path) -> None:
    assert file.stat().st_size < LARGEST


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


def show(browser: Browser, file: Path, width: int, scheme: Scheme) -> Page:
    """Open the report, tables unfolded."""
    page = opened(browser, file.as_uri(), width, scheme)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    return page


@needs_chromium
@pytest.mark.process
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_everyone_can_use_it(browser: Browser, file: Path, width: int, scheme: Scheme) -> None:
    page = show(browser, file, width, scheme)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.close()


CLIPPED = """() => [...document.querySelectorAll('figure svg text')].filter((text) => {
  const own = text.getBoundingClientRect(), card = text.closest('.card').getBoundingClientRect();
  return own.width && (own.left < card.left + 2 || own.right > card.right - 2);
}).map((text) => text.textContent)"""
HIDDEN = """(size) => [...document.querySelectorAll('figure .' + size)]
  .filter((one) => one.getBoundingClientRect().width === 0).length"""


@needs_chromium
@pytest.mark.process
@pytest.mark.parametrize(("width", "size"), [(1280, "wide"), (760, "wide"), (390, "narrow")])
def test_no_text_of_a_chart_leaves_its_card(
    browser: Browser, file: Path, width: int, size: str
) -> None:
    page = opened(browser, file.as_uri(), 390, "light")
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate(CLIPPED) == []
    assert page.evaluate(HIDDEN, size) == 0
    page.close()


@needs_chromium
@pytest.mark.process
def test_it_asks_for_nothing_and_breaks_no_rule_of_its_policy(browser: Browser, file: Path) -> None:
    page = browser.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(file.as_uri())
    assert asked == [file.as_uri()]
    assert said == []
    page.close()


SPLIT = """(height) => [...document.querySelectorAll('figure')]
  .filter((one) => one.getBoundingClientRect().height > height).length"""
A4 = 269 / 25.4 * 96  # px between the margins


@needs_chromium
@pytest.mark.process
def test_on_paper_it_is_light_and_each_chart_fits_a_page(browser: Browser, file: Path) -> None:
    page = opened(browser, file.as_uri(), 1280, "dark")
    pdf = page.pdf(prefer_css_page_size=True)
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
    assert 5 <= pages <= 12
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 688, "height": 900})
    assert page.evaluate(SPLIT, A4) == 0
    assert page.evaluate(HIDDEN, "wide") == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    figures = page.evaluate("getComputedStyle(document.querySelector('figure')).breakInside")
    assert figures == "avoid"
    page.close()
