"""Names of topics in a configuration: a name that starts with `^` is a pattern.

librdkafka subscribes to every topic that matches, also to later ones (rd_kafka_subscribe); what
verify and status look at must be the same.
"""

import re
from collections.abc import Collection

_MARK = "^"
_LEGAL = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_INTERNAL = "__"  # Kafka's own topics, such as __consumer_offsets, match no pattern
HIDDEN = "readers of Parquet skip names that begin with a dot"
INTERNAL = f"^{_INTERNAL}"


def is_pattern(name: str) -> bool:
    """Whether `name` stands for all topics that it matches."""
    return name.startswith(_MARK)


def check(name: str) -> str:
    """Return the name; ValueError for one that Kafka does not allow.

    Also for a pattern that librdkafka and Python read differently. Source of the rules: Apache
    Kafka, org.apache.kafka.common.internals.Topic.validate.
    """
    if is_pattern(name):
        if "[:" in name:
            raise ValueError(f"{name}: write [a-z0-9] instead of a POSIX class such as [:alnum:]")
        try:
            re.compile(name)
        except re.error as error:
            raise ValueError(f"{name} is not a regular expression: {error}") from error
    elif not _LEGAL.fullmatch(name) or name in {".", ".."}:
        raise ValueError(
            "is no name of a topic: Kafka allows 249 letters, digits, `.`, `_` and `-`"
            if name
            else "is empty"
        )
    return name


def matches(name: str, topic: str) -> bool:
    """Whether `name` is that topic, or a pattern for it."""
    if not is_pattern(name):
        return name == topic
    return re.search(name, topic) is not None and not topic.startswith(_INTERNAL)


def overlap(one: str, other: str) -> bool | None:
    """Whether some topic matches both names; None where two patterns leave it open."""
    if one != other and is_pattern(one) and is_pattern(other):
        return None
    return one == other or matches(one, other) or matches(other, one)


def named(names: Collection[str], known: Collection[str]) -> list[str]:
    """Return the topics that `names` mean: plain names, and what of `known` matches a pattern."""
    found: dict[str, None] = {}
    for name in names:
        own = sorted(topic for topic in known if matches(name, topic))
        found |= dict.fromkeys(own if is_pattern(name) else [name])
    return list(found)
