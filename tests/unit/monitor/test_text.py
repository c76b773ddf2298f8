"""Numbers and times on the page are read back as what they were, within their rounding."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from monitor.page import text

SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
SIZES = {"B": 0, "kB": 1, "MB": 2, "GB": 3, "TB": 4, "PB": 5}
NOW = datetime(2026, 11, 27, 0, 0, 3, tzinfo=UTC)


def read_number(shown: str) -> float:
    """Read a number as people do; "<0.1" is about 0.05."""
    return 0.05 if shown == "<0.1" else float(shown.replace(",", ""))


def read_duration(shown: str) -> tuple[float, float]:
    """Return the seconds, and the width of the smallest unit that is shown."""
    parts = re.findall(r"(\S+)\s(s|min|h|d)\b", shown)
    seconds = sum(read_number(n) * SECONDS[unit] for n, unit in parts)
    fine = {"min": 1, "h": 60, "d": 3600}
    return seconds, fine.get(parts[0][1], 1)


@given(st.integers(-(10**18), 10**18))
def test_a_count_is_read_back(n: int) -> None:
    assert int(text.count(n).replace(",", "")) == n


@given(st.floats(0, 1e12))
@example(9.95)
@example(9.949999999999999)
@example(0.05)
@example(999.5)
def test_a_number_is_read_back_within_its_rounding(value: float) -> None:
    tolerance = 0.0500001 if value < 9.95 else 0.5
    assert abs(read_number(text.number(value)) - value) <= tolerance


@given(st.floats(0, 1e9))
@example(59.5)
@example(59.49)
@example(3_599.5)
@example(86_399.6)
@example(86_370.0)
def test_a_duration_is_read_back_within_its_smallest_unit(seconds: float) -> None:
    value, smallest = read_duration(text.duration(seconds))
    assert abs(value - seconds) <= smallest / 2 + 0.5


@given(st.floats(0, 1e9))
def test_a_duration_never_shows_sixty_seconds_or_minutes_beside_a_larger_unit(
    seconds: float,
) -> None:
    assert not re.search(r"\b60\s(s|min)|\b24\sh", text.duration(seconds))


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_a_longer_time_is_never_shown_as_a_shorter_one(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert read_duration(text.duration(low))[0] <= read_duration(text.duration(high))[0]


@given(st.integers(0, 10**18))
@example(999_500)
@example(999_499)
def test_a_size_is_read_back_within_its_rounding(value: int) -> None:
    shown, unit = text.size(value).split()
    assert abs(read_number(shown) * 1000 ** SIZES[unit] - value) <= 0.0501 * max(value, 1)
    assert read_number(shown) < 1000 or unit == "PB"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (text.duration(0), "0 s"),
        (text.duration(0.01), "<0.1 s"),
        (text.duration(1.2), "1.2 s"),
        (text.duration(200), "3 min 20 s"),
        (text.duration(180), "3 min"),
        (text.duration(7_500), "2 h 5 min"),
        (text.duration(273_600), "3 d 4 h"),
        (text.duration(-3), "0 s"),
        (text.duration(None), "—"),
        (text.duration(float("nan")), "—"),
        (text.count(None), "—"),
        (text.counted(1, "record"), "1 record"),
        (text.counted(1_234, "record"), "1,234 records"),
        (text.number(-0.01), "0"),
        (text.rate(1_234.5), "1,234 records/s"),
        (text.rate(None), "—"),
        (text.size(0), "0 B"),
        (text.size(1_400_000), "1.4 MB"),
        (text.size(999_500), "1 MB"),
        (text.size(None), "—"),
        (text.share(1, 3), "33 %"),
        (text.share(0, 0), "0 %"),
        (text.share(9_999, 10_000), ">99 %"),
        (text.share(7, 7), "100 %"),
        (text.share(1, 100_000), "<0.1 %"),
    ],
)
def test_a_number_has_its_unit_and_no_needless_digits(shown: str, expected: str) -> None:
    assert shown.replace("\N{NO-BREAK SPACE}", " ") == expected


def test_a_time_of_today_has_no_date_and_another_has() -> None:
    assert text.clock(NOW, NOW) == "00:00:03 UTC"
    assert text.clock(NOW - timedelta(seconds=4), NOW) == "2026-11-26 23:59:59 UTC"


def test_an_age_is_told_in_whole_seconds_and_never_lies_in_the_future() -> None:
    assert text.ago(NOW - timedelta(seconds=3.4), NOW) == "3\N{NO-BREAK SPACE}s ago"
    assert text.ago(NOW + timedelta(seconds=3), NOW) == "0\N{NO-BREAK SPACE}s ago"
    assert text.elapsed(NOW - timedelta(seconds=200), NOW).split() == ["3", "min", "20", "s"]


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("the source has not responded", "The source has not responded."),
        ("Nothing to do.", "Nothing to do."),
        ("run `pinpip verify`", "Run `pinpip verify`"),
        ("42 records wait", "42 records wait."),
        ("s3://lake/pin has no log", "s3://lake/pin has no log."),
    ],
)
def test_words_are_shown_as_a_sentence(words: str, shown: str) -> None:
    assert text.sentence(words) == shown
