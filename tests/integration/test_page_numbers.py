"""Every number on the status page, read in Debian's Chromium, against the view it was made of."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from monitor.page.text import sentence
from monitor.view import PageView, PipelineView
from tests.support.browser import (
    CHROMIUM,
    Served,
    chromium,
    opened,
    serving,
)
from tests.support.page_reading import (
    SECONDS,
    SIZES,
    Section,
    Shown,
    about,
    read,
    same_moment,
    whole,
)
from tests.support.views import VIEWS

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="Debian's package chromium is not installed"),
]
POLLED = 10_000  # ms: an update takes two seconds, a silence six


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(VIEWS["good"]) as started:
        yield started


@pytest.fixture
def page(browser: Browser, served: Served) -> Iterator[Page]:
    found = opened(browser, served.url, 1280, "light")
    yield found
    found.close()


def said(words: str) -> str:
    """Return the words as the page shows them, if there are any."""
    return sentence(words).replace("`", "") if words else ""


def check_tiles(shown: Section, view: PipelineView) -> None:
    tiles = {name: first for name, (first, *_) in shown.tiles.items()}
    times = {name: rest for name, (_, *rest) in shown.tiles.items()}
    assert whole(tiles["Behind"]) == view.lag
    assert about(tiles["Behind in time"].split("complete")[0], view.lag_seconds, SECONDS)
    assert whole(tiles["Clean"]) == view.clean
    assert whole(tiles["Rejected"]) == view.quarantined
    if view.filtered is not None:
        assert whole(tiles["Left out"]) == view.filtered
    if view.rate is not None:
        assert about(tiles["Throughput"].split(" mean")[0], view.rate)
    assert same_moment(next(iter(times["Last commit"]), None), view.last_commit)
    assert same_moment(next(iter(times["Behind in time"]), None), view.queryable_until)


def check_partitions(shown: Section, view: PipelineView) -> None:
    rows = shown.rows("Partitions of") + shown.rows("The other partitions of")
    by_name = {f"{p.source}/{p.id}": p for p in view.partitions}
    assert {row["Partition"] for row in rows} == by_name.keys()
    for row in rows:
        own = by_name[row["Partition"]]
        assert row["Position"] == own.position
        assert (None if row["End"].startswith("—") else row["End"]) == own.end
        assert whole(row["Behind, records"]) == own.lag
        assert about(row["Behind, time"], own.lag_seconds, SECONDS)
        assert same_moment(row["Complete until"], own.queryable_until)


def check_commits(shown: Section, view: PipelineView) -> None:
    rows = shown.rows("The last commits") + shown.rows("Earlier commits")
    assert [int(row["Version"]) for row in rows] == [c.version for c in view.commits]
    for row, own in zip(rows, view.commits, strict=True):
        numbers = tuple(map(whole, (row["Read"], row["Clean"], row["Rejected"])))
        assert numbers == (own.read, own.clean, own.quarantined)
        assert same_moment(row["Time"], own.at)
        cut = sum(text not in row["Ranges"] for text in own.ranges)
        assert (f"and {cut} more" in row["Ranges"]) == (cut > 0)
        assert own.file is None or own.file in row["Ranges"]


def check_rejected(shown: Section, view: PipelineView) -> None:
    assert len(shown.reasons) == len(view.reasons)
    for found, own in zip(shown.reasons, view.reasons, strict=True):
        assert found["line"].startswith(f"{own.reason} {own.rows:,} record")
        assert same_moment(found["last"], own.last)
        told = [(s["Where"], s["What is wrong"], s["Start of its value"]) for s in found["samples"]]
        assert told == [(s.where, s.detail.replace("`", ""), s.value) for s in own.samples]


def check_rest(shown: Section, view: PipelineView) -> None:
    assert (shown.name, shown.state) == (view.name, view.state.word)
    assert same_moment(shown.since, view.state.since)
    assert (shown.why or "") == said(view.state.why)
    assert (shown.next or "").removeprefix("What to do: ") == said(view.state.next)
    assert view.reads in shown.route
    assert view.table in shown.route
    for text, outage in zip(shown.outages, view.outages, strict=True):
        assert outage.part in text
        assert outage.fault in text
        assert outage.next.replace("`", "") in text
    files = shown.rows("Data files")
    assert [row["Table"] for row in files] == [f.table for f in view.files]
    for row, own in zip(files, view.files, strict=True):
        assert (whole(row["Files"]), whole(row["Small (below 32 MiB)"])) == (own.files, own.small)
        assert about(row["Size"], own.bytes, SIZES)
    assert shown.unknown == dict(view.unknown)
    if view.verdict:
        assert (shown.verdict or "").startswith(view.verdict.text)
        assert shown.findings == list(view.verdict.findings)


def check_hour(shown: Section, view: PipelineView) -> None:
    rows = shown.rows("The last hour")
    assert bool(rows) == bool(view.series.at)
    for row, start in zip(rows[::-1], sorted({at // 300 for at in view.series.at}), strict=True):
        own = [n for n, at in enumerate(view.series.at) if at // 300 == start]
        late = [view.series.lag_seconds[n] for n in own]
        known = [value for value in late if value is not None]
        assert about(row["Most time behind"], max(known, default=None), SECONDS)
        lags = [value for n in own if (value := view.series.lag[n]) is not None]
        assert about(row["Most records behind"], max(lags, default=None))


def check(shown: Shown, view: PageView) -> None:
    """Compare all that is on the page with what it was made of."""
    assert [each.name for each in shown.sections] == [p.name for p in view.pipelines]
    for section, own in zip(shown.sections, view.pipelines, strict=True):
        for part in (check_tiles, check_partitions, check_commits, check_rejected, check_rest):
            part(section, own)
        check_hour(section, own)
    for row, own in zip(shown.overview, view.pipelines, strict=bool(shown.overview)):
        assert row["Pipeline"] == own.name
        assert row["State"].startswith(own.state.word)
        assert whole(row["Behind, records"]) == own.lag
        assert about(row["Behind, time"], own.lag_seconds, SECONDS)
        assert whole(row["Rejected"]) == own.quarantined
    if view.gateway:
        assert shown.gateway
        tiles, [[_, rows]] = shown.gateway
        assert whole(tiles["Requests since its start"][0]) == view.gateway.requests
        assert about(tiles["Received"][0], view.gateway.received_bytes, SIZES)
        assert about(
            tiles["In progress"][0].split(" bodies")[0], view.gateway.in_flight_bytes, SIZES
        )
        assert {row["Status"]: whole(row["Requests"]) for row in rows} == view.gateway.statuses


@pytest.mark.parametrize("name", ["good", "broken", "catching-up", "standing-by", "ui", "huge"])
@pytest.mark.parametrize("script", [False, True], ids=["without script", "with script"])
def test_every_number_of_the_view_is_on_the_page(
    browser: Browser, name: str, *, script: bool
) -> None:
    with serving(VIEWS[name]) as served:
        page = opened(browser, served.url, 1280, "light", script=script)
        check(read(page), VIEWS[name])
        page.close()


def test_every_number_is_right_after_an_update(page: Page, served: Served) -> None:
    served.view = VIEWS["broken"]
    expect(page.locator("h1")).to_contain_text("need help", timeout=POLLED)
    check(read(page), VIEWS["broken"])
    served.view = VIEWS["good"]
    expect(page.locator("h1")).to_have_text("All 3 pipelines are well.", timeout=POLLED)
    check(read(page), VIEWS["good"])
