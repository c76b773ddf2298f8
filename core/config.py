"""What config.yaml may say, as frozen models; `configfile` reads it."""

import difflib
import os
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ByteSize,
    ConfigDict,
    Discriminator,
    Field,
    SecretStr,
    Tag,
    model_validator,
)

from core import topics as names
from core.errors import ConfigError


class Model(BaseModel):
    """A frozen section of the configuration that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Kafka(BaseModel):
    """Any librdkafka property, as librdkafka names it; values are handed on untouched."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)
    bootstrap_servers: str = Field(alias="bootstrap.servers")

    def properties(self) -> dict[str, Any]:
        """Return the section as a confluent-kafka configuration."""
        return self.model_dump(by_alias=True)


class Endpoints(Model):
    """Addresses of single services, where they differ."""

    kinesis: str | None = None
    s3: str | None = None


class Aws(Model):
    """Where Kinesis and S3 are; what is not given comes from AWS's own chain."""

    region: str | None = None
    endpoint_url: str | None = None
    endpoint_urls: Endpoints = Endpoints()
    access_key_id: SecretStr | None = None
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None

    @model_validator(mode="after")
    def _whole(self) -> "Aws":
        if bool(self.access_key_id) != bool(self.secret_access_key):
            raise ValueError("access_key_id and secret_access_key belong together")
        if self.session_token and not self.access_key_id:
            raise ValueError("session_token wants access_key_id and secret_access_key")
        return self

    def endpoint(self, service: str) -> str | None:
        """Return the configured address of `service`; None for that of AWS's own chain."""
        own: str | None = getattr(self.endpoint_urls, service, None)
        return own or self.endpoint_url


class Lake(Model):
    """Where the tables are: a folder or `s3://bucket/prefix`."""

    root: str = ".pinpip/lake"

    def uri(self, path: str) -> str:
        """`path` below the root, unless it is absolute or a URL itself."""
        absolute = "://" in path or path.startswith("/")
        return path if absolute else f"{self.root.rstrip('/')}/{path}"


class Tls(Model):
    """PEM files of the server's certificate (with its chain) and of its key."""

    certificate: str
    key: str


KeyHash = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
HostPattern = Annotated[str, Field(pattern=r"^(\*|(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*)$")]
Origin = Annotated[str, Field(pattern=r"^(\*|null|[a-z][a-z0-9+.-]*://[^/?#\sA-Z]+)$")]


class Gateway(Model):
    """The HTTP front."""

    host: str = "127.0.0.1"
    port: int = Field(8082, ge=0, le=65535)
    stage: str = "test"
    tls: Tls | None = None
    api_keys: dict[str, KeyHash] = Field(default_factory=dict)
    hosts: tuple[HostPattern, ...] = ()
    cors_origins: tuple[Origin, ...] = ()
    max_body: ByteSize = ByteSize(10 * 1024 * 1024)
    max_records: int = Field(10_000, ge=1)
    max_in_flight: ByteSize = ByteSize(64 * 1024 * 1024)
    max_connections: int = Field(1000, ge=1)
    max_answers: ByteSize = ByteSize(256 * 1024 * 1024)
    request_timeout: float = Field(20.0, gt=0)
    keep_alive: float = Field(75.0, gt=0)
    drain_wait: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _one_request_fits(self) -> "Gateway":
        if self.max_in_flight < self.max_body:
            raise ValueError("max_in_flight must be at least max_body, or no such body gets in")
        return self

    @property
    def url(self) -> str:
        """Where it listens, the stage not included."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


class Producer(Model):
    """How the emulator's records are sent."""

    gateway_url: str = "http://127.0.0.1:8082/test"
    api_key: SecretStr | None = None
    batch: int = Field(500, ge=1, le=500)
    timeout: float = Field(35.0, gt=0)
    retries: int = Field(5, ge=0)
    patience: float = Field(90.0, ge=0)
    seed: int = 1


class Batching(Model):
    """When a batch is written, and how much memory a consumer may hold."""

    max_records: int = Field(20_000, ge=1)
    max_bytes: ByteSize = ByteSize(32 * 1024 * 1024)
    max_wait: float = Field(1.0, gt=0)
    memory: ByteSize = ByteSize(256 * 1024 * 1024)
    reject_ratio: float = Field(0.5, gt=0, le=1)
    reject_window: int = Field(10_000, ge=1)


