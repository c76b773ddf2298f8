"""`pinpip consume`: the daemon."""

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import ConfigError, FatalError, PinpipError
from pinpip.cli.shared import awaited, explained, leaving_in_time, settings_of, stopping_on_signals
from pinpip.runtime import tune_allocators, tuned_interpreter

if TYPE_CHECKING:
    from consumers.engine.loop import Loop
    from core.config import Config
    from core.protocols import FaultInjector
    from pinpip.metrics import Metrics


_ONLY_NAMED = {  # options that are never for all pipelines, and why
    "--new-incarnation": "reads sources afresh, so it wants to know whose",
    "--accept-rejects": "lifts the limit on rejects, so it needs the pipelines it is for",
    "--accept-gap": "gives up records, so it needs the pipelines it is for",
}


def consume(
    context: typer.Context,
    pipelines: Annotated[
        list[str] | None, typer.Argument(help="Pipelines of config.yaml; all when none is named.")
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(help="Serve Prometheus metrics on this port of loopback.")
    ] = None,
    new_incarnation: Annotated[
        bool,
        typer.Option(
            "--new-incarnation",
            help="Begin the pipelines' `incarnation` in tables that hold rows of another.",
        ),
    ] = False,
    accept_rejects: Annotated[
        bool,
        typer.Option(
            "--accept-rejects",
            help="Let rejects through, however many, until a whole window is within the limit.",
        ),
    ] = False,
    accept_gap: Annotated[
        bool,
        typer.Option(
            "--accept-gap",
            help="Go on without the records that have expired unread by now; verify names them.",
        ),
    ] = False,
    until_end: Annotated[
        bool,
        typer.Option(
            "--until-end", help="End once the tables hold what the sources held at the start."
        ),
    ] = False,
    timeout: Annotated[
        float | None, typer.Option(min=1, help="Seconds that --until-end may take.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what --until-end did as JSON, for programs.")
    ] = False,
) -> None:
    """Consume until SIGTERM or Ctrl-C: read, clean, write, each record exactly once.

    With --until-end for a scheduler: it ends with code 0 when the tables, quarantines and archives
    hold all that the sources held at its start, whichever member of the group wrote it, and with
    code 1 when it was stopped before (docs/scheduling.md).
    Example: pinpip consume pin geo
    """
    if not until_end and (timeout is not None or as_json):
        raise typer.BadParameter("--timeout and --json need --until-end")
    tune_allocators()
    from pinpip.metrics import Metrics

    config = settings_of(context).config()
    given = dict(zip(_ONLY_NAMED, (new_incarnation, accept_rejects, accept_gap), strict=True))
    for option, why in _ONLY_NAMED.items():
        if given[option] and not pipelines:
            hint = f"name the pipelines: pinpip consume pin {option}"
            raise ConfigError(f"{option} {why}", hint)
    names = pipelines or list(config.pipelines)
    metrics = Metrics()
    if metrics_port is not None:
        _serve(metrics, metrics_port)
    if until_end:
        from pinpip.cli.until_end import run as run_until_end
        from pinpip.until_end import Accepted

        accepted = Accepted(new_incarnation, accept_rejects, accept_gap)
        run_until_end(config, names, metrics, accepted, timeout=timeout, as_json=as_json)
        return
    run(
        config,
        names,
        metrics,
        begins=new_incarnation,
        accept_rejects=accept_rejects,
        accept_gap=accept_gap,
    )
    for name in names:
        typer.echo(f"{name}: {said(metrics, name)}")


def said(metrics: "Metrics", name: str) -> str:
    """Count the pipeline's records by outcome; name rare outcomes only when there are any."""
    counts = {o: metrics.total(name, o) for o in ("clean", "quarantined", "filtered", "expired")}
    always = ("clean", "quarantined")
    return ", ".join(f"{n:,} {o}" for o, n in counts.items() if n or o in always)


def _serve(metrics: "Metrics", port: int) -> None:
    try:
        metrics.serve(port)
    except (OSError, OverflowError) as error:
        raise FatalError(
            f"metrics cannot be served on port {port}: {error}",
            "stop what listens there, or name another --metrics-port",
        ) from error


def run(
    config: "Config",
    names: list[str],
    metrics: "Metrics",
    *,
    begins: bool = False,
    accept_rejects: bool = False,
    accept_gap: bool = False,
    faults: "FaultInjector | None" = None,
) -> None:
    """One thread per pipeline; the first to fail stops the others and its error is raised.

    `begins` as in `sinks.delta.target`, `accept_rejects` as in `consumers.engine.loop.Limits`;
    `accept_gap` passes over what has expired by now, and nothing that expires later; `faults` wraps
    the clock and the parts of each pipeline.
    """
    from consumers.engine.loop import IN_FLIGHT
    from core.clock import SystemClock
    from pinpip.connectors import connector_of
    from pinpip.pipelines import loop_of

    clock = faults.clock(SystemClock()) if faults else SystemClock()
    running: list[Future[None]] = []
    with (
        leaving_in_time(partial(_left, metrics, running)) as leave,
        ThreadPoolExecutor(IN_FLIGHT * len(names), "batch") as workers,
    ):
        loops = [
            loop_of(
                config,
                name,
                clock,
                workers,
                partial(metrics.count, name),
                outage=partial(metrics.watch, name, clock),
                begins=begins,
                accept_rejects=accept_rejects,
                faults=faults,
                accepted=connector_of(config, name).first_offsets() if accept_gap else None,
            )
            for name in names
        ]
        _run_all(loops, running, leave)


def _left(metrics: "Metrics", running: "list[Future[None]]") -> PinpipError:
    """Return the error of a process that did not wait for the last responses."""
    errors = [loop.exception() for loop in running if loop.done()]
    for error in errors:
        if error is not None:
            return explained(error)
    silent = "; ".join(metrics.waiting()) or "all of them answered"
    return FatalError(
        f"stopped without the answers of: {silent}",
        "look at the network and at that store or source; nothing is lost or doubled",
    )


def _run_all(loops: "list[Loop]", running: "list[Future[None]]", leave: Callable[[], None]) -> None:
    def stop() -> None:
        leave()
        for loop in loops:
            loop.stop()

    with (
        ThreadPoolExecutor(len(loops), "loop") as threads,
        stopping_on_signals(stop),
        tuned_interpreter(),
    ):
        running += [threads.submit(loop.run) for loop in loops]
        awaited(lambda seconds: bool(wait(running, seconds, FIRST_COMPLETED).done))
        stop()
    for finished in running:
        finished.result()
