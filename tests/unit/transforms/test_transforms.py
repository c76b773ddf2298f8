"""Clean tables: DATA's dirty values, times, counts and places, and nothing lost on the way."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.batch import KAFKA, KINESIS, RESCUED, Coordinates
from tests.support.examples import examples
from transforms import geo, pin, user
from transforms.process import Transform, decode
from transforms.schema import Schema

PIN: dict[str, Any] = {
    "index": 7,
    "unique_id": "00000000-0000-4000-8000-000000000007",
    "title": "Paper lanterns",
    "description": "A quiet garden",
    "poster_name": "Olive & Co",
    "follower_count": "136k",
    "tag_list": "Paper,Garden",
    "is_image_or_video": "image",
    "image_src": "https://example.com/7.jpg",
    "downloaded": 1,
    "save_location": "Local save in /data/art",
    "category": "art",
}
GEO: dict[str, Any] = {
    "ind": 7,
    "timestamp": "2018-03-26T16:56:17",
    "latitude": -51.051,
    "longitude": 112.276,
    "country": "Cote d'Ivoire",
}
USER: dict[str, Any] = {
    "ind": 7,
    "first_name": "Maple",
    "last_name": "Rivers",
    "age": 25,
    "date_joined": "2016-05-28T21:22:35",
}


def cleaned(
    schema: Schema,
    clean: Transform,
    *wires: dict[str, Any],
    coordinates: Coordinates = KAFKA,
) -> pl.DataFrame:
    values = pl.Series("_value", [json.dumps(wire).encode() for wire in wires], pl.Binary())
    nulls = [pl.lit(None, dtype).alias(name) for name, dtype in coordinates.metadata.items()]
    found = decode(values.to_frame().with_columns(nulls), schema, coordinates)
    assert found.rejected.is_empty()
    return clean(found.rows.lazy()).collect()


def pin_row(**changes: Any) -> dict[str, Any]:
    return cleaned(pin.SCHEMA, pin.clean, PIN | changes).row(0, named=True)


def geo_row(**changes: Any) -> dict[str, Any]:
    return cleaned(geo.SCHEMA, geo.clean, GEO | changes).row(0, named=True)


def user_row(**changes: Any) -> dict[str, Any]:
    return cleaned(user.SCHEMA, user.clean, USER | changes).row(0, named=True)


def rescued(row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(row[RESCUED] or "{}")
    return found


MOMENT = pl.Datetime("us", "UTC")


@pytest.mark.parametrize("coordinates", [KAFKA, KINESIS])
def test_the_columns_of_the_clean_tables_are_the_contract(coordinates: Coordinates) -> None:
    last = {**coordinates.metadata, RESCUED: pl.String()}
    text = pl.String()
    pins = {
        "ind": pl.Int64(),
        "unique_id": text,
        "title": text,
        "description": text,
        "follower_count": pl.Int64(),
        "poster_name": text,
        "tag_list": text,
        "is_image_or_video": text,
        "image_src": text,
        "save_location": text,
        "category": text,
    }
    points = pl.List(pl.Float64())
    geos = {"ind": pl.Int64(), "country": text, "coordinates": points, "timestamp": MOMENT}
    users = {"ind": pl.Int64(), "user_name": text, "age": pl.Int64(), "date_joined": MOMENT}
    for module, wire, own in ((pin, PIN, pins), (geo, GEO, geos), (user, USER, users)):
        table = cleaned(module.SCHEMA, module.clean, wire, coordinates=coordinates)
        assert list(table.schema.items()) == list((own | last).items())


def test_a_good_pin_is_clean() -> None:
    assert list(pin_row().values())[:11] == [
        *(7, PIN["unique_id"], "Paper lanterns", "A quiet garden", 136_000, "Olive & Co"),
        *("Paper,Garden", "image", "https://example.com/7.jpg", "/data/art", "art"),
    ]
    assert pin_row()[RESCUED] is None


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("title", "No Title Data Available"),
        ("title", ""),
        ("description", "No description available Story format"),
        ("description", "No description available"),
        ("description", "Untitled"),
        ("poster_name", "User Info Error"),
        ("follower_count", "User Info Error"),
        ("tag_list", "N,o, ,T,a,g,s, ,A,v,a,i,l,a,b,l,e"),
        ("image_src", "Image src error."),
        ("image_src", "Image src error"),
    ],
)
def test_a_placeholder_is_null_and_not_rescued(column: str, value: str) -> None:
    row = pin_row(**{column: value})
    assert row[column] is None
    assert row == pin_row() | {column: None}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("title", "Untitled"),
        ("title", "No Title Data Available "),
        ("title", "No Bake Cookies"),
        ("title", " Norway  "),
        ("title", "User Info Error"),
        ("title", 'He said "no": ok\n…\u00a0'),
        ("description", "no description available"),
        ("description", "No description available yet"),
        ("description", ""),
        ("poster_name", "Error & Sons"),
        ("tag_list", "No,Tags"),
        ("image_src", "https://example.com/Image src error."),
    ],
)
def test_real_text_stays_as_it_is(column: str, value: str) -> None:
    assert pin_row(**{column: value})[column] == value


@pytest.mark.parametrize(
    ("wire", "clean"),
    [
        ("136k", 136_000),
        ("15M", 15_000_000),
        ("999", 999),
        ("0", 0),
        ("1.2k", 1_200),
        ("1.5M", 1_500_000),
        ("2B", 2_000_000_000),
        ("4K", 4_000),
        ("3m", 3_000_000),
        ("1b", 1_000_000_000),
        ("1,234", 1_234),
        ("12,345,678", 12_345_678),
        ("1,234.5k", 1_234_500),
        (1234, 1234),
        (1e3, 1000),
        ("9223372036854775807", 2**63 - 1),
        (None, None),
    ],
)
def test_follower_counts_are_exact_numbers(wire: object, clean: int | None) -> None:
    row = pin_row(follower_count=wire)
    assert (row["follower_count"], row[RESCUED]) == (clean, None)


@pytest.mark.parametrize(
    "wire",
    [
        *["k", "many", "1.2345k", "1.5", "1,23", "-5", "1k ", "", "12 k", "1e3", "٣k", "1.2.3k"],
        *["9223372036854775808", "9" * 19 + "B", "9" * 40 + "B"],
    ],
)
def test_a_follower_count_that_is_no_whole_number_is_rescued(wire: str) -> None:
    row = pin_row(follower_count=wire)
    assert row["follower_count"] is None
    assert rescued(row) == {"follower_count": wire}


@given(st.integers(1, 999_999), st.sampled_from("kmbKMB"))
@settings(max_examples=examples(50), deadline=None)
def test_a_decimal_with_a_suffix_has_no_dust(thousandths: int, suffix: str) -> None:
    scale = {"k": 1, "m": 1_000, "b": 1_000_000}[suffix.lower()]
    wire = f"{thousandths // 1000}.{thousandths % 1000:03d}{suffix}"
    assert pin_row(follower_count=wire)["follower_count"] == thousandths * scale


@pytest.mark.parametrize("wire", [0, 1, "0", "1", None])
def test_downloaded_is_not_in_the_clean_table(wire: object) -> None:
    assert pin_row(downloaded=wire) == pin_row()


def test_a_save_location_loses_only_its_prefix() -> None:
    assert (
        pin_row(save_location="/data/Local save in /x")["save_location"] == "/data/Local save in /x"
    )


def test_a_point_is_latitude_then_longitude() -> None:
    row = geo_row()
    assert (row["ind"], row["country"]) == (7, "Cote d'Ivoire")
    assert row["coordinates"] == [-51.051, 112.276]
    assert row["timestamp"] == datetime(2018, 3, 26, 16, 56, 17, tzinfo=UTC)
    assert row[RESCUED] is None


@pytest.mark.parametrize(("latitude", "longitude"), [(90, -180), (-90.0, 180.0), (0, 0)])
def test_the_ends_of_the_earth_are_places(latitude: float, longitude: float) -> None:
    row = geo_row(latitude=latitude, longitude=longitude)
    assert row["coordinates"] == [latitude, longitude]


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [(90.01, 10.5), (-91, 10.5), (10.5, 180.5), (10.5, -181), (1e300, 1e300)],
)
def test_what_is_no_place_on_earth_is_rescued(latitude: float, longitude: float) -> None:
    row = geo_row(latitude=latitude, longitude=longitude)
    assert row["coordinates"] is None
    assert rescued(row) == {"latitude": latitude, "longitude": longitude}


def test_half_a_point_is_no_point_and_the_half_is_rescued() -> None:
    assert geo_row(latitude=None)["coordinates"] is None
    assert rescued(geo_row(latitude=None)) == {"longitude": 112.276}
    assert geo_row(latitude=None, longitude=None)[RESCUED] is None


def test_a_rescued_field_joins_what_decoding_rescued() -> None:
    row = geo_row(latitude="17.5", timestamp='soon "or" later\n\0é', extra={"a": [1]})
    assert rescued(row) == {
        "latitude": "17.5",
        "extra": {"a": [1]},
        "timestamp": 'soon "or" later\n\0é',
        "longitude": 112.276,
    }


@given(st.text())
@settings(max_examples=examples(100), deadline=None)
def test_any_unread_text_comes_back_from_rescued(text: str) -> None:
    row = user_row(date_joined="?" + text, age="x" + text)
    assert rescued(row) == {"age": "x" + text, "date_joined": "?" + text}


MOMENTS = [
    ("2018-03-26 16:56:17", (2018, 3, 26, 16, 56, 17)),
    ("2018-03-26T16:56:17", (2018, 3, 26, 16, 56, 17)),
    ("2018-03-26T16:56:17.5", (2018, 3, 26, 16, 56, 17, 500_000)),
    ("2018-03-26 16:56:17.000001", (2018, 3, 26, 16, 56, 17, 1)),
    ("2018-03-26T16:56:17.123456789", (2018, 3, 26, 16, 56, 17, 123_456)),
    ("2018-03-26T16:56:17Z", (2018, 3, 26, 16, 56, 17)),
    ("2018-03-26 16:56:17.25Z", (2018, 3, 26, 16, 56, 17, 250_000)),
    ("2018-03-26T16:56:17+02:00", (2018, 3, 26, 14, 56, 17)),
    ("2018-03-26T01:56:17-0530", (2018, 3, 26, 7, 26, 17)),
    ("2018-03-26T16:56:17+02", (2018, 3, 26, 14, 56, 17)),
    ("2018-03-26", (2018, 3, 26)),
    ("2016-02-29", (2016, 2, 29)),
]


@pytest.mark.parametrize(("wire", "clean"), MOMENTS)
def test_every_spelling_of_a_moment_is_utc(wire: str, clean: tuple[int, ...]) -> None:
    expected = datetime(*clean, tzinfo=UTC)  # type: ignore[arg-type,misc]
    for row, column in (
        (geo_row(timestamp=wire), "timestamp"),
        (user_row(date_joined=wire), "date_joined"),
    ):
        assert (row[column], row[RESCUED]) == (expected, None)


ZONES = [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-11))]
DAYS = st.integers(0, 3_652_000)


@given(DAYS, st.timedeltas(timedelta(), timedelta(days=1)), st.sampled_from(ZONES))
@settings(max_examples=examples(100), deadline=None)
def test_microseconds_survive(days: int, time: timedelta, zone: timezone) -> None:
    moment = datetime(1, 1, 3, tzinfo=zone) + timedelta(days) + time
    for separator in "T ":
        assert geo_row(timestamp=moment.isoformat(separator))["timestamp"] == moment


@pytest.mark.parametrize(
    "wire",
    [
        *["", "yesterday", "2018-02-30", "2018-13-01", "2018-03-26T24:00:00", "2018-03-26T16:56"],
        *["2018-03-26T16:56:17 Z", " 2018-03-26", "2018-3-6", "26/03/2018", "12018-03-26"],
        *["2018-03-26T16:56:17\0", "2018-03-26T16:56:17\n", "0000-01-01", "1522083377"],
        *["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2018-03-26T16:56:17+99:00"],
        "2018-03-26T23:59:60",
    ],
)
def test_what_is_no_moment_is_rescued(wire: str) -> None:
    row = geo_row(timestamp=wire)
    assert row["timestamp"] is None
    assert rescued(row) == {"timestamp": wire}


def test_a_good_user_is_clean() -> None:
    assert list(user_row().values())[:4] == [
        *(7, "Maple Rivers", 25),
        datetime(2016, 5, 28, 21, 22, 35, tzinfo=UTC),
    ]
    assert user_row()[RESCUED] is None


@pytest.mark.parametrize(
    ("first", "last", "name"),
    [
        ("Maple", None, "Maple"),
        (None, "Rivers", "Rivers"),
        (None, None, None),
        (" A ", "B", " A  B"),
    ],
)
def test_a_missing_name_leaves_the_other_alone(
    first: str | None, last: str | None, name: str | None
) -> None:
    assert user_row(first_name=first, last_name=last)["user_name"] == name


def test_an_age_is_a_number_also_as_text() -> None:
    assert user_row(age="25") == user_row(age="25.0") == user_row(age=25.0) == user_row(age=25)


@pytest.mark.parametrize("wire", ["unknown", "25.5", "", "9" * 30, "0x19"])
def test_an_age_that_is_no_integer_is_rescued(wire: str) -> None:
    row = user_row(age=wire)
    assert row["age"] is None
    assert rescued(row) == {"age": wire}


def test_an_age_of_another_type_is_rescued_as_it_was() -> None:
    assert rescued(user_row(age=True)) == {"age": True}
    assert rescued(user_row(age=[25])) == {"age": [25]}
