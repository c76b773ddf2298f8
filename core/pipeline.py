"""A pipeline of config.yaml: its source, schema, transform and sinks, as frozen models."""

import os
from collections.abc import Container
from datetime import timedelta
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from core import paths
from core import topics as names
from core.config_file import ConfigPlace, at_home
from core.config_types import Incarnation, Misplaced, OneOrMany, Period, StreamName, Text
from core.sections import Flush, Lake, Maintain, Model
from core.selection import Where

SHORTEST = timedelta(days=7)  # of `keep`: far above what a paused writer knows of a chain

TopicName = Annotated[str, AfterValidator(names.check)]


class TopicsSection(Model):
    """Topics that one consumer group reads; a name that starts with `^` is a pattern."""

    topics: Annotated[tuple[TopicName, ...], OneOrMany()] = Field(min_length=1)
    group: Text | None = None
    start: Literal["earliest", "latest"] = "earliest"
    tombstones: Literal["quarantine", "drop"] = "quarantine"
    where: Where | None = None

    streams: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _testable(self) -> "TopicsSection":
        if self.where is not None and self.where.partition_key is not None:
            what = "a topic's records have a key and headers, no partition_key"
            raise Misplaced(what, "where")
        return self

    @model_validator(mode="after")
    def _each_once(self) -> "TopicsSection":
        for number, name in enumerate(self.topics):
            if name in self.topics[:number]:
                raise Misplaced(f"names {name} twice", "topics", number)
        return self

    @property
    def plain_topics(self) -> tuple[str, ...]:
        """The topics that are named, not matched by a pattern."""
        return tuple(name for name in self.topics if not names.is_pattern(name))

    @property
    def drops_tombstones(self) -> bool:
        """Whether records without a value are filtered out instead of quarantined."""
        return self.tombstones == "drop"


class StreamSection(Model):
    """One stream."""

    stream: StreamName
    start: Literal["trim_horizon", "latest"] = "trim_horizon"
    where: Where | None = None
    topics: ClassVar[tuple[str, ...]] = ()
    plain_topics: ClassVar[tuple[str, ...]] = ()
    drops_tombstones: ClassVar[bool] = False  # a record of a stream always has a value

    @model_validator(mode="after")
    def _testable(self) -> "StreamSection":
        if self.where is not None and self.where.partition_key is None:
            raise ValueError("where: a stream's records have a partition_key, no key or header")
        return self

    @property
    def streams(self) -> tuple[str, ...]:
        """The one stream."""
        return (self.stream,)


class DeltaSection(Model):
    """A Delta table below the lake's root, its quarantine beside it."""

    delta: Annotated[Text, AfterValidator(paths.check_below), AfterValidator(at_home)]


class ParquetSection(Model):
    """A chain of Parquet objects: `raw` is an archive to replay from, `clean` the table's rows.

    `keep`: how long `pinpip maintain` keeps an object; None: for ever.
    """

    parquet: ConfigPlace
    stage: Literal["raw", "clean"] = "raw"
    flush: Flush = Flush()
    keep: Period | None = None

    @model_validator(mode="after")
    def _long_enough(self) -> "ParquetSection":
        if self.keep is not None and self.keep < SHORTEST:
            what = "must be a week at least: a paused writer must find what it wrote"
            raise Misplaced(what, "keep")
        return self


def _keys(section: object) -> Container[str] | None:
    """Return the keys of a section, raw or read; None for what is no mapping."""
    if isinstance(section, Model):
        return type(section).model_fields
    return section if isinstance(section, dict) else None


def _kind_of_source(section: object) -> str | None:
    keys = _keys(section)
    return None if keys is None else "kinesis" if "stream" in keys else "kafka"


def _kind_of_sink(section: object) -> str | None:
    keys = _keys(section)
    return None if keys is None else "parquet" if "parquet" in keys else "delta"


SinkChoice = Annotated[
    Annotated[DeltaSection, Tag("delta")] | Annotated[ParquetSection, Tag("parquet")],
    Discriminator(_kind_of_sink),
]


