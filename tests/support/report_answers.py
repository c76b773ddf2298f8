"""The questions answered a second time, in plain Python, from the same rows."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tests.support.report_tables import Row

GROUPS = {"18-24": range(18, 25), "25-35": range(25, 36), "36-50": range(36, 51)}


class Post(NamedTuple):
    """One key with what its three records say; None where there is no record or no value."""

    category: str | None
    poster: str | None
    followers: int | None
    country: str | None
    year: int | None
    age_group: str | None
    joined: int | None
    has_geo: bool
    has_user: bool


def expected(
    pins: Sequence[Row], geos: Sequence[Row], users: Sequence[Row]
) -> dict[str, list[Row]]:
    """Return the rows of each answer by the query's name, without its descriptive part."""
    people = _newest(users)
    posts = _posts(_newest(pins), _newest(geos), people)
    joined = Counter(
        row[3].year for row in {row[1:]: row for row in people.values()}.values() if row[3]
    )
    in_years = [p for p in posts if p.year and 2018 <= p.year <= 2022]
    new = [p for p in posts if p.joined and 2015 <= p.joined <= 2020]
    return {
        "q0": [_coverage(posts)],
        "q1": _popular(posts, lambda p: p.country),
        "q2_1": sorted(
            ((*key, n) for key, n in _counts(in_years, lambda p: p.year).items()),
            key=lambda row: (row[0], -row[2], row[1]),
        ),
        "q2_2": _popular(in_years, lambda p: p.year),
        "q3_1": _followed(posts),
        "q3_2": _most_followed(posts),
        "q4": _popular(posts, lambda p: p.age_group),
        "q5": _medians(posts, lambda p: (p.age_group,)),
        "q6": sorted((year, n) for year, n in joined.items() if 2015 <= year <= 2020),
        "q7": _medians(new, lambda p: (p.joined,)),
        "q8": _medians(new, lambda p: (p.age_group, p.joined)),
        "q9": _medians(in_years, lambda p: (p.age_group, p.year)),
    }


def _newest(rows: Sequence[Row]) -> dict[int, Row]:
    """Return the last row of each key: the rows are in the order of their timestamps."""
    return {row[0]: row for row in rows}


def _posts(
    pins: Mapping[int, Row], geos: Mapping[int, Row], users: Mapping[int, Row]
) -> list[Post]:
    posts = []
    for key, (_, category, poster, followers) in pins.items():
        _, country, time = geos.get(key, (key, None, None))
        _, _, age, date = users.get(key, (key, None, None, None))
        posts.append(
            Post(
                category,
                poster,
                followers,
                country,
                time and time.year,
                _group(age),
                date and date.year,
                key in geos,
                key in users,
            )
        )
    return posts


def _group(age: int | None) -> str | None:
    if age is None or age < 18:
        return None
    return next((name for name, ages in GROUPS.items() if age in ages), "50+")


def _coverage(posts: Sequence[Post]) -> Row:
    outside = [p for p in posts if p.year and not 2018 <= p.year <= 2022]
    return len(posts), sum(p.has_geo for p in posts), sum(p.has_user for p in posts), len(outside)


def _counts(posts: Iterable[Post], by: Callable[[Post], Any]) -> Counter[tuple[Any, str]]:
    return Counter((by(p), p.category) for p in posts if by(p) is not None and p.category)


def _popular(posts: Iterable[Post], by: Callable[[Post], Any]) -> list[Row]:
    counts = _counts(posts, by)
    most = {group: max(n for (g, _), n in counts.items() if g == group) for group, _ in counts}
    winners = [(*key, n) for key, n in sorted(counts.items()) if n == most[key[0]]]
    ties = Counter(group for group, _, _ in winners)
    return [(*row, _note(ties[row[0]], single=row[2] == 1)) for row in winners]


def _note(ties: int, *, single: bool) -> str | None:
    said = [f"{ties} tie"] * (ties > 1) + ["1 post"] * single
    return ", ".join(said) or None


def _followed(posts: Iterable[Post]) -> list[Row]:
    by_country: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for p in posts:
        if p.country and p.poster and p.followers is not None:
            by_country[p.country].append((p.poster, p.followers))
    rows: list[Row] = []
    for country, found in sorted(by_country.items()):
        most = max(n for _, n in found)
        names = sorted({name for name, n in found if n == most})
        note = _note(len(names), single=len(found) == 1)
        rows += [(country, name, most, note) for name in names]
    return rows


def _most_followed(posts: Iterable[Post]) -> list[Row]:
    rows = [row[:3] for row in _followed(posts)]
    winners = [row for row in rows if row[2] == max(n for _, _, n in rows)]
    return [(*row, _note(len(winners), single=False)) for row in winners]


def _medians(posts: Iterable[Post], by: Callable[[Post], tuple[Any, ...]]) -> list[Row]:
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for p in posts:
        if None not in by(p) and p.followers is not None:
            groups[by(p)].append(p.followers)
    return sorted((*group, float(statistics.median(ns))) for group, ns in groups.items())
