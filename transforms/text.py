"""Text to values, whole columns at a time; what cannot be read is kept in `_rescued`."""

from collections.abc import Mapping

import polars as pl

from core.batch import RESCUED

_MOMENT = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[T ][0-9]{2}:[0-9]{2}:[0-5][0-9](?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?$"
)
_ZONE = r"[Z+-]"
_COUNT = (  # no more decimal places than leave a whole number
    r"^(?:[0-9]{1,19}|[0-9]{1,3}(?:,[0-9]{3}){1,6})"
    r"(?:(?:\.0{1,9})?|(?:\.[0-9]{1,3}0{0,6})?[kK]|(?:\.[0-9]{1,6}0{0,3})?[mM]|(?:\.[0-9]{1,9})?[bB])$"
)
_SCALES = {"k": 1_000, "m": 1_000_000, "b": 1_000_000_000}
_SCALES |= {letter.upper(): scale for letter, scale in _SCALES.items()}
_EXACT = pl.Decimal(38, 9)


def blank(name: str, *placeholders: str) -> pl.Expr:
    """Return the text column `name`, null where the whole text is one of `placeholders`."""
    return pl.when(~pl.col(name).is_in(placeholders)).then(pl.col(name)).alias(name)


def timestamp(text: pl.Expr) -> pl.Expr:
    """ISO 8601 date or moment as UTC, whole microseconds; null for anything else.

    `T` or a blank between date and time, up to nine digits of fraction, `Z` or an offset; without
    an offset it is UTC.
    """
    clock = text.str.slice(len("2018-03-26T"))
    daytime = pl.when(clock == "").then(pl.lit("00:00:00")).otherwise(clock)
    zone = pl.when(clock.str.contains(_ZONE)).then(pl.lit("")).otherwise(pl.lit("Z"))
    moment = pl.concat_str(text.str.head(len("2018-03-26")), pl.lit("T"), daytime, zone)
    moment = moment.str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", time_zone="UTC", strict=False
    )
    known = text.str.contains(_MOMENT) & moment.dt.year().is_between(1, 9999)
    return pl.when(known).then(moment)


def count(text: pl.Expr) -> pl.Expr:
    """`136k`, `1.2M`, `2B`, `1,234` or plain digits as Int64; null when not a whole number."""
    form = pl.when(text.str.contains(_COUNT)).then(text)
    number = form.str.strip_chars_end("kKmMbB").str.replace_all(",", "", literal=True)
    scale = text.str.slice(-1).replace_strict(_SCALES, default=1, return_dtype=pl.Int64())
    exact = number.cast(_EXACT, strict=False) * scale.cast(pl.Decimal(38, 0))
    return exact.cast(pl.Int64(), strict=False)


def unread(name: str, value: pl.Expr) -> pl.Expr:
    """Return what is in the column `name` where `value`, made of it, is null."""
    return pl.when(value.is_null()).then(pl.col(name))


def rescue(lost: Mapping[str, pl.Expr]) -> pl.Expr:
    """`_rescued` with the wire fields in `lost` added wherever they are not null."""
    parts = [_member(name, value) for name, value in lost.items()]
    before = pl.col(RESCUED).str.strip_prefix("{").str.strip_suffix("}")
    members = pl.concat_str(before, *parts, separator=", ", ignore_nulls=True)
    anything = pl.any_horizontal(part.is_not_null() for part in [before, *parts])
    return pl.when(anything).then("{" + members + "}").alias(RESCUED)


def _member(name: str, value: pl.Expr) -> pl.Expr:
    """`"name":value` in JSON, null where the value is."""
    member = pl.struct(value.alias(name)).struct.json_encode()
    return pl.when(value.is_not_null()).then(member.str.strip_prefix("{").str.strip_suffix("}"))
