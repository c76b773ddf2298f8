"""Check a configuration as its consumers would, without a network: `pinpip config check`."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import polars as pl

from core import kafka
from core.batch import RESCUED, Batch, Coordinates
from core.config import Config
from core.errors import PinpipError
from pinpip.connectors import coordinates_of
from pinpip.latest import view_of
from pinpip.pipelines import tables_of
from sinks.storage.store import open_store
from transforms import columns, trial
from transforms.load import load_schema, load_transform
from transforms.process import Transform, name_of
from transforms.schema import Schema

_NOWHERE = {"bootstrap_servers": "nowhere.invalid"}  # `local` would ask for the embedded stack
_Loaded = TypeVar("_Loaded")
_Given = TypeVar("_Given")


@dataclass(frozen=True)
class Checked:
    """What a pipeline makes of synthetic rows of its schema, or why it cannot run.

    `columns`: of its table, pinpip's own last. `outcomes`: how many of the rows are clean, filtered
    or rejected, by reason; `details`: the first words of each reason.
    """

    problems: list[PinpipError] = field(default_factory=list)
    columns: pl.Schema = field(default_factory=pl.Schema)
    outcomes: dict[str, int] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)


def check(config: Config) -> dict[str, Checked]:
    """Check each pipeline, by name."""
    return {name: _pipeline(config, name) for name in config.pipelines}


def kafka_problems(config: Config) -> list[PinpipError]:
    """Return what librdkafka, or pinpip, refuses of the section `kafka`.

    No broker is contacted, not even by its name, and no token is signed.
    """
    from consumers.kafka import client, properties

    reads_kafka = any(pipeline.source.topics for pipeline in config.pipelines.values())
    if config.kafka is None or not reads_kafka:
        return []
    own = kafka.unsigned(config.kafka.model_copy(update=_NOWHERE).properties())
    found: list[PinpipError] = list(client.refused(own))
    kept = {name: value for name, value in own.items() if name not in client.FIXED}
    whole = client.settings(kept, f"pinpip-{config.id}", int(config.batching.memory))
    return [*found, *properties.refused(whole)]


def _pipeline(config: Config, name: str) -> Checked:
    pipeline, problems = config.pipelines[name], list(_places(config, name))
    schema = _attempt(load_schema, pipeline.schema_, problems)
    transform = _attempt(load_transform, pipeline.transform, problems)
    if schema is None or transform is None:
        return Checked(problems)
    coordinates = coordinates_of(pipeline)
    try:
        batch = trial.try_rows(schema, transform, trial.samples(schema), coordinates)
    except PinpipError as error:
        return Checked([*problems, *(list(_all(schema, transform, coordinates)) or [error])])
    if pipeline.is_upsert:
        _attempt(view_of(pipeline).check, batch.clean.schema, problems)
    return Checked(problems, batch.clean.schema, *_outcomes(batch))


def _attempt(
    load: Callable[[_Given], _Loaded], reference: _Given, problems: list[PinpipError]
) -> _Loaded | None:
    try:
        return load(reference)
    except PinpipError as error:
        problems.append(error)
        return None


def _all(schema: Schema, transform: Transform, coordinates: Coordinates) -> Iterator[PinpipError]:
    """Yield an error for each thing that is wrong with the columns, if the transform gives some."""
    last = {**coordinates.metadata, RESCUED: pl.String()}
    nothing = pl.LazyFrame(schema={**schema.fields, **last})
    try:
        found = transform(nothing).collect().schema
    except Exception:  # noqa: BLE001  # the consumer's own error says it better
        return
    yield from columns.problems(name_of(transform), found, last)


def _places(config: Config, name: str) -> Iterator[PinpipError]:
    """Yield an error for each place of the pipeline that no sink can write."""
    uris = [tables_of(config, name).clean, *(a.parquet for a in config.pipelines[name].archives)]
    for uri in uris:
        if not uri.startswith("s3://"):
            try:
                open_store(uri, config.aws)
            except PinpipError as error:
                yield error


def _outcomes(batch: Batch) -> tuple[dict[str, int], dict[str, str]]:
    reasons = batch.rejected.select("reason", "detail").rows()
    counts = {
        "clean": batch.clean.height,
        "filtered": batch.raw.height - batch.clean.height - batch.rejected.height,
        **Counter(reason for reason, _ in reasons),
    }
    return {name: n for name, n in counts.items() if n}, dict(reversed(reasons))
