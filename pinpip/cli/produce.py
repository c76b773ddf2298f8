"""`pinpip produce`: emulated records, or your own rows, through the gateway or direct."""

from collections.abc import Iterator
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import PinpipError
from pinpip.cli.sending import failure, outcome, send, stopped, summary_failed
from pinpip.cli.shared import settings_of
from pinpip.cli.tables import show
from pinpip.routes import Way

if TYPE_CHECKING:
    from core.config import Config
    from pinpip.rows import RowRequest
    from pinpip.targets import Target
    from producers.event import Event

DEFAULT_COUNT = 1000


class Kind(StrEnum):
    """The format of rows."""

    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


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
        int | None,
        typer.Option(min=1, help=f"Events to send (default: {DEFAULT_COUNT}, or all rows)."),
    ] = None,
    forever: Annotated[bool, typer.Option("--forever", help="Until stopped.")] = False,
    bad: Annotated[
        float, typer.Option(min=0, max=1, help="Bad payloads to add, as a share of the good ones.")
    ] = 0.0,
    seed: Annotated[
        int | None, typer.Option(help="Same seed, same records (default: producer.seed).")
    ] = None,
    rows: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            help="Send the rows of .json, .ndjson, .csv or .parquet (also .gz): a file, a folder, a"
            " glob, s3://bucket/prefix, or - for standard input. May be repeated.",
        ),
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option("--format", help="The format, where names do not tell it.")
    ] = None,
    pipeline: Annotated[
        str | None, typer.Option(help="Send the rows to where this pipeline reads, by its schema.")
    ] = None,
    topic: Annotated[
        str | None, typer.Option(help="The topic to send to, where the pipeline reads several.")
    ] = None,
    database: Annotated[
        str | None,
        typer.Option("--from-database", help="Send rows of the database at this SQLAlchemy URL."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The outcome as JSON.")] = False,
) -> None:
    """Send events (a pin, a geo and a user record with one key each), or rows of your own.

    Example: pinpip produce --rate 500 --forever
    """
    from pinpip.rows import RowRequest
    from pinpip.targets import emulated
    from producers.rows.inputs import InputError
    from producers.send import Summary

    if (count and forever) or (rows and database):
        raise typer.BadParameter("--count or --forever; --from or --from-database")
    _check_rows(rows, kind, pipeline, topic)
    config, stop = settings_of(context).config(), list[bool]()
    number = count or (None if forever or rate or rows else DEFAULT_COUNT)
    request = RowRequest(tuple(rows or ()), kind, pipeline, topic, lambda: bool(stop))
    used = seed if seed is not None else config.producer.seed
    events, targets = _events(config, request, used, database)
    if bad and targets != emulated(config):
        raise typer.BadParameter("--bad makes bad pins, geos and users only")
    summary, chosen = Summary(), islice(events, number)
    try:
        send(
            config,
            chosen,
            number,
            route,
            targets,
            stop=stop,
            direct=direct,
            rate=rate,
            bad=bad,
            summary=summary,
        )
    except PinpipError as error:
        if summary.outcomes:
            show("Sent", outcome(summary), as_json=as_json)
        if isinstance(error, InputError) and summary_failed(summary):
            raise failure(summary, error.message) from error  # not all rows before it are sent
        raise
    show("Sent", outcome(summary), as_json=as_json)
    if summary_failed(summary):
        raise failure(summary)
    if stop and rows:
        raise stopped(summary)


def _check_rows(
    rows: list[str] | None, kind: Kind | None, pipeline: str | None, topic: str | None
) -> None:
    """Raise a usage error for options of rows that another option lacks."""
    if (kind or pipeline) and not rows:
        raise typer.BadParameter("--format and --pipeline belong to --from")
    if topic and not pipeline:
        raise typer.BadParameter("--topic belongs to --pipeline")


def _events(
    config: "Config", request: "RowRequest", seed: int, database: str | None
) -> "tuple[Iterator[Event], list[Target]]":
    from pinpip.rows import rows_of
    from pinpip.targets import emulated
    from producers import emulator
    from producers.rows.database import from_database

    if request.words:
        return rows_of(config, request, lambda said: typer.echo(f"note:  {said}", err=True))
    targets = emulated(config)
    if database is not None:
        types = {target.type.name: target.type for target in targets}
        return from_database(database, seed, types), targets
    return emulator.events(seed), targets
