"""What config.yaml may say, as frozen models; `configfile` reads it."""

import difflib
from itertools import combinations

from pydantic import Field, model_validator

from core import paths
from core.config_types import Identifier, Misplaced, Word
from core.errors import ConfigError
from core.pipeline import (
    DeltaSection,
    ParquetSection,
    Pipeline,
    StreamSection,
    TopicsSection,
    latest_of,
    quarantine_of,
)
from core.sections import (
    LOG_FORMAT,
    LOG_LEVEL,
    Aws,
    Batching,
    Endpoints,
    Flush,
    Gateway,
    Kafka,
    Lake,
    Located,
    Log,
    Maintain,
    Model,
    Monitor,
    Producer,
    Tls,
)
from core.selection import TextTest, Where

__all__ = [
    "LOG_FORMAT",
    "LOG_LEVEL",
    "Aws",
    "Batching",
    "Config",
    "DeltaSection",
    "Endpoints",
    "Flush",
    "Gateway",
    "Kafka",
    "Lake",
    "Located",
    "Log",
    "Maintain",
    "Model",
    "Monitor",
    "ParquetSection",
    "Pipeline",
    "Producer",
    "StreamSection",
    "TextTest",
    "Tls",
    "TopicsSection",
    "Where",
    "nearest",
]


class Config(Located):
    """All of config.yaml."""

    id: Identifier
    kafka: Kafka | None = None
    aws: Aws = Aws()
    lake: Lake = Lake()
    gateway: Gateway = Gateway()
    monitor: Monitor = Monitor()
    producer: Producer = Producer()
    batching: Batching = Batching()
    maintain: Maintain = Maintain()
    log: Log = Log()
    pipelines: dict[Word, Pipeline] = Field(min_length=1)

    @model_validator(mode="after")
    def _brokers_of_topics(self) -> "Config":
        for name, pipeline in self.pipelines.items():
            if self.kafka is None and pipeline.source.topics:
                raise Misplaced(f"is missing: pipeline {name} reads topics", "kafka")
        return self

    @model_validator(mode="after")
    def _apart_at_one_source(self) -> "Config":
        """Pipelines of one topic have groups and archives of their own."""
        for one, other in combinations(self.pipelines, 2):
            first, second = self.pipelines[one], self.pipelines[other]
            if not first.shares(second):
                continue
            if first.source.topics and self.group(one) == self.group(other):
                raise Misplaced(
                    f"{one} and {other} would read one topic in the group "
                    f"{self.group(one)}: each would get only some of its partitions; give each a "
                    "`group` of its own",
                    *("pipelines", other),
                )
            for root in sorted(first.archive_roots & second.archive_roots):
                topic = next((n for n in first.reads if n in second.reads), first.reads[0])
                raise Misplaced(
                    f"{one} and {other} would write {root}/{topic} twice: give each "
                    f"archive a place of its own, for example {root}/{one} and {root}/{other}",
                    *("pipelines", other),
                )
        return self

    @model_validator(mode="after")
    def _places_of_their_own(self) -> "Config":
        """Two writers of one table or chain would fence each other off for ever."""
        owners: dict[str, str] = {}
        for name, pipeline in self.pipelines.items():
            _check_places(name, pipeline, self.lake)
            for place in pipeline.places(self.lake):
                own = paths.identity(place)
                if own in owners:
                    both = " and ".join(dict.fromkeys([owners[own], name]))
                    raise Misplaced(f"{both} would write {place} twice", "pipelines", name)
                owners[own] = name
        return self

    def group(self, name: str) -> str:
        """Return the consumer group of the pipeline `name`."""
        source = self.pipelines[name].source
        own = source.group if isinstance(source, TopicsSection) else None
        return own or f"pinpip-{self.id}-{name}"

    def maintained(self, name: str) -> Maintain:
        """Return how the tables of `name` are kept: the section, with the pipeline's own keys."""
        own = self.pipeline(name).maintain
        return self.maintain.model_copy(update={k: getattr(own, k) for k in own.model_fields_set})

    def neighbours(self, name: str) -> dict[str, Pipeline]:
        """Return the other pipelines that read, or may read, a topic or stream of `name`."""
        own, others = self.pipeline(name), self.pipelines.items()
        return {n: p for n, p in others if n != name and own.shares(p) is not False}

    def pipeline(self, name: str) -> Pipeline:
        """Return the pipeline called `name`; raise ConfigError with the nearest name otherwise."""
        if name not in self.pipelines:
            known = ", ".join(self.pipelines)
            raise ConfigError(
                f"no pipeline is called {name!r}{nearest(name, list(self.pipelines))}",
                f"{self.file.path} has: {known}",
            )
        return self.pipelines[name]


def _check_places(name: str, pipeline: Pipeline, lake: Lake) -> None:
    """Raise Misplaced where tables or archives cannot be, the folders above them included."""
    table = lake.uri(pipeline.table)
    for place in (
        table,
        quarantine_of(table),
        latest_of(table),
        *(a.parquet for a in pipeline.archives),
    ):
        try:
            paths.check(place)
            paths.check(paths.identity(place))  # the folders above a relative one
        except ValueError as error:
            raise Misplaced(str(error), "pipelines", name) from error


def nearest(name: str, known: list[str]) -> str:
    """Guess what `name` should have been, as an ending for a message."""
    match = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {match[0]!r}?)" if match else ""
