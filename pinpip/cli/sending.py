"""Sending events with a progress bar, and what is said of the outcome."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from core.errors import FatalError
from pinpip.cli.shared import stopping_on_signals
from pinpip.routes import Way, routes_of

if TYPE_CHECKING:
    from core.config import Config
    from pinpip.targets import Target
    from producers.event import Event
    from producers.send import Summary


def send(
    config: "Config",
    events: "Iterator[Event]",
    number: int | None,
    way: Way,
    targets: "Sequence[Target]",
    *,
    stop: list[bool] | None = None,
    direct: bool = False,
    rate: float | None = None,
    bad: float = 0.0,
    summary: "Summary | None" = None,
) -> "Summary":
    """Send events with a progress bar, until they end or a signal comes, which is put on `stop`.

    `summary` counts as it goes, so that it holds also when this ends by an error.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TimeElapsedColumn

    from producers.malformed import MalformedRecords
    from producers.send import Driver, Summary

    signals = [] if stop is None else stop
    people = Console(stderr=True)
    columns = [SpinnerColumn(), *Progress.get_default_columns(), MofNCompleteColumn()]
    with (
        Progress(
            *columns, TimeElapsedColumn(), console=people, disable=not people.is_terminal
        ) as bar,
        stopping_on_signals(lambda: signals.append(True)),
    ):
        task = bar.add_task("events sent", total=number)
        driver = Driver(
            routes_of(config, way, targets, lambda: bool(signals), direct=direct),
            batch=config.producer.batch,
            rate=rate,
            malformed=MalformedRecords(bad, config.producer.seed),
            progress=lambda n: bar.advance(task, n),
            stopping=lambda: bool(signals),
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


def failure(summary: "Summary", before: str = "") -> FatalError:
    """Describe what went wrong with the records that are not certainly stored.

    `before` is another error's message, which is put first.
    """
    from producers.delivery import DeliveryStatus

    rejected, unknown = (
        summary.total(o) for o in (DeliveryStatus.REJECTED, DeliveryStatus.UNKNOWN)
    )
    said = [error for error, _ in summary.errors.most_common(1)]
    hints = [f"{summary.hints[error]}; then" for error in said if error in summary.hints]
    told = f"{rejected} records were refused, and of {unknown} it is unknown if they are stored"
    return FatalError(
        ": ".join([*filter(None, [before]), told, *said]),
        " ".join([*hints, "send them again; a record that was stored is then sent twice"]),
    )


def stopped(summary: "Summary") -> FatalError:
    """Say how many rows were sent when a signal ended the command."""
    from producers.delivery import DeliveryStatus

    return FatalError(
        f"stopped by a signal: the first {summary.total(DeliveryStatus.STORED):,} rows are sent",
        "send the rows after them",
    )
