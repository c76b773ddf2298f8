"""The emulator: shapes, shares and hazards of the real data, the same for the same seed."""

import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from statistics import mean, median

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.batch import KAFKA, RESCUED, VALUE
from producers import words
from producers.delivery import ProducerRecord
from producers.emulator import BROKEN, KEYS, STORY, event, events
from producers.event import FIELDS, Event, Row
from producers.malformed import KINDS, MalformedRecords, is_text, malformed_value
from transforms.geo import SCHEMA as GEO_SCHEMA
from transforms.pin import SCHEMA as PIN_SCHEMA
from transforms.process import Decoded, decode
from transforms.user import SCHEMA as USER_SCHEMA

POOL = [event(1, key) for key in range(KEYS)]
PINS = [made.rows["pin"] for made in POOL]
GOOD = POOL[5].rows["pin"]


def share(rows: list[Row], holds: Callable[[Row], object]) -> float:
    return sum(bool(holds(row)) for row in rows) / len(rows)


def test_the_same_seed_makes_the_same_events() -> None:
    assert list(islice(events(7), 300)) == list(islice(events(7), 300))
    assert list(islice(events(7), 300)) != list(islice(events(8), 300))


def test_a_known_event_stays_the_same_in_every_release_and_process() -> None:
    first = next(events(1))
    assert (first.key, first.rows["pin"]["category"]) == (24, "tattoos")


@given(start=st.integers(0, 5_000), drawn=st.integers(1, 40))
def test_event_n_does_not_depend_on_how_many_were_drawn(start: int, drawn: int) -> None:
    beginning = list(islice(events(3, start=start), drawn))
    assert beginning[-1] == next(events(3, start=start + drawn - 1))


@pytest.mark.slow
def test_keys_repeat_and_a_repeated_key_repeats_its_rows() -> None:
    seen: dict[int, Event] = {}
    drawn = list(islice(events(1), 50_000))
    for made in drawn:
        assert seen.setdefault(made.key, made) == made
    assert len(seen) > 0.97 * KEYS
    assert Counter(made.key for made in drawn).most_common(1)[0][1] < 25


@pytest.mark.parametrize("record", FIELDS)
def test_rows_have_the_fields_of_the_wire_in_order_and_the_key_of_their_event(record: str) -> None:
    for made in POOL[:500]:
        assert tuple(made.rows[record]) == FIELDS[record]
        assert next(iter(made.rows[record].values())) == made.key


@pytest.mark.parametrize(
    ("expected", "holds"),
    [
        (0.007, lambda pin: BROKEN.items() <= pin.items()),
        (0.007, lambda pin: pin["title"] == BROKEN["title"]),
        (0.007, lambda pin: pin["poster_name"] == pin["follower_count"] == "User Info Error"),
        (0.014, lambda pin: pin["tag_list"] == BROKEN["tag_list"]),
        (0.023, lambda pin: pin["image_src"] == BROKEN["image_src"]),
        (0.023, lambda pin: pin["downloaded"] == 0),
        (0.016, lambda pin: pin["description"] == "No description available"),
        (0.074, lambda pin: pin["description"] == BROKEN["description"]),
        (0.03, lambda pin: pin["is_image_or_video"] == "video"),
        (0.74, lambda pin: re.fullmatch(r"\d+k", pin["follower_count"])),
        (0.17, lambda pin: re.fullmatch(r"\d{1,3}", pin["follower_count"])),
        (0.08, lambda pin: re.fullmatch(r"\d+M", pin["follower_count"])),
    ],
)
def test_shares_of_values_are_those_of_the_real_data(
    expected: float, holds: Callable[[Row], object]
) -> None:
    assert share(PINS, holds) == pytest.approx(expected, rel=0.15, abs=0.003)


def test_a_description_is_missing_exactly_where_a_story_is() -> None:
    for pin in PINS:
        assert (pin["description"] == BROKEN["description"]) == (pin["is_image_or_video"] == STORY)
        assert (pin["image_src"] == BROKEN["image_src"]) == (pin["downloaded"] == 0)
        assert pin["save_location"] == f"Local save in /data/{pin['category']}"


def test_sizes_are_those_of_the_real_data() -> None:
    sizes = [len(json.dumps(pin)) for pin in PINS]
    assert mean(sizes) == pytest.approx(740, abs=15)
    assert 1_300 < max(sizes) <= 1_922
    assert 200 < max(len(pin["poster_name"]) for pin in PINS) <= 268


@pytest.mark.parametrize(
    "hazard",
    ["\u200d", "小", "ר", "ر", '"', "\n", "\\", "&amp;", "\ufffd", "…\u00a0", " | ", "\t"],
)
def test_text_hazards_are_all_there(hazard: str) -> None:
    assert any(hazard in pin["title"] + pin["description"] for pin in PINS)


