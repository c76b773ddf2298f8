"""How each answer is shown: which chart, what is compared, and the names of its columns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["ranked", "groups", "line", "grid"]

_POSTED = range(2018, 2023)  # the years that the questions name
_JOINED = range(2015, 2021)
_AGES = ("18-24", "25-35", "36-50", "50+")


@dataclass(frozen=True)
class Shape:
    """A chart of the column `value` by the column `by`.

    `ranked`: bars, the highest first; `groups`: bars, each of `all` in its place; `line`: over the
    years in `all`; `grid`: `across` the years in `all`, a row for each `by`. `winner`: the column
    whose text stands at a bar. `unit`: what the numbers count. `names`: headings of the table.
    """

    kind: Kind
    by: str
    value: str
    unit: str
    names: Mapping[str, str]
    all: tuple[str, ...] = ()
    winner: str = ""
    across: str = ""
    rows: tuple[str, ...] = ()


def _texts(years: range) -> tuple[str, ...]:
    return tuple(map(str, years))


_COUNT, _FOLLOWERS, _MEDIAN = "category_count", "follower_count", "median_follower_count"
_POSTS = {_COUNT: "posts", "category": "category", "note": "note"}
_POSTERS = {"country": "country", "poster_name": "user", _FOLLOWERS: "followers", "note": "note"}
_AGED = {"age_group": "age group", _MEDIAN: "median followers"}

SHAPES: Mapping[str, Shape] = {
    "1": Shape(
        "ranked", "country", _COUNT, "posts", {"country": "country"} | _POSTS, winner="category"
    ),
    "2.1": Shape(
        "grid",
        "category",
        _COUNT,
        "posts",
        {"post_year": "year"} | _POSTS,
        all=_texts(_POSTED),
        across="post_year",
    ),
    "2.2": Shape(
        "groups",
        "post_year",
        _COUNT,
        "posts",
        {"post_year": "year"} | _POSTS,
        all=_texts(_POSTED),
        winner="category",
    ),
    "3.1": Shape("ranked", "country", _FOLLOWERS, "followers", _POSTERS, winner="poster_name"),
    "3.2": Shape("ranked", "country", _FOLLOWERS, "followers", _POSTERS, winner="poster_name"),
    "4": Shape(
        "groups",
        "age_group",
        _COUNT,
        "posts",
        {"age_group": "age group"} | _POSTS,
        all=_AGES,
        winner="category",
    ),
    "5": Shape("groups", "age_group", _MEDIAN, "median followers", _AGED, all=_AGES),
    "6": Shape(
        "line",
        "post_year",
        "number_users_joined",
        "users joined",
        {"post_year": "year joined", "number_users_joined": "users joined"},
        all=_texts(_JOINED),
    ),
    "7": Shape(
        "line",
        "post_year",
        _MEDIAN,
        "median followers",
        {"post_year": "year joined", _MEDIAN: "median followers"},
        all=_texts(_JOINED),
    ),
    "8": Shape(
        "grid",
        "age_group",
        _MEDIAN,
        "median followers",
        _AGED | {"post_year": "year joined"},
        all=_texts(_JOINED),
        across="post_year",
        rows=_AGES,
    ),
    "9": Shape(
        "grid",
        "age_group",
        _MEDIAN,
        "median followers",
        _AGED | {"post_year": "year of the post"},
        all=_texts(_POSTED),
        across="post_year",
        rows=_AGES,
    ),
}
