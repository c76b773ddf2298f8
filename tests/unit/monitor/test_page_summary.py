"""What the page says before its tables, and that its HTML is inert without a browser's help."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.page import POLICY, render, render_main, summary
from monitor.view import Level, PartitionView, PipelineView, SeriesView, State
from tests.support.views import GEO, HOSTILE, NOW, PIN, USER, VIEWS, page, partitions, ui

NONCE = "n0nce"
ISOLATES = str.maketrans("", "", "\N{FIRST STRONG ISOLATE}\N{POP DIRECTIONAL ISOLATE}")


def in_state(name: str, level: Level, word: str) -> PipelineView:
    return replace(PIN, name=name, state=State(level, word))


@pytest.mark.parametrize(
    ("pipelines", "level", "sentence"),
    [
        ((), "unknown", "There is no pipeline here."),
        ((PIN,), "ok", "pin is well: up to date."),
        ((PIN, GEO), "ok", "All 2 pipelines are well."),
        ((in_state("a", "bad", "stopped"),), "bad", "a: stopped."),
        (
            (PIN, in_state("a", "bad", "stopped")),
            "bad",
            "1 of 2 pipelines needs help: a (stopped).",
        ),
        (
            (in_state("w", "warn", "catching up"), in_state("a", "bad", "stopped"), PIN),
            "bad",
            "1 of 3 pipelines needs help: a (stopped); 1 needs attention: w (catching up).",
        ),
        (
            (PIN, in_state("u", "unknown", "starting")),
            "unknown",
            "1 of 2 pipelines has an unknown state: u (starting).",
        ),
        (
            tuple(in_state(name, "bad", "stopped") for name in "abcde"),
            "bad",
            "5 of 5 pipelines need help: a (stopped), b (stopped), c (stopped) and 2 more.",
        ),
    ],
)
def test_the_headline_counts_and_names_what_is_not_well(
    pipelines: tuple[PipelineView, ...], level: Level, sentence: str
) -> None:
    head = summary.headline(page(*pipelines))
    assert (head.level, head.sentence) == (level, sentence)


def test_the_headline_tells_the_earliest_moment_and_none_when_one_is_not_known() -> None:
    assert summary.headline(page(PIN, GEO, USER)).until == USER.queryable_until
    unknown = replace(GEO, queryable_until=None)
    assert summary.headline(page(PIN, unknown)).until is None


def test_a_consumer_speaks_of_its_own_partitions_only() -> None:
    own = "in the partitions of this process"
    assert own in render_main(page(PIN))
    assert own not in render_main(ui(PIN))


@given(st.lists(st.none() | st.integers(0, 10)))
def test_the_furthest_partitions_come_first_and_the_unknown_before_them(
    lags: list[int | None],
) -> None:
    found = summary.worst_first(PartitionView("t", str(n), lag=lag) for n, lag in enumerate(lags))
    known = [p.lag for p in found if p.lag is not None]
    assert known == sorted(known, reverse=True)
    assert [p.lag for p in found[: len(lags) - len(known)]] == [None] * (len(lags) - len(known))


def test_partitions_are_summed_by_source_and_one_unknown_makes_the_sum_unknown() -> None:
    first, second = partitions("a", 3, 10), partitions("b", 2, 4)
    largest, other = summary.groups([*second, *first])
    assert (largest.source, largest.partitions, largest.lag) == ("a", 3, 15)
    assert (other.source, other.lag, other.queryable_until) == ("b", 4, second[1].queryable_until)
    [unsure] = summary.groups([*first, PartitionView("a", "9")])
    assert (unsure.lag, unsure.lag_seconds, unsure.queryable_until) == (None, None, None)


def test_the_hour_is_told_by_five_minutes_with_the_worst_of_each() -> None:
    start = NOW.timestamp() // 300 * 300
    at = (start - 10, start, start + 10)
    series = SeriesView(at, (4.0, None, 8.0), (None, 3, 9), (None, None, None))
    newest, oldest = summary.last_hour(series)
    assert (newest.at.timestamp(), newest.rate, newest.lag) == (start, 8.0, 9)
    assert (oldest.rate, oldest.lag, oldest.lag_seconds) == (4.0, None, None)


class Tags(HTMLParser):
    """Collects the elements and their attributes, and the text of the headings."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("name", sorted(VIEWS))
def test_nothing_on_the_page_runs_or_loads_but_its_own_scripts(name: str) -> None:
    tags = Tags()
    tags.feed(render(VIEWS[name], NONCE))
    assert not {tag for tag, _ in tags.found} & {"img", "iframe", "object", "embed", "base"}
    attributes = [(tag, key, value) for tag, own in tags.found for key, value in own.items()]
    assert [a for a in attributes if a[1] == "style" or a[1].startswith("on")] == []
    links = {value for _, key, value in attributes if key in {"src", "href", "action"}}
    assert {
        to for to in links if not re.match(r"#[\w-]+$|\w+(\.json)?$|data:,$", to or "")
    } == set()
    run = [own for tag, own in tags.found if tag in {"script", "style"}]
    data = [own for own in run if own.get("type") == "application/json"]
    assert {own["nonce"] for own in run if own not in data} == {NONCE}
    assert len(run) - len(data) == 4


def test_the_policy_allows_only_what_has_the_nonce() -> None:
    policy = POLICY.format(nonce=NONCE)
    assert "default-src 'none'" in policy
    assert policy.count(f"'nonce-{NONCE}'") == 2
    assert "unsafe" not in policy


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_shortened_in_the_headline_and_keeps_its_direction(name: str) -> None:
    sentence = summary.headline(page(in_state(name, "bad", "stopped"))).sentence
    assert len(sentence) < 60
    shown = sentence.removesuffix(": stopped.").translate(ISOLATES).removesuffix("…")
    assert name.startswith(shown)
    assert name.isascii() or sentence[0] == "\N{FIRST STRONG ISOLATE}"