class TopicsSection(Model):
    """Topics that one consumer group reads; a name that starts with `^` is a pattern."""

    topics: tuple[Annotated[str, AfterValidator(names.check)], ...] = Field(min_length=1)
    group: str | None = None
    start: Literal["earliest", "latest"] = "earliest"
    tombstones: Literal["quarantine", "drop"] = "quarantine"

    streams: ClassVar[tuple[str, ...]] = ()

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

    stream: str
    start: Literal["trim_horizon", "latest"] = "trim_horizon"
    topics: ClassVar[tuple[str, ...]] = ()
    plain_topics: ClassVar[tuple[str, ...]] = ()
    drops_tombstones: ClassVar[bool] = False  # a record of a stream always has a value

    @property
    def streams(self) -> tuple[str, ...]:
        """The one stream."""
        return (self.stream,)


class DeltaSection(Model):
    """A Delta table below the lake's root, its quarantine beside it."""

    delta: str


class ParquetSection(Model):
    """A chain of Parquet objects: `raw` is an archive to replay from, `clean` the table's rows."""

    parquet: str
    stage: Literal["raw", "clean"] = "raw"


def _kind_of_source(section: object) -> str:
    keys = section if isinstance(section, dict) else vars(section)
    return "kinesis" if "stream" in keys else "kafka"


def _kind_of_sink(section: object) -> str:
    keys = section if isinstance(section, dict) else vars(section)
    return "parquet" if "parquet" in keys else "delta"


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
    schema_: str = Field(alias="schema")
    transform: str
    sinks: tuple[SinkChoice, ...] = Field(min_length=1)
    incarnation: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] = "1"

    @model_validator(mode="after")
    def _one_table(self) -> "Pipeline":
        if len([s for s in self.sinks if isinstance(s, DeltaSection)]) != 1:
            raise ValueError("a pipeline has exactly one delta sink: its quarantine hangs on it")
        return self

    @property
    def table(self) -> str:
        """The Delta table's path below the lake."""
        return next(s.delta for s in self.sinks if isinstance(s, DeltaSection))

    @property
    def reads(self) -> tuple[str, ...]:
        """The topics, patterns or streams of the source."""
        return (*self.source.topics, *self.source.streams)

    @property
    def keeps_raw(self) -> bool:
        """Whether an archive keeps the records as they came, headers included."""
        return any(s.stage == "raw" for s in self.sinks if isinstance(s, ParquetSection))

    def places(self, lake: Lake) -> list[str]:
        """List what only this pipeline may write: its tables, and its archives' folders."""
        table = _one_name(lake.uri(self.table))
        names = sorted({*self.reads})
        roots = [_one_name(s.parquet) for s in self.sinks if isinstance(s, ParquetSection)]
        return [table, f"{table}_quarantine", *(f"{r}/{name}" for r in roots for name in names)]


def _one_name(uri: str) -> str:
    """One of the names that a folder has; keys of a bucket have only one."""
    return uri.rstrip("/") if "://" in uri else os.path.normpath(uri)


class Config(Model):
    """All of config.yaml."""

    id: str = Field(pattern=r"^[A-Za-z0-9]+$")
    kafka: Kafka
    aws: Aws = Aws()
    lake: Lake = Lake()
    gateway: Gateway = Gateway()
    producer: Producer = Producer()
    batching: Batching = Batching()
    pipelines: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")], Pipeline] = Field(
        min_length=1
    )

    @model_validator(mode="after")
    def _places_of_their_own(self) -> "Config":
        """Two writers of one table or chain would fence each other off for ever."""
        owners: dict[str, str] = {}
        for name, pipeline in self.pipelines.items():
            for place in pipeline.places(self.lake):
                if place in owners:
                    both = " and ".join(dict.fromkeys([owners[place], name]))
                    raise ValueError(f"pipelines: {both} would write {place} twice")
                owners[place] = name
        return self

    def pipeline(self, name: str) -> Pipeline:
        """Return the pipeline called `name`; raise ConfigError with the nearest name otherwise."""
        if name not in self.pipelines:
            known = ", ".join(self.pipelines)
            raise ConfigError(
                f"no pipeline is called {name!r}{nearest(name, list(self.pipelines))}",
                f"config.yaml has: {known}",
            )
        return self.pipelines[name]


def nearest(name: str, known: list[str]) -> str:
    """Guess what `name` should have been, as an ending for a message."""
    match = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {match[0]!r}?)" if match else ""
