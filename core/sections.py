"""The sections of config.yaml beside its pipelines, as frozen models."""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    field_validator,
    model_validator,
)

from core import local
from core.config_file import ConfigFile, ConfigPath, ConfigPlace, read_from
from core.config_types import (
    BOOLEAN,
    HostPattern,
    KeyHash,
    Misplaced,
    OneOrMany,
    Origin,
    Period,
    Size,
    Text,
)


class Model(BaseModel):
    """A frozen section of the configuration that refuses unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean(cls, value: object) -> object:
        """Refuse true and false, which pydantic would take for 1 and 0: no key is a switch."""
        if isinstance(value, bool):
            raise ValueError(BOOLEAN)  # noqa: TRY004  # pydantic expects it
        return value


class Located(Model):
    """A section that knows which file it was read from."""

    _file: ConfigFile = PrivateAttr(default=ConfigFile())

    def model_post_init(self, context: Any) -> None:
        """Keep the file."""
        self._file = read_from(context)

    @property
    def file(self) -> ConfigFile:
        """The file."""
        return self._file


class Kafka(Located):
    """Any librdkafka property, as librdkafka names it; values are handed on untouched.

    Only files are located, relative to the folder of the configuration.
    """

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)
    bootstrap_servers: Text = Field(alias="bootstrap.servers")

    def properties(self) -> dict[str, Any]:
        """Return the section as a confluent-kafka configuration; StackDown without its `local`."""
        given = self.model_dump(by_alias=True)
        files = {k: self._file.absolute(v) for k, v in given.items() if _is_file(k, v)}
        return {**given, **files, "bootstrap.servers": self.address}

    @property
    def address(self) -> str:
        """Return the brokers' addresses; raise StackDown without the embedded stack."""
        own = self.bootstrap_servers
        return local.address(self._file.stack, "kafka") if own == local.LOCAL else own


def _is_file(name: str, value: object) -> bool:
    """Whether a librdkafka property names a file; `probe` lets librdkafka look for it."""
    named = name.endswith(".location") or name == "sasl.kerberos.keytab"
    return named and isinstance(value, str) and value not in {"", "probe"}


class Endpoints(Model):
    """Addresses of single services, where they differ."""

    kinesis: str | None = None
    s3: str | None = None


class Aws(Located):
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
            given = "access_key_id" if self.access_key_id else "secret_access_key"
            raise Misplaced("needs the other of access_key_id and secret_access_key", given)
        if self.session_token and not self.access_key_id:
            raise Misplaced("needs access_key_id and secret_access_key", "session_token")
        return self

    def endpoint(self, service: str) -> str | None:
        """Return the configured address of `service`; None for that of AWS's own chain.

        Raises StackDown when it is `local` and the embedded stack does not run.
        """
        own: str | None = getattr(self.endpoint_urls, service, None) or self.endpoint_url
        return local.address(self._file.stack, "aws") if own == local.LOCAL else own

    @property
    def keys(self) -> tuple[str, str, str | None] | None:
        """Return access key id, secret key and token; None for those of AWS's own chain."""
        if self.endpoint_url == local.LOCAL:
            return (*local.KEYS, None)
        if not (self.access_key_id and self.secret_access_key):
            return None
        token = self.session_token.get_secret_value() if self.session_token else None
        return (
            self.access_key_id.get_secret_value(),
            self.secret_access_key.get_secret_value(),
            token,
        )


class Lake(Model):
    """Where the tables are: a folder or `s3://bucket/prefix`."""

    root: ConfigPlace = Field(".pinpip/lake", validate_default=True)

    def uri(self, path: str) -> str:
        """`path` below the root, unless it is absolute or a URL itself."""
        absolute = "://" in path or path.startswith("/")
        return path if absolute else f"{self.root.rstrip('/')}/{path}"


class Tls(Model):
    """PEM files of the server's certificate (with its chain) and of its key."""

    certificate: ConfigPath
    key: ConfigPath


class Gateway(Model):
    """The HTTP front."""

    host: str = "127.0.0.1"
    port: int = Field(8082, ge=0, le=65535)
    stage: str = "test"
    tls: Tls | None = None
    api_keys: dict[str, KeyHash] = Field(default_factory=dict)
    hosts: Annotated[tuple[HostPattern, ...], OneOrMany()] = ()
    cors_origins: Annotated[tuple[Origin, ...], OneOrMany()] = ()
    max_body: Size = ByteSize(10 * 1024 * 1024)
    max_records: int = Field(10_000, ge=1)
    max_in_flight: Size = ByteSize(64 * 1024 * 1024)
    max_connections: int = Field(1000, ge=1)
    max_answers: Size = ByteSize(256 * 1024 * 1024)
    request_timeout: float = Field(20.0, gt=0)
    keep_alive: float = Field(75.0, gt=0)
    drain_wait: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _one_request_fits(self) -> "Gateway":
        if self.max_in_flight < self.max_body:
            what = "must be at least max_body, or no such body gets in"
            raise Misplaced(what, "max_in_flight")
        return self

    @property
    def url(self) -> str:
        """Where it listens, the stage not included."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


class Monitor(Model):
    """Who may look at the status page and the metrics of a consumer or of `pinpip ui`."""

    api_keys: dict[str, KeyHash] = Field(default_factory=dict)
    hosts: Annotated[tuple[HostPattern, ...], OneOrMany()] = ()


class Producer(Model):
    """How the emulator's records are sent."""

    gateway_url: str = "http://127.0.0.1:8082/test"
    api_key: SecretStr | None = None
    batch: int = Field(500, ge=1, le=500)
    timeout: float = Field(35.0, gt=0)
    retries: int = Field(5, ge=0)
    patience: float = Field(90.0, ge=0)
    seed: int = 1


LOG_LEVEL, LOG_FORMAT = "PINPIP_LOG__LEVEL", "PINPIP_LOG__FORMAT"  # in the environment


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class Log(Model):
    """What the process logs, and for whom."""

    level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    format: Annotated[Literal["auto", "text", "json"], BeforeValidator(_lower)] = "auto"


class Flush(Model):
    """When an archive's next objects are written: after `seconds`, or once `bytes` are held."""

    seconds: float = Field(60.0, ge=0)
    bytes: Size = ByteSize(64 * 1024 * 1024)


class Batching(Model):
    """When a batch is written, and how much memory a consumer may hold."""

    max_records: int = Field(20_000, ge=1)
    max_bytes: Size = ByteSize(32 * 1024 * 1024)
    max_wait: float = Field(1.0, gt=0)
    memory: Size = ByteSize(256 * 1024 * 1024)
    reject_ratio: float = Field(0.5, gt=0, le=1)
    reject_window: int = Field(10_000, ge=1)


class Maintain(Model):
    """How `pinpip maintain` keeps the tables; with `every`, `pinpip consume` does so as well."""

    target: Size = Field(ByteSize(128 * 1024 * 1024), gt=0)
    memory: Size = Field(ByteSize(512 * 1024 * 1024), gt=0)
    retention: Period = Field("7d", validate_default=True)
    every: Period | None = None

    @model_validator(mode="after")
    def _long_enough(self) -> "Maintain":
        if self.every is not None and self.every < timedelta(seconds=1):
            raise Misplaced("must be a second at least", "every")
        if self.retention < timedelta(days=1):
            raise Misplaced("must be a day at least: queries still read such files", "retention")
        return self
