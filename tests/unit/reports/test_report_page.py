"""The report as a page: its numbers are the answers', and nothing in it loads or runs."""

import random
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from core.errors import ConfigError
from reports.page.facts import Facts
from reports.page.points import MOST, points
from reports.page.sections import MOST_ROWS
from reports.page.shapes import SHAPES
from reports.page.text import age, cut, exact, listed, plain, short
from reports.run import COVERAGE, Answer, answers, questions
from tests.support.report_pages import GOOD, KINDS, MADE, VERDICT, Parsed, answered, page, table
from tests.support.report_tables import GEOS, USERS, Row, utc

pytestmark = pytest.mark.slow  # a page of all answers has 22 charts

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</svg></style></title>",
    "{{ 7 * 7 }} {% raw %}",
    "]]>&lt;b&gt;&amp;",
    "javascript:alert(1)//'\\",
    "\x00\x07\x1b[31m\u202egnp.exe",
    "a\n\tb  c",
    "😀 日本語 e\u0301",
    "x" * 5000,
]


def id_of(answer: Answer) -> str:
    return f"q{answer.question.label.replace('.', '-')}"


def asked(found: list[Answer]) -> list[Answer]:
    return [answer for answer in found if answer.question.number != COVERAGE]


def cells(answer: Answer) -> list[list[str]]:
    """Return what the table of an answer must show."""
    frame = answer.frame
    kept = [n for n in frame.columns if n != "note" or frame[n].null_count() < frame.height]
    return [[exact(v, n) for v, n in zip(row, kept, strict=True)] for row in frame[kept].rows()]


@pytest.fixture(scope="module")
def html() -> str:
    return page()


@pytest.fixture(scope="module")
def parsed(html: str) -> Parsed:
    return Parsed(html)


def test_every_question_has_a_chart_and_names_for_its_columns() -> None:
    for answer in asked(answered()):
        shape = SHAPES[answer.question.label]
        assert set(answer.frame.columns) <= set(shape.names), answer.question.name
    assert set(SHAPES) == {q.label for q in questions() if q.number != COVERAGE}


def test_each_table_has_the_rows_of_its_answer(parsed: Parsed) -> None:
    for answer in asked(answered()):
        heading, *rows = parsed.tables[id_of(answer)]
        assert rows == cells(answer), answer.question.name
        assert len(heading) == len(rows[0])


def test_numbers_are_those_worked_out_by_hand(parsed: Parsed) -> None:
    assert parsed.tables["q7"][1:] == [
        ["2015", "200"],
        ["2016", "650.5"],
        ["2017", "200"],
        ["2019", "65"],
        ["2020", "700"],
    ]
    assert parsed.tables["q8"][5] == ["36-50", "2020", "9,000"]


def test_each_chart_shows_the_values_of_its_table(parsed: Parsed) -> None:
    for answer in asked(answered()):
        shape = SHAPES[answer.question.label]
        shown = points(shape, answer.frame)
        values = answer.frame[shape.value].to_list()
        assert {point.value for point in shown.points} <= set(values)
        for suffix in ("w", "n"):
            texts = parsed.charts[f"{id_of(answer)}-{suffix}"]
            for point in shown.points:
                told = (exact(point.value), short(point.value))
                assert any(text.startswith(told) for text in texts), (answer.question.name, point)


def test_the_sentences_are_computed_from_the_rows(html: str) -> None:
    for sentence in (
        "Most often first: travel, in 3 of 5 countries. Most posts: 3 (travel in Peru).",
        "Most posts in one year: 2 (art, 2018 and quotes, 2020). In all years together: 4 (art).",
        "3 users in 2 countries share the highest count: 800 followers.",
        "18-24: art and travel (2); 25-35: travel (2); 36-50: art, quotes and travel (1); 50+",
        "Highest median followers: 300 (18-24); lowest: 51 (36-50).",
        "16 users joined in these years.",
        "Highest median followers: 700 (2020); lowest: 65 (2019).",
        "Highest median followers: 9,000 (36-50, 2020)",
    ):
        assert sentence in html


def test_winners_of_a_tie_share_a_bar_and_it_is_said(html: str, parsed: Parsed) -> None:
    assert "1  art, quotes, travel" in parsed.charts["q1-w"]
    assert "those that tie share a bar" in html
    assert ["Cuba", "art", "1", "3 tie, 1 post"] in parsed.tables["q1"]


def test_years_and_groups_without_rows_are_named(html: str) -> None:
    assert "Median followers by year joined; no rows for 2018" in html


def test_the_coverage_and_its_shares_are_on_top(html: str) -> None:
    for text in ("<dt>pins</dt><dd><b>18</b>", "<b>14</b>", "77.8 %", "94.4 %", "11.1 %"):
        assert text in html


