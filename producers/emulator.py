"""Seeded, endless events with the shapes, shares and unusual texts of the real ones.

A row is a function of (seed, key) alone and event N of (seed, N) alone, so any part of the stream
can be generated again. Keys are drawn with replacement: a repeated key repeats its rows.
"""

import random
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from producers import words
from producers.event import Event, Row

KEYS = 11_000
PEOPLE = 1_500
STORY = "multi-video(story page format)"
JOINED = (datetime(2015, 10, 21), datetime(2017, 10, 20))  # noqa: DTZ001 - the wire has no zone
POSTED = (datetime(2017, 10, 21), datetime(2022, 10, 31))  # noqa: DTZ001
MAX_NAME = 268
MAX_TEXT = 180
THOUSAND, MILLION = 1_000, 1_000_000

CATEGORIES = list(words.TOPICS)
SUBJECTS = {category: nouns.split(",") for category, nouns in words.TOPICS.items()}
BROKEN = {
    "title": "No Title Data Available",
    "description": "No description available Story format",
    "poster_name": "User Info Error",
    "follower_count": "User Info Error",
    "tag_list": "N,o, ,T,a,g,s, ,A,v,a,i,l,a,b,l,e",
    "is_image_or_video": STORY,
    "image_src": "Image src error.",
    "downloaded": 0,
}


def events(seed: int, *, start: int = 0) -> Iterator[Event]:
    """Yield the events of `seed` from number `start` on, without end."""
    made: dict[int, Event] = {}
    for number in count(start):
        key = random.Random(f"{seed} event {number}").randrange(KEYS)
        if key not in made:
            made[key] = event(seed, key)
        yield made[key]


def event(seed: int, key: int) -> Event:
    """Return the three rows with the key `key`."""
    rng = random.Random(f"{seed} key {key}")
    person = _person(seed, key % PEOPLE)
    pin = {"index": key, **_pin(rng, person)}
    return Event(key, {"pin": pin, "geo": _geo(rng, key), "user": {"ind": key, **person}})


def _person(seed: int, number: int) -> Row:
    """Return one person, who owns the keys with the same remainder: seven or eight of them."""
    rng = random.Random(f"{seed} person {number}")
    age = int(rng.triangular(20, 61, 20))
    return {
        "first_name": rng.choice(words.FIRST_NAMES),
        "last_name": rng.choice(words.LAST_NAMES),
        "age": str(age) if _chance(rng, 0.3) else age,
        "date_joined": _moment(rng, *JOINED),
    }


def _geo(rng: random.Random, key: int) -> Row:
    return {
        "ind": key,
        "timestamp": _moment(rng, *POSTED),
        "latitude": round(rng.uniform(-90, 90), 4),
        "longitude": round(rng.uniform(-180, 180), 4),
        "country": rng.choice(words.COUNTRIES),
    }


def _moment(rng: random.Random, first: datetime, last: datetime) -> str:
    seconds = rng.randrange(int((last - first).total_seconds()))
    return (first + timedelta(seconds=seconds)).isoformat(" " if _chance(rng, 0.03) else "T")


def _pin(rng: random.Random, person: Row) -> Row:
    category = rng.choice(CATEGORIES)
    medium = _pick(rng, (STORY, 0.074), ("video", 0.03)) or "image"
    subject = rng.choice(SUBJECTS[category])
    row = {
        "unique_id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        "title": _title(rng, subject),
        "description": _description(rng, subject, medium),
        "poster_name": _poster(rng),
        "follower_count": _followers(rng, person),
        "tag_list": _tags(rng, category),
        "is_image_or_video": medium,
        **_image(rng, medium),
        "save_location": f"Local save in /data/{category}",
        "category": category,
    }
    broken = medium == STORY and _chance(rng, 0.007 / 0.074)
    return row | BROKEN if broken else row


def _chance(rng: random.Random, share: float) -> bool:
    return rng.random() < share


def _pick(rng: random.Random, *chances: tuple[str, float]) -> str | None:
    """Return one of the values, each with its own probability, or None."""
    roll = rng.random()
    for value, chance in chances:
        roll -= chance
        if roll < 0:
            return value
    return None