class Pipeline(Model):
    """One flow: source, schema on the wire, transform, sinks."""

    source: Annotated[
        Annotated[TopicsSection, Tag("kafka")] | Annotated[StreamSection, Tag("kinesis")],
        Discriminator(_kind_of_source),
    ]
    schema_: Text = Field(alias="schema")
    transform: Text
    sinks: Annotated[tuple[SinkChoice, ...], OneOrMany()] = Field(min_length=1)
    mode: Literal["append", "upsert"] = "append"
    key: Text | None = None
    order: Text | None = None
    every: float | None = Field(default=None, ge=1)
    incarnation: Incarnation = "1"
    maintain: Maintain = Maintain()

    @model_validator(mode="after")
    def _latest_of_what(self) -> "Pipeline":
        """Refuse a key without `upsert`, `upsert` without one, and tombstones that nobody keeps."""
        given = [n for n in ("key", "order", "every") if getattr(self, n) is not None]
        if self.mode == "append" and given:
            what = f"{given[0]} is of pipelines with `mode: upsert`"
            raise Misplaced(what, given[0])
        if self.mode == "upsert" and self.key is None:
            what = "mode: upsert needs the `key` whose latest row is kept, for example `key: ind`"
            raise Misplaced(what, "mode")
        if self.mode == "upsert" and self.source.drops_tombstones:
            what = "a tombstone that is dropped deletes nothing: leave `tombstones` out"
            raise Misplaced(what, "source", "tombstones")
        return self

    @model_validator(mode="after")
    def _one_table(self) -> "Pipeline":
        if len([s for s in self.sinks if isinstance(s, DeltaSection)]) != 1:
            what = "a pipeline has exactly one delta sink: its quarantine hangs on it"
            raise Misplaced(what, "sinks")
        return self

    @model_validator(mode="after")
    def _can_be_archived(self) -> "Pipeline":
        for name in self.reads:
            if self.archives and name.startswith("."):
                what = f"{name} cannot be archived in {self.archives[0].parquet}: {names.HIDDEN}"
                raise Misplaced(what, "sinks")
        return self

    @property
    def table(self) -> str:
        """The Delta table's path below the lake."""
        return next(s.delta for s in self.sinks if isinstance(s, DeltaSection))

    @property
    def is_upsert(self) -> bool:
        """Whether a second table has the latest row of each key."""
        return self.mode == "upsert"

    @property
    def reads(self) -> tuple[str, ...]:
        """The topics, patterns or streams of the source."""
        return (*self.source.topics, *self.source.streams)

    @property
    def keeps_raw(self) -> bool:
        """Whether an archive keeps the records as they came, headers included."""
        return any(archive.stage == "raw" for archive in self.archives)

    @property
    def archives(self) -> list[ParquetSection]:
        """Its Parquet sinks."""
        return [s for s in self.sinks if isinstance(s, ParquetSection)]

    @property
    def tests_headers(self) -> bool:
        """Whether its `where` looks at a header."""
        return self.source.where is not None and self.source.where.header_name is not None

    def shares(self, other: "Pipeline") -> bool | None:
        """Whether both read one topic or stream; None where two patterns leave it open."""
        if {*self.source.streams} & {*other.source.streams}:
            return True
        pairs = ((a, b) for a in self.source.topics for b in other.source.topics)
        found = {names.overlap(a, b) for a, b in pairs}
        return True if True in found else (None if None in found else False)

    def places(self, lake: Lake) -> list[str]:
        """List what only this pipeline may write: its tables, and its archives' folders."""
        table = lake.uri(self.table)
        own = [table, quarantine_of(table), *([latest_of(table)] if self.is_upsert else [])]
        tables = [_one_name(one) for one in own]
        names = sorted({*self.reads})
        return [*tables, *(f"{r}/{name}" for r in self._roots for name in names)]

    @property
    def archive_roots(self) -> set[str]:
        """The folders or prefixes of its archives."""
        return set(self._roots)

    @property
    def _roots(self) -> list[str]:
        return [_one_name(archive.parquet) for archive in self.archives]


def quarantine_of(table: str) -> str:
    """Return where the quarantine of the table at a place is."""
    return f"{table}_quarantine"


def latest_of(table: str) -> str:
    """Return where the latest rows of the table at a place are."""
    return f"{table}_latest"


def _one_name(uri: str) -> str:
    """One of the names that a folder has; keys of a bucket have only one."""
    return uri.rstrip("/") if "://" in uri else os.path.normpath(uri)
