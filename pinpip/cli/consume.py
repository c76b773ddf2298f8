"""`pinpip consume`: the daemon."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import ConfigError, FatalError, PinpipError
from pinpip.cli.shared import awaited, explained, leaving_in_time, settings_of, stopping_on_signals
from pinpip.runtime import tune_allocators, tuned_interpreter

if TYPE_CHECKING:
    from core.config import Config
    from core.protocols import FaultInjector
    from pinpip.journals import Kept
    from pinpip.observed import States


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
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Serve the status page, metrics and health on this port (docs/monitoring.md).",
        ),
    ] = None,
    metrics_host: Annotated[
        str, typer.Option(help="The address to serve them on; by default loopback.")
    ] = "127.0.0.1",
    allow_remote: Annotated[
        bool,
        typer.Option(
            "--allow-remote", help="Serve other machines without a key (monitor.api_keys), too."
        ),
    ] = False,
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
    if metrics_port is None and (metrics_host != "127.0.0.1" or allow_remote):
        raise typer.BadParameter("--metrics-host and --allow-remote need --metrics-port")
    if not until_end and (timeout is not None or as_json):
        raise typer.BadParameter("--timeout and --json need --until-end")
    tune_allocators()
    config = settings_of(context).config(daemon=not until_end)
    if not pipelines:
        _refuse_for_all(new_incarnation, accept_rejects, accept_gap)
    from core.clock import SystemClock
    from pinpip.observed import said, states_of, telling_systemd
    from pinpip.pipelines import shared

    clock, names = SystemClock(), pipelines or list(config.pipelines)
    config = shared(config, len(names))
    states = states_of(config, names, clock)
    context.with_resource(telling_systemd(states, clock))
    if metrics_port is not None:
        from monitor.server import Address
        from pinpip.monitoring import serving_consumer

        address = Address(metrics_host, metrics_port, allow_remote)
        context.with_resource(serving_consumer(config, states, address, clock))
    if until_end:
        from pinpip.cli.until_end import run as run_until_end
        from pinpip.until_end import Accepted

        accepted = Accepted(new_incarnation, accept_rejects, accept_gap)
        run_until_end(config, states, accepted, timeout=timeout, as_json=as_json)
        return
    run(
        config,
        states,
        begins=new_incarnation,
        accept_rejects=accept_rejects,
        accept_gap=accept_gap,
    )
    for name, state in states.items():
        typer.echo(f"{name}: {said(state)}")


def _refuse_for_all(*given: bool) -> None:
    """Raise ConfigError for the first of the options _ONLY_NAMED that is given."""
    for (option, why), is_given in zip(_ONLY_NAMED.items(), given, strict=True):
        if is_given:
            hint = f"name the pipelines: pinpip consume pin {option}"
            raise ConfigError(f"{option} {why}", hint)


def run(
    config: "Config",
    states: "States",
    *,
    begins: bool = False,
    accept_rejects: bool = False,
    accept_gap: bool = False,
    faults: "FaultInjector | None" = None,
) -> None:
    """One thread per pipeline of `states`; the first to fail stops the others and is raised.

    `begins` as in `sinks.delta.target`, `accept_rejects` as in `consumers.engine.loop.Limits`;
    `accept_gap` passes over what has expired by now, and nothing that expires later; `faults` wraps
    the clock and the parts of each pipeline.
    """
    from consumers.engine.loop import MOST_THREADS, THREADS
    from core.clock import SystemClock
    from core.observer import Observers
    from core.threads import ContextPool
    from pinpip.connectors import connector_of
    from pinpip.journals import Kept, journal_of
    from pinpip.latest import following
    from pinpip.pipelines import loop_of
    from pinpip.upkeep import maintaining

    clock = faults.clock(SystemClock()) if faults else SystemClock()
    running: list[Future[None]] = []
    with (
        leaving_in_time(partial(_left, states, running)) as leave,
        ContextPool(min(THREADS * len(states), MOST_THREADS), "batch") as workers,
        following(config, list(states), clock),
        maintaining(config, states, clock),
    ):
        journals = {name: journal_of(state, clock) for name, state in states.items()}
        loops = {
            name: loop_of(
                config,
                name,
                clock,
                workers,
                Observers(state, journals[name]),
                begins=begins,
                accept_rejects=accept_rejects,
                faults=faults,
                accepted=connector_of(config, name).first_offsets() if accept_gap else None,
            )
            for name, state in states.items()
        }
        _run_all([Kept(journals[name], loop) for name, loop in loops.items()], running, leave)


def _left(states: "States", running: "list[Future[None]]") -> PinpipError:
    """Return the error of a process that did not wait for the last responses."""
    errors = [loop.exception() for loop in running if loop.done()]
    for error in errors:
        if error is not None:
            return explained(error)
    from pinpip.observed import waiting

    silent = "; ".join(waiting(states)) or "all of them answered"
    return FatalError(
        f"stopped without the answers of: {silent}",
        "look at the network and at that store or source; nothing is lost or doubled",
    )


def _run_all(
    loops: "Sequence[Kept]",
    running: "list[Future[None]]",
    leave: Callable[[], None],
) -> None:
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
