"""Tables of docs/benchmarks.md, and prices, are made from results."""

import re
from pathlib import Path

import pytest

from benchmarks import pages, plot, prices, s3_steady
from benchmarks.models.journal import Entry, counted, kind_of
from benchmarks.results import result


def test_a_table_is_replaced_between_its_comments(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- table: x -->\nold\n<!-- end -->\nb\n<!-- table: y -->\n<!-- end -->\n")
    rows = [{"place": "disk", "rate": 1234.0, "none": None, "runs": [1]}]
    pages.write(result("x", {}, rows), page)
    table = "| place | rate | none |\n| --- | ---: | --- |\n| disk | 1,234 | - |"
    wanted = (
        f"a\n<!-- table: x -->\n\n{table}\n\n<!-- end -->\nb\n<!-- table: y -->\n<!-- end -->\n"
    )
    assert page.read_text() == wanted
    with pytest.raises(ValueError, match="0 places for the table z"):
        pages.write(result("z", {}, rows), page)


@pytest.mark.parametrize(
    "measure",
    ["s3", "s3-group", "s3-freshness", "s3-costs", "kinesis", "upkeep", "upkeep-run"],
)
def test_the_page_has_a_place_for_each_table(measure: str, tmp_path: Path) -> None:
    copy = tmp_path / "benchmarks.md"
    copy.write_text(pages.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    pages.write(result(measure, {}, [{"a": 1}]), copy)
    assert "| a |\n| ---: |\n| 1 |" in copy.read_text(encoding="utf-8")


def test_bars_are_as_long_as_their_numbers_and_named() -> None:
    before = {"table": "before", "files": 5000, "ms": 10.5}
    picture = plot.bars(result("x", {}, [before, {"table": "after", "files": 50, "ms": 0}]))
    files, ms = picture.split("<g ")[1:]
    widths = [float(width) for width in re.findall(r'<rect .*? width="(\S+?)"', files)]
    assert widths[0] == pytest.approx(100 * widths[1], rel=0.05)
    texts = [re.findall(r">([^<>\n]+)</text>", chart) for chart in (files, ms)]
    assert texts[0] == ["files", "before", "5,000", "after", "50"]
    assert texts[1] == ["ms", "before", "10.5", "after", "0"]


def test_a_month_of_requests_at_list_prices() -> None:
    requests = {"PUT log": 600, "PUT data": 300, "LIST log": 100, "GET log": 1000, "DELETE many": 9}
    assert prices.price(requests) == pytest.approx(0.0054)
    one_put_a_second = prices.monthly({"PUT log": 60}, 60)
    assert one_put_a_second == pytest.approx(730 * 3600 * 0.005 / 1000)
    with pytest.raises(KeyError):
        prices.price({"TRACE log": 1})


def test_requests_are_counted_within_a_time() -> None:
    entries = [Entry(float(at), kind_of("PUT", "pin/_delta_log/1"), 200, 0, 0.0) for at in range(9)]
    assert counted(entries, 2, 5) == {"PUT log": 3}
    assert kind_of("PUT", "archive/pin/1.parquet") == "PUT archive"
    assert kind_of("LIST", "pin/") == "LIST data"


def test_a_load_is_read_from_its_text() -> None:
    assert s3_steady.case("1000x6", 0.5, 40) == s3_steady.Case(1000, 6, 0.5, 40)
    assert s3_steady.case("10000", None, 40) == s3_steady.Case(10000, 1, None, 40)
    with pytest.raises(ValueError, match="fast"):
        s3_steady.case("fast", None, 40)