def test_titles_may_be_empty_untitled_or_end_in_blanks() -> None:
    titles = [pin["title"] for pin in PINS]
    assert {"", "Untitled"} < set(titles)
    assert any(title.endswith("  ") for title in titles)
    assert any("No Bake" in title for title in titles)


def test_categories_and_countries_are_all_there() -> None:
    assert {pin["category"] for pin in PINS} == set(words.TOPICS)
    assert {made.rows["geo"]["country"] for made in POOL} == set(words.COUNTRIES)
    assert (len(words.TOPICS), len(set(words.COUNTRIES))) == (13, 243)


def test_places_and_times_are_in_range_and_nobody_joins_after_the_event() -> None:
    for made in POOL:
        geo, user = made.rows["geo"], made.rows["user"]
        joined, posted = (
            text.replace(" ", "T") for text in (user["date_joined"], geo["timestamp"])
        )
        assert "2015-10" <= joined < posted < "2022-11"
        assert joined < "2017-11"
        assert -90 <= geo["latitude"] <= 90
        assert -180 <= geo["longitude"] <= 180
        assert 20 <= int(user["age"]) <= 60


def test_a_person_owns_many_keys_and_some_ages_are_text() -> None:
    people = Counter(tuple(list(made.rows["user"].values())[1:]) for made in POOL)
    assert min(people.values()) >= 7
    ages = [{"age": made.rows["user"]["age"]} for made in POOL]
    assert share(ages, lambda user: isinstance(user["age"], str)) == pytest.approx(0.3, abs=0.05)


def test_a_few_times_have_a_blank_for_the_t() -> None:
    times = [made.rows["geo"] for made in POOL]
    assert share(times, lambda geo: " " in geo["timestamp"]) == pytest.approx(0.03, abs=0.01)


def test_followers_fall_with_age() -> None:
    def size(text: str) -> float:
        return float(text.replace("k", "e3").replace("M", "e6"))

    counted = [made for made in POOL if made.rows["pin"]["follower_count"] != "User Info Error"]
    sizes: dict[bool, list[float]] = {True: [], False: []}
    for made in counted:
        young = int(made.rows["user"]["age"]) <= 35
        sizes[young].append(size(made.rows["pin"]["follower_count"]))
    assert median(sizes[False]) < 0.7 * median(sizes[True])


def test_bad_payloads_come_at_their_ratio_in_every_kind_and_again_the_same() -> None:
    def drawn() -> list[object]:
        spoiler = MalformedRecords(0.25, seed=9)
        return [
            value
            for number in range(4_000)
            for value in spoiler.beside(number, "pin", GOOD, text_only=False)
        ]

    assert len(drawn()) == pytest.approx(1_000, abs=100)
    assert drawn() == drawn()
    assert {repr(value) for value in drawn()} >= {
        repr(malformed_value(kind, "pin", GOOD)) for kind in KINDS if kind != "oversize"
    }


def test_no_bad_payload_is_drawn_without_a_ratio() -> None:
    assert list(MalformedRecords().beside(0, "pin", GOOD, text_only=False)) == []


def test_a_route_of_text_gets_no_bytes_that_are_none() -> None:
    drawn = [
        value
        for number in range(500)
        for value in MalformedRecords(1.0).beside(
            number, "geo", POOL[3].rows["geo"], text_only=True
        )
    ]
    assert len(drawn) == 500
    assert all(is_text(value) for value in drawn)
    assert not is_text(malformed_value("invalid_utf8", "geo", POOL[3].rows["geo"]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_payload_fits_a_broker_of_default_limits(kind: str) -> None:
    value = malformed_value(kind, "pin", GOOD)
    held = value if isinstance(value, bytes) else json.dumps(value).encode()
    assert len(held) < 1_000_000


SCHEMAS = {"pin": PIN_SCHEMA, "geo": GEO_SCHEMA, "user": USER_SCHEMA}


def decoded(record: str, values: list[bytes]) -> Decoded:
    count, now = len(values), datetime(2026, 1, 1, tzinfo=UTC)
    columns = [["t"] * count, [0] * count, range(count), ["1"] * count, [now] * count, values]
    schema = {**KAFKA.metadata, VALUE: pl.Binary()}
    return decode(pl.DataFrame(columns, schema=schema), SCHEMAS[record], KAFKA)


@pytest.mark.parametrize("record", SCHEMAS)
def test_every_bad_payload_ends_in_quarantine(record: str) -> None:
    row = POOL[5].rows[record]
    values = [ProducerRecord(5, malformed_value(kind, record, row)).payload for kind in KINDS]
    assert decoded(record, values).rejected[VALUE].to_list() == values


@pytest.mark.parametrize("record", SCHEMAS)
def test_every_good_row_is_taken_whole(record: str) -> None:
    taken = decoded(record, [ProducerRecord(0, made.rows[record]).payload for made in POOL]).rows
    assert taken.height == KEYS
    assert taken[RESCUED].null_count() == KEYS
