"""`pinpip consume`: the daemon."""

from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from pinpip.cli.shared import settings_of, stopping_on_signals
from pinpip.errors import FatalError

if TYPE_CHECKING:
    from consumers.loop import Loop
    from pinpip.config import Config
    from pinpip.metrics import Metrics


def consume(
    context: typer.Context,
    pipelines: Annotated[
        list[str] | None, typer.Argument(help="Pipelines of config.yaml; all when none is named.")
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(help="Serve Prometheus metrics on this port of loopback.")
    ] = None,
    chaos: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Consume until SIGTERM or Ctrl-C: read, clean, write, each record exactly once.

    Example: pinpip consume pin geo
    """
    from pinpip.metrics import Metrics

    config = settings_of(context).config()
    names = pipelines or list(config.pipelines)
    metrics = Metrics()
    if metrics_port is not None:
        _serve(metrics, metrics_port)
    run(config, names, metrics, chaos)
    for name in names:
        clean, bad = metrics.total(name, "clean"), metrics.total(name, "quarantined")
        typer.echo(f"{name}: {clean:,} clean, {bad:,} quarantined")


def _serve(metrics: "Metrics", port: int) -> None:
    try:
        metrics.serve(port)
    except (OSError, OverflowError) as error:
        raise FatalError(
            f"metrics cannot be served on port {port}: {error}",
            "stop what listens there, or name another --metrics-port",
        ) from error


def run(config: "Config", names: list[str], metrics: "Metrics", chaos: str | None = None) -> None:
    """One thread per pipeline; the first to fail stops the others and its error is raised."""
    from chaos.points import Plan, Rig
    from pinpip.cli.compose import loop_of
    from pinpip.clock import SystemClock

    rig = Rig(Plan.model_validate_json(chaos)) if chaos else None
    clock = rig.clock(SystemClock()) if rig else SystemClock()
    with ThreadPoolExecutor(len(names), "write") as writers:
        loops = [
            loop_of(config, name, clock, writers, partial(metrics.count, name), rig)
            for name in names
        ]
        _run_all(loops)


def _run_all(loops: "list[Loop]") -> None:
    def stop() -> None:
        for loop in loops:
            loop.stop()

    with ThreadPoolExecutor(len(loops), "loop") as threads, stopping_on_signals(stop):
        running = [threads.submit(loop.run) for loop in loops]
        wait(running, return_when=FIRST_EXCEPTION)
        stop()
    for finished in running:
        finished.result()