def test_the_page_loads_nothing_and_runs_nothing(html: str, parsed: Parsed) -> None:
    assert not re.search(r"https?:|url\(|@import", html)
    assert not {"script", "link", "iframe", "object", "img", "base"} & {t for t, _ in parsed.tags}
    for _, own in parsed.tags:
        assert not [name for name in own if name.startswith("on") or name in {"src", "style"}]
        assert str(own.get("href", "#")).startswith("#")


def test_the_page_is_well_formed_and_its_ids_are_unique(parsed: Parsed) -> None:
    assert parsed.errors == []
    assert len(parsed.ids) == len(set(parsed.ids))
    links = {str(own["href"])[1:] for tag, own in parsed.tags if tag == "a"}
    assert links <= set(parsed.ids)


def test_each_chart_is_an_image_with_a_title_and_the_finding(html: str) -> None:
    charts = re.findall(r'<svg [^>]*role="img" aria-labelledby="(\S+) (\S+)"><title', html)
    assert len(charts) == 2 * len(SHAPES)
    for title, description in charts:
        assert f'<title id="{title}">' in html
        assert re.search(f'<desc id="{description}">[^<]{{10,}}</desc>', html)


def test_the_same_answers_and_time_give_the_same_file(html: str) -> None:
    assert page() == html


def test_hostile_texts_are_text_in_tables_charts_and_sentences(html: str) -> None:
    pins: list[Row] = [(n, text, text, 10) for n, text in enumerate(HOSTILE)]
    geos: list[Row] = [
        (n, text, utc("2019-01-01T00:00:00")) for n, text in enumerate(reversed(HOSTILE))
    ]
    found = answered(pins, geos, [])
    made = page(found, replace(GOOD, tables=[table(text) for text in HOSTILE]))
    taken = Parsed(made)
    assert taken.errors == []
    assert {tag for tag, _ in taken.tags} <= {tag for tag, _ in Parsed(html).tags}
    assert not [n for _, own in taken.tags for n in own if n.startswith("on") or n == "src"]
    for answer in asked(found):
        assert taken.tables.get(id_of(answer), [[]])[1:] == cells(answer)
    assert not set(made) & {*map(chr, range(9)), "\x1b", "\u202e"}
    assert any("<script>" in text for text in taken.charts["q1-w"])


def test_names_that_are_alike_at_their_start_keep_a_bar_each() -> None:
    names = [f"{'long ' * 20}{n}" for n in range(3)]
    pins: list[Row] = [(n, "art", "Ann", n) for n in range(3)]
    geos: list[Row] = [(n, name, utc("2019-01-01T00:00:00")) for n, name in enumerate(names)]
    taken = Parsed(page(answered(pins, geos)))
    labels = [text for text in taken.charts["q1-w"] if text.startswith("long")]
    assert len(set(labels)) == 3


def many(count: int) -> list[Answer]:
    """Return answers with so many countries."""
    pins: list[Row] = [(n, "art", f"poster {n}", n) for n in range(count)]
    geos: list[Row] = [(n, f"land {n}", utc("2019-01-01T00:00:00")) for n in range(count)]
    return answered(pins, geos, only=[0, 1, 3])


def test_of_many_countries_the_chart_shows_the_highest_and_the_table_all() -> None:
    html = page(many(250))
    taken = Parsed(html)
    assert f"Followers by country: the {MOST} highest of 250" in html
    assert "Posts by country: the 20 highest of 250; 230 more have as many as the last" in html
    assert "All 250 rows as a table" in html
    assert len(taken.tables["q3-1"]) == 1 + 250
    shown = [text for text in taken.charts["q3-1-w"] if text.startswith("land ")]
    assert shown == [f"land {n}" for n in range(249, 249 - MOST, -1)]


def test_an_answer_of_many_rows_is_cut_and_says_so() -> None:
    html = page(many(20_000))
    assert "The first 1,000 of 20,000 rows as a table" in html
    assert "pinpip report 1 --format csv --out FOLDER" in html
    assert len(Parsed(html).tables["q1"]) == 1 + MOST_ROWS
    assert len(html) < 1_500_000


@pytest.mark.parametrize(("limit", "rows"), [(5, 5), (0, 1500), (1, 1)])
def test_a_limit_is_the_users(limit: int, rows: int) -> None:
    html = page(many(1500), limit=limit)
    assert len(Parsed(html).tables["q1"]) == 1 + rows


def test_tables_without_rows_are_said_for_each_answer() -> None:
    html = page(answered([], [], []))
    assert html.count("<b>No rows.</b> The table of pin records has no rows yet.") == 10
    assert html.count("<b>No rows.</b>") == 11
    assert Parsed(html).errors == []


def test_a_missing_table_is_named_with_what_to_do() -> None:
    facts = replace(GOOD, tables=GOOD.tables[::2], missing=["geo"])
    html = page(answered(without=["geo"]), facts)
    assert "<b>There is no table of geo records.</b>" in html
    needing = "There is no table of geo records yet; fill one: pinpip consume geo"
    assert html.count(needing) == 6
    assert "Median followers by age group" in html


