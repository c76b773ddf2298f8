"""Where `pinpip produce` sends rows: the topic or stream, and the record type, of each target.

A target is the emulator's (pin, geo, user), a pipeline's, or a topic's that a pipeline reads.
"""

from dataclasses import dataclass, replace

from core import topics
from core.config import Config, Where
from core.errors import ConfigError
from producers.record_type import RecordType
from transforms import geo, pin, user
from transforms.load import load_schema
from transforms.schema import Schema

EXAMPLES = {"pin": pin.SCHEMA, "geo": geo.SCHEMA, "user": user.SCHEMA}
KINESIS_KEY = 256  # characters of a partition key, PutRecords


@dataclass(frozen=True)
class Target:
    """A record type, and the topic and the stream for it; None: the route is not for it."""

    type: RecordType
    topic: str | None = None
    stream: str | None = None


def emulated(config: Config) -> list[Target]:
    """Return the targets of the emulator's events: a topic and a stream for pin, geo and user."""
    return [
        Target(_type(name, schema), f"{config.id}.{name}", f"streaming-{config.id}-{name}")
        for name, schema in EXAMPLES.items()
    ]


def of_pipeline(config: Config, name: str, topic: str | None = None) -> Target:
    """Return the target of a pipeline: its stream, or its topic.

    Rows are sent with a key that its `where` takes. Raises ConfigError where several topics are
    possible and none is given, or another one is, and where `where` tests a header.
    """
    pipeline = config.pipeline(name)
    own = _keyed(name, _type(name, load_schema(pipeline.schema_)), pipeline.source.where)
    names = pipeline.source.topics
    if not names:
        if topic is not None:
            raise ConfigError(f"pipeline {name} reads a stream, not topics", "leave out --topic")
        limited = replace(own, longest_key=KINESIS_KEY)
        return Target(limited, stream=pipeline.source.streams[0])
    chosen = topic or _only(name, names)
    if not any(topics.matches(each, chosen) for each in names):
        raise ConfigError(
            f"pipeline {name} does not read the topic {chosen}", f"it reads {', '.join(names)}"
        )
    return Target(own, topic=chosen)


def of_topic(config: Config, topic: str) -> Target | None:
    """Return the target of a topic by the pipeline that reads it; None when none does.

    Raises ConfigError when pipelines with different schemas read it, or a `where` among several.
    """
    readers = [
        name
        for name, pipeline in config.pipelines.items()
        if any(topics.matches(each, topic) for each in pipeline.source.topics)
    ]
    schemas = {config.pipelines[name].schema_ for name in readers}
    tests = [config.pipelines[name].source.where for name in readers]
    if len(schemas) > 1 or (len(readers) > 1 and any(tests)):
        differ = "schemas" if len(schemas) > 1 else "records (`where`)"
        raise ConfigError(
            f"the pipelines {', '.join(readers)} read the topic {topic}, with different {differ}",
            "name the one whose rows these are: --pipeline",
        )
    if not schemas:
        return None
    own = _type(topic, load_schema(schemas.pop()))
    return Target(_keyed(readers[0], own, tests[0]), topic=topic)


def _keyed(name: str, own: RecordType, where: Where | None) -> RecordType:
    if where is None:
        return own
    if where.header_name is not None:
        raise ConfigError(
            f"pipeline {name} takes the records whose {where}, and produce sends no headers",
            "send these records with a Kafka client",
        )
    if where.prefix is not None:
        return replace(own, key_prefix=where.prefix)
    return replace(own, sent_key=where.texts[0])


def _only(name: str, names: tuple[str, ...]) -> str:
    if len(names) > 1 or topics.is_pattern(names[0]):
        raise ConfigError(
            f"pipeline {name} reads several topics: {', '.join(names)}",
            "name the one to send to: --topic",
        )
    return names[0]


def _type(name: str, schema: Schema) -> RecordType:
    return RecordType(name, schema.key, schema.fields)
