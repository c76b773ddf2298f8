"""Choose the payloads of `pinpip chaos`: emulated records with bad ones, or a file's lines."""

from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import polars as pl

from chaos.content import Content, Template, templates
from core.batch import KAFKA, VALUE, Partition, Position, Records, Span
from core.config import Config, Pipeline
from core.errors import ConfigError
from pinpip.pipelines import process_of
from producers import emulator
from producers.delivery import compact
from producers.event import KEY
from producers.malformed import MalformedRecords
from transforms.load import load_schema

EVENT_COUNT = 2000
BAD_SHARE = 0.03
TOMBSTONE_EVERY = 200
_MAX_PAYLOAD = 100_000  # bytes: larger ones would fill a small machine
_SEED = 1


def content_of(config: Config, name: str, lines: Path | None) -> Content:
    """Return templates for the pipeline `name`: from a file of lines, or from the emulator.

    Raises ConfigError when the emulator does not make its records and no lines are given.
    """
    pipeline = config.pipeline(name)
    schema = load_schema(pipeline.schema_)
    key = schema.key if schema.fields[schema.key] == pl.Int64 else None
    payloads = _emulated(schema.name, schema.key) if lines is None else _lines(lines)
    made = templates(payloads, key)
    return Content(made, _dropped(pipeline, made))


def _lines(path: Path) -> list[bytes | None]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", "name another file"
        ) from error
    if not lines:
        raise ConfigError(f"{path} is empty", "give one payload per line")
    return list(lines)


def _emulated(record: str, key: str) -> list[bytes | None]:
    if KEY.get(record) != key:
        raise ConfigError(
            f"the emulator makes no {record} records", "give some of your own: --payloads FILE"
        )
    malformed = MalformedRecords(BAD_SHARE, _SEED)
    payloads: list[bytes | None] = []
    for number, event in enumerate(islice(emulator.events(_SEED), EVENT_COUNT)):
        row = event.rows[record]
        bad = malformed.beside(number, record, row, text_only=False)
        values = [v if isinstance(v, bytes) else compact(v).encode() for v in (row, *bad)]
        payloads += [value for value in values if len(value) < _MAX_PAYLOAD]
        payloads += [None] if number % TOMBSTONE_EVERY == 0 else []
    return payloads


def _dropped(pipeline: Pipeline, made: tuple[Template, ...]) -> frozenset[int]:
    """Return the templates that become neither a row nor a reject; `where` does not apply."""
    source = pipeline.source.model_copy(update={"where": None})
    pipeline = pipeline.model_copy(update={"source": source})
    whole, one = Content(made), Partition("chaos", "0")
    now = datetime.now(UTC)
    rows = [(*one[:1], 0, n, str(n), now, whole.payload(n)) for n in range(len(made))]
    schema = pl.Schema({**KAFKA.metadata, VALUE: pl.Binary()})
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    span = Span(None, Position(len(made)), len(made))
    batch = process_of(pipeline, keep_values=False)(Records(frame, {one: span}, KAFKA))
    kept = pl.concat([batch.clean[KAFKA.number], batch.rejected[KAFKA.number]])
    return frozenset(range(len(made))) - frozenset(kept)
