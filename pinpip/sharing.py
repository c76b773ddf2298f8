"""What can be said of pipelines that share a topic or stream before any record is read."""

from collections.abc import Iterator
from itertools import combinations

from core.config import Config, Pipeline


def notes(config: Config) -> Iterator[str]:
    """Yield where pipelines overlap, and the pipelines whose other records nobody takes."""
    for (one, first), (other, second) in combinations(config.pipelines.items(), 2):
        if said := _overlap(first, second):
            yield f"{one} and {other} both take {said} of {_source(first)}"
    told: set[frozenset[str]] = set()
    for name, pipeline in config.pipelines.items():
        together = {name: pipeline, **config.neighbours(name)}
        names = frozenset(together)
        if names not in told and all(p.source.where for p in together.values()):
            told.add(names)
            those = ", ".join(n for n in config.pipelines if n in names)
            yield (
                f"no pipeline takes the other records of {_source(pipeline)} (read by {those}): "
                "pinpip status counts them as unclaimed"
            )


def _overlap(first: Pipeline, second: Pipeline) -> str | None:
    """Describe which records both take; None where none are, or where it is not known."""
    one, other = first.source.where, second.source.where
    if not first.shares(second) or not (one or other):
        return None
    if one is None or other is None:
        return f"the records whose {one or other}"
    both = one.overlap(other)
    return None if both is None else f"records whose {one.tested} is {both!r}"


def _source(pipeline: Pipeline) -> str:
    kind = "topic" if pipeline.source.topics else "stream"
    return f"{kind} {', '.join(pipeline.reads)}"
