"""Events: one row per record type, all with the same key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]

KEY = {"pin": "index", "geo": "ind", "user": "ind"}
FIELDS = {
    "pin": (
        "index",
        "unique_id",
        "title",
        "description",
        "poster_name",
        "follower_count",
        "tag_list",
        "is_image_or_video",
        "image_src",
        "downloaded",
        "save_location",
        "category",
    ),
    "geo": ("ind", "timestamp", "latitude", "longitude", "country"),
    "user": ("ind", "first_name", "last_name", "age", "date_joined"),
}


@dataclass(frozen=True, slots=True)
class Event:
    """Rows by record type (such as pin), all with the key `key`; rows must not be changed."""

    key: Any  # int, float or text
    rows: Mapping[str, Row]