def test_records_of_no_common_key_are_said() -> None:
    html = page(answered(geos=[(99, "Peru", utc("2019-01-01T00:00:00"))]))
    assert "None of the 18 pins has a geo record with its key." in html


def test_without_any_table_there_is_no_report() -> None:
    with pytest.raises(ConfigError, match="there is no table of pin rows"):
        answers({}, partial=True)


def test_one_missing_table_is_an_error_elsewhere() -> None:
    with pytest.raises(ConfigError, match="there is no table of"):
        answers({"pin": [], "geo": []})


def with_tables(*tables: Any) -> Facts:
    return replace(GOOD, tables=tables)


def test_verified_tables_are_called_so_with_the_age_of_the_proof(html: str) -> None:
    assert "<b>Verified.</b>" in html
    assert html.count(f"<small>{VERDICT}</small>") == 3
    assert html.count("2 hours ago") == 3


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (
            {"level": "unknown", "verified": None, "verdict": "", "unknown": {"verify": "never"}},
            "not known: never",
        ),
        ({"level": "unknown", "verdict": "not verified yet: the last 2 commits"}, "the last 2"),
        ({"level": "unknown", "verified": None, "verdict": ""}, "never verified"),
    ],
)
def test_one_table_that_is_not_verified_takes_the_word_away(own: dict[str, Any], said: str) -> None:
    html = page(facts=with_tables(table("pin"), table("geo", **own), table("user")))
    assert "<b>Verified.</b>" not in html
    assert "<b>Not fully verified.</b>" in html
    assert said in html


def test_findings_of_verify_come_first_and_are_listed() -> None:
    bad = table("geo", level="bad", verdict="2 differences found", findings=("missing: 1 row",))
    unknown = table("user", level="unknown")
    html = page(facts=with_tables(table("pin"), bad, unknown))
    assert "<b>Not to be trusted.</b>" in html
    assert '<small class="finding">missing: 1 row</small>' in html


def test_without_tables_nothing_is_verified() -> None:
    assert "<b>Verified.</b>" not in page(facts=with_tables())


def test_what_is_not_known_of_a_table_is_no_zero() -> None:
    gone = table("pin", rows=None, quarantined=None, newest=None, committed=None)
    rows = Parsed(page(facts=with_tables(gone))).tables["data"]
    assert rows[1][1:5] != ["0", "0", "", ""]
    assert page(facts=with_tables(gone)).count(">not known<") == 4


def test_every_pipeline_has_its_freshness(parsed: Parsed) -> None:
    rows = parsed.tables["data"][1:]
    assert len(rows) == len(KINDS)
    for row in rows:
        told = [cell.partition("|")[0] for cell in row[1:5]]
        assert told == ["12,345", "67", "4 minutes ago", "3 minutes ago"]


def test_only_the_questions_asked_are_in_the_page() -> None:
    taken = Parsed(page(answered(only=[0, 4])))
    assert {*taken.tables} == {"data", "q4"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (99_999, "99,999"),
        (100_000, "100k"),
        (136_499.5, "136k"),
        (999_999, "1M"),
        (1_234_567, "1.23M"),
        (12_000_000, "12M"),
        (2_500_000_000, "2.5B"),
        (-150_000, "-150k"),
    ],
)
def test_numbers_are_short_in_narrow_charts(value: float, text: str) -> None:
    assert short(value) == text


def test_ages_and_lists_read_as_text() -> None:
    seconds = [0, 1, 59, 60, 3600, 86_400 * 3, -5]
    told = [age(MADE - timedelta(seconds=n), MADE) for n in seconds]
    assert told == [
        *("0 seconds ago", "1 second ago", "59 seconds ago", "1 minute ago", "1 hour ago"),
        *("3 days ago", "in the future"),
    ]
    assert [listed("abcde"[:n]) for n in range(1, 6)] == [
        *("a", "a and b", "a, b and c", "a, b, c and d", "a, b, c and 2 more"),
    ]


def test_texts_are_cut_by_the_room_they_take() -> None:
    assert cut("日本語日本語", 7) == "日本語…"
    assert cut("short", 5) == "short"
    assert plain("a\u202eb\x00") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"


def test_random_answers_keep_their_numbers() -> None:
    rng = random.Random(17)
    pins = [(n, rng.choice("abc"), rng.choice("xyz"), rng.randrange(10**9)) for n in range(60)]
    found = answered(pins, [(n, *row[1:]) for n, row in enumerate(GEOS * 4)][:60], USERS)
    taken = Parsed(page(found))
    for answer in asked(found):
        assert taken.tables.get(id_of(answer), [[]])[1:] == cells(answer)
