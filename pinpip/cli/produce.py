"""`pinpip produce`: emulated records, or your own rows, through the gateway or direct."""

from collections.abc import Callable, Iterator
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import FatalError, PinpipError
from pinpip.cli.shared import settings_of, show, stopping_on_signals

if TYPE_CHECKING:
    from core.config import Config
    from producers.client import GatewayClient
    from producers.delivery import Retry, Send
    from producers.event import Event
    from producers.send import SendRoute, Summary

TYPES = ("pin", "geo", "user")
DEFAULT_COUNT = 1000


class Way(StrEnum):
    """Which way records go; `both` takes turns."""

    KAFKA = "kafka"
    KINESIS = "kinesis"
    BOTH = "both"


def produce(
    context: typer.Context,
    route: Annotated[Way, typer.Option(help="Kafka, Kinesis, or both in turn.")] = Way.BOTH,
    direct: Annotated[
        bool, typer.Option("--direct", help="Straight to Kafka and Kinesis, not by the gateway.")
    ] = False,
    rate: Annotated[
        float | None, typer.Option(min=0.1, help="Events a second; as fast as possible without.")
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help=f"Events to send [default: {DEFAULT_COUNT}].")
    ] = None,
    forever: Annotated[bool, typer.Option("--forever", help="Until stopped.")] = False,
    bad: Annotated[
        float, typer.Option(min=0, max=1, help="Bad payloads to add, as a share of the good ones.")
    ] = 0.0,
    seed: Annotated[
        int | None, typer.Option(help="Same seed, same records [default: producer.seed].")
    ] = None,
    rows: Annotated[
        Path | None,
        typer.Option("--from", help="Send the rows of this .ndjson, .csv or .parquet file."),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option("--from-database", help="Send rows of the database at this SQLAlchemy URL."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The outcome as JSON.")] = False,
) -> None:
    """Send events (a pin, a geo and a user record with one key each).

    Example: pinpip produce --rate 500 --forever
    """
    from producers.send import Summary

    config = settings_of(context).config()
    if (count and forever) or (rows and database):
        raise typer.BadParameter("--count or --forever; --from or --from-database")
    endless = forever or bool(rate) or rows is not None
    number = count or (None if endless else DEFAULT_COUNT)
    source = _events(seed if seed is not None else config.producer.seed, rows, database)
    summary = Summary()
    chosen = islice(source, number)
    try:
        send(config, chosen, number, route, direct=direct, rate=rate, bad=bad, summary=summary)
    except PinpipError:
        if summary.outcomes:
            show("Sent", outcome(summary), as_json=as_json)
        raise
    show("Sent", outcome(summary), as_json=as_json)
    if summary_failed(summary):
        raise _failure(summary)


def _events(seed: int, rows: Path | None, database: str | None) -> "Iterator[Event]":
    from producers import emulator
    from producers import rows as stored

    if rows is not None:
        return stored.from_file(rows)
    return emulator.events(seed) if database is None else stored.from_database(database, seed)


def send(
    config: "Config",
    events: "Iterator[Event]",
    number: int | None,
    way: Way,
    *,
    direct: bool = False,
    rate: float | None = None,
    bad: float = 0.0,
    summary: "Summary | None" = None,
) -> "Summary":
    """Send events with a progress bar, until they end or a signal comes.

    `summary` counts as it goes, so that it holds also when this ends by an error.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TimeElapsedColumn

    from producers.malformed import MalformedRecords
    from producers.send import Driver, Summary

    stop: list[bool] = []
    people = Console(stderr=True)
    columns = [SpinnerColumn(), *Progress.get_default_columns(), MofNCompleteColumn()]
    with (
        Progress(
            *columns, TimeElapsedColumn(), console=people, disable=not people.is_terminal
        ) as bar,
        stopping_on_signals(lambda: stop.append(True)),
    ):
        task = bar.add_task("events sent", total=number)
        driver = Driver(
            _routes(config, way, lambda: bool(stop), direct=direct),
            batch=config.producer.batch,
            rate=rate,
            malformed=MalformedRecords(bad, config.producer.seed),
            progress=lambda n: bar.advance(task, n),
            stopping=lambda: bool(stop),
            summary=summary or Summary(),
        )
        return driver.run(events)


def outcome(summary: "Summary") -> list[dict[str, object]]:
    """One row per topic or stream: how many records are stored, refused, or unknown."""
    from producers.delivery import DeliveryStatus

    targets = sorted({target for target, _ in summary.outcomes})
    return [
        {
            "target": t,
            **{str(o): summary.outcomes[t, o] for o in DeliveryStatus},
            "bad": summary.bad[t],
        }
        for t in targets
    ]


def summary_failed(summary: "Summary") -> bool:
    """Whether any record was not stored for sure."""
    from producers.delivery import DeliveryStatus

    return any(summary.total(o) for o in (DeliveryStatus.REJECTED, DeliveryStatus.UNKNOWN))


def _failure(summary: "Summary") -> FatalError:
    """Describe what went wrong with the records that are not certainly stored."""
    from producers.delivery import DeliveryStatus

    rejected, unknown = (
        summary.total(o) for o in (DeliveryStatus.REJECTED, DeliveryStatus.UNKNOWN)
    )
    said = [error for error, _ in summary.errors.most_common(1)]
    hints = [f"{summary.hints[error]}; then" for error in said if error in summary.hints]
    told = f"{rejected} records were refused, and of {unknown} it is unknown if they are stored"
    return FatalError(
        ": ".join([told, *said]),
        " ".join([*hints, "send them again; a record that was stored is then sent twice"]),
    )


def _routes(
    config: "Config", way: Way, stopping: Callable[[], bool], *, direct: bool
) -> "list[SendRoute]":
    from producers.send import SendRoute

    topics = {record: f"{config.id}.{record}" for record in TYPES}
    streams = {record: f"streaming-{config.id}-{record}" for record in TYPES}
    routes = []
    if way is not Way.KINESIS:
        routes.append(SendRoute(_kafka(config, stopping, direct=direct), topics))
    if way is not Way.KAFKA:
        routes.append(
            SendRoute(_kinesis(config, stopping, direct=direct), streams, text_only=not direct)
        )
    return routes


def _kafka(config: "Config", stopping: Callable[[], bool], *, direct: bool) -> "Send":
    from core import kafka
    from producers.direct import KafkaDirect

    if direct:
        return KafkaDirect(kafka.properties(config), timeout=config.producer.timeout).send
    return _client(config, stopping).send_kafka


def _kinesis(config: "Config", stopping: Callable[[], bool], *, direct: bool) -> "Send":
    from producers.direct import KinesisDirect, kinesis_client

    if direct:
        client = kinesis_client(config.aws, timeout=config.producer.timeout)
        return KinesisDirect(client, retry=_retry(config, stopping)).send
    return _client(config, stopping).send_kinesis


def _client(config: "Config", stopping: Callable[[], bool]) -> "GatewayClient":
    from producers.client import GatewayClient

    own = config.producer
    key = own.api_key.get_secret_value() if own.api_key else None
    retry = _retry(config, stopping)
    return GatewayClient(own.gateway_url, api_key=key, timeout=own.timeout, retry=retry)


def _retry(config: "Config", stopping: Callable[[], bool]) -> "Retry":
    from producers.delivery import Retry

    own = config.producer
    return Retry(own.retries, seconds=own.patience, stopping=stopping)
