"""The comparison of numbers finds what is lost, doubled and foreign, and what was sent is known."""

import json

import polars as pl
import pytest

from chaos.content import Content, templates
from chaos.key_diff import KeyDifference, compare
from chaos.recovery import median_and_p95


def keys(*numbers: object) -> pl.Series:
    return pl.Series("_key", [str(number) for number in numbers], pl.String)


def test_tables_that_hold_each_number_once_do_not_differ() -> None:
    assert compare(keys(2, 0, 1), {0, 1, 2}, ()) == KeyDifference()
    assert KeyDifference().messages("tables") == []


@pytest.mark.parametrize(
    ("held", "difference"),
    [
        (keys(0, 2), KeyDifference(lost=(1,))),
        (keys(0, 1, 2, 1), KeyDifference(doubled=(1,))),
        (keys(0, 1, 2, -7), KeyDifference(foreign=(-7,))),
        (keys(0, 1, 2, "no number"), KeyDifference(foreign=(-1,))),
        (keys(0, 1, 2, 9), KeyDifference()),
        (keys(0, 1, 2, 9, 9), KeyDifference(doubled=(9,))),
    ],
)
def test_each_kind_of_difference_is_found(held: pl.Series, difference: KeyDifference) -> None:
    found = compare(held, wanted={0, 1, 2}, allowed={9})
    assert found == difference
    assert len(found.messages("tables")) == (difference != KeyDifference())


def test_a_record_carries_its_own_number_wherever_its_payload_can() -> None:
    rows = [
        b'{"ind": 5, "name": "a"}',
        b"no JSON",
        None,
        b'{"ind": "5"}',
        b'{"name": "5", "ind":5}',
    ]
    content = Content(templates(rows, "ind"))
    assert json.loads(content.payload(10) or b"") == {"ind": 10, "name": "a"}
    assert content.payload(11) == b"no JSON"
    assert content.payload(12) is None
    assert content.payload(13) == b'{"ind": "5"}'
    assert json.loads(content.payload(14) or b"") == {"name": "5", "ind": 14}


def test_records_that_a_transform_filters_are_not_waited_for() -> None:
    content = Content((b"kept", b"filtered"), dropped=frozenset({1}))
    assert [content.arrives(number) for number in range(4)] == [True, False, True, False]


def test_recovery_times_have_a_median_and_a_tail() -> None:
    assert median_and_p95([]) is None
    assert median_and_p95([3.0]) == (3.0, 3.0)
    assert median_and_p95([float(n) for n in range(1, 101)]) == (50.5, 96.0)