HAZARDS: list[Callable[[random.Random, str], str]] = [
    lambda rng, text: f"{text} {rng.choice(words.EMOJI)}",
    lambda rng, text: f"{rng.choice(words.EMOJI)}{text}{rng.choice(words.EMOJI)}",
    lambda rng, text: f"{rng.choice(words.FOREIGN)} {text}",
    lambda rng, _: f"{rng.choice(words.FOREIGN)} {rng.randrange(100)}",
    lambda rng, text: f'"{text}" {rng.randrange(10, 100)}" wide',
    lambda rng, text: f"{text}\n{rng.choice(words.QUALITIES)}!\r\n",
    lambda rng, text: f"{text} \\ {rng.choice(words.TAGS)} \\n C:\\new",
    lambda rng, text: f"{text} &amp; {rng.choice(words.TAGS)} &#39;n&#39; more",
    lambda rng, text: f"{text} \ufffd{rng.choice(words.ENDINGS)}",
    lambda rng, text: f"{text}  | {rng.choice(words.SITES)}",
    lambda _, text: f"{text}  ",
    lambda _, text: f"\u200b{text}\t…\u00a0",
]


def _title(rng: random.Random, subject: str) -> str:
    rare = _pick(rng, ("", 0.0005), ("Untitled", 0.00025))
    if rare is not None:
        return rare
    name = f"{rng.choice(words.QUALITIES)} {subject.title()} {rng.choice(words.ENDINGS)}"
    text = f"{rng.randrange(3, 60)} {name}" if _chance(rng, 0.4) else name
    return rng.choice(HAZARDS)(rng, text) if _chance(rng, 0.25) else text


def _description(rng: random.Random, subject: str, medium: str) -> str:
    if medium == STORY:
        return str(BROKEN["description"])
    rare = _pick(rng, ("No description available", 0.016 / 0.926), ("Untitled", 0.00025))
    if rare is not None:
        return rare
    lines = words.FOREIGN if _chance(rng, 0.03) else words.SENTENCES
    text = f"{subject.capitalize()}: " + " ".join(
        rng.choices(lines, k=rng.choice((1, 2, 3, 3, 12)))
    )
    if _chance(rng, 0.15):
        text = rng.choice(HAZARDS)(rng, text)
    return f"{text[:MAX_TEXT]}…\u00a0" if len(text) > MAX_TEXT else text


def _poster(rng: random.Random) -> str:
    name = f"{rng.choice(words.POSTERS)} {rng.choice(words.TRADES)}"
    if _chance(rng, 0.002):
        line = " | ".join(rng.choices(words.POSTERS + words.TAGS, k=40))
        return line[: rng.randrange(100, MAX_NAME + 1)]
    return f"{name} {rng.choice(words.EMOJI)}" if _chance(rng, 0.06) else name


def _followers(rng: random.Random, person: Row) -> str:
    """Return a log-normal count that decreases with the person's age and join date."""
    joined = datetime.fromisoformat(person["date_joined"]) - JOINED[0]
    years, age = joined.days / 365, int(person["age"])
    size = 10 ** min(rng.gauss(4.2 - 0.03 * (age - 34) - 0.4 * (years - 1), 1.22), 7.7)
    if size < THOUSAND:
        return str(int(size))
    return f"{int(size / THOUSAND)}k" if size < MILLION else f"{int(size / MILLION)}M"


def _tags(rng: random.Random, category: str) -> str:
    if _chance(rng, 0.007):
        return str(BROKEN["tag_list"])
    chosen = rng.sample(words.TAGS, rng.randrange(4, 10))
    return ",".join(f"{rng.choice(SUBJECTS[category]).title()} {tag}" for tag in chosen)


def _image(rng: random.Random, medium: str) -> dict[str, Any]:
    if _chance(rng, 0.016):
        return {"image_src": BROKEN["image_src"], "downloaded": 0}
    name = f"{rng.getrandbits(128):032x}"
    path = f"originals/{name[:2]}/{name[2:4]}/{name[4:6]}/{name}"
    downloaded = "1" if _chance(rng, 0.1) else 1
    if medium == "image":
        return {"image_src": f"https://img.example.com/{path}.jpg", "downloaded": downloaded}
    source = f"https://img.example.com/videos/thumbnails/{path}.0000001.jpg"
    return {"image_src": source, "downloaded": downloaded}
