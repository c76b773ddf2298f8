"""`pinpip demo`: the whole main job on this machine, in under a minute."""

import shlex
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.clock import SystemClock
from pinpip.cli.demo_processes import alone, check, consumer, stack, stop
from pinpip.cli.output import note
from pinpip.cli.shared import invocation, settings_of
from pinpip.cli.signals import interrupted_once
from pinpip.cli.tables import show
from pinpip.folders import writing

if TYPE_CHECKING:
    from core.config import Config
    from pinpip.verify.verdict import Verdict
    from producers.send import Summary

EVENTS = 20_000
FOLDER = Path(".pinpip/demo")
STANDSTILL_TIMEOUT_S = 60.0  # seconds without a new row until the demo gives up
QUESTIONS = [1, 2, 3, 4]


def demo(
    context: typer.Context,
    events: Annotated[
        int, typer.Option(min=1, help="Events to send: a pin, a geo and a user record each.")
    ] = EVENTS,
    bad: Annotated[
        float, typer.Option(min=0, max=1, help="Bad payloads to add, as a share of the good ones.")
    ] = 0.0,
) -> None:
    """Run the main job end to end: gateway, Kafka and Kinesis, consumers, clean tables, proof.

    Starts the embedded stack and a consumer process per pipeline, sends events by HTTP on both
    routes, stops the consumers, and shows what arrived. Exit code 1 when anything is missing.
    Example: pinpip demo --bad 0.05
    """
    from pinpip import configfile

    config = configfile.load(settings_of(context).config_path)
    with alone(FOLDER), interrupted_once() as held, ExitStack() as processes:
        path = _prepare(config)
        config = processes.enter_context(stack(path, held))
        consumers = {
            name: processes.enter_context(consumer(path, name, held)) for name in config.pipelines
        }
        began = time.monotonic()
        summary = _send(config, events, bad)
        if sum(summary.outcomes.values()) < 3 * events:
            raise KeyboardInterrupt  # a signal ended the sending, which stops in order by itself
        _await_rows(config, summary, lambda: check(path, consumers))
        took = time.monotonic() - began
        stop(path, consumers)
        good = _tell(config, summary, took)
    again = f"{invocation()} -c {shlex.quote(str(path))} report"
    typer.echo(f"the tables are in {config.lake.root}; look again: {again}")
    if not good:
        raise typer.Exit(1)


def _prepare(config: "Config") -> Path:
    """Write the demo's configuration: an empty lake, a free port for the gateway."""
    import yaml

    from core import aws
    from pinpip.local.java import free_port

    with writing(FOLDER):
        if FOLDER.exists():
            shutil.rmtree(FOLDER)
        FOLDER.mkdir(parents=True)
    tree = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    port = free_port()
    tree["kafka"] = {"bootstrap.servers": "local"}
    tree["aws"] = {"region": aws.region(config.aws), "endpoint_url": "local"}
    tree["lake"] = {"root": "lake"}
    for name, pipeline in tree["pipelines"].items():
        pipeline["sinks"] = [_of_demo(name, n, sink) for n, sink in enumerate(pipeline["sinks"])]
    tree["gateway"] = {"port": port, "stage": config.gateway.stage}
    url = f"http://127.0.0.1:{port}/{config.gateway.stage}"
    tree["producer"] = {"gateway_url": url, "seed": config.producer.seed}
    path = FOLDER / "config.yaml"
    with writing(FOLDER):
        path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return path


def _of_demo(name: str, number: int, sink: dict[str, Any]) -> dict[str, Any]:
    """Return the sink inside the demo's folder or its embedded S3, wherever the real one is."""
    if "delta" in sink:
        beside = "://" in sink["delta"] or sink["delta"].startswith("/")
        return {"delta": name if beside else sink["delta"]}
    return sink if sink["parquet"].startswith("s3://") else sink | {"parquet": f"archive{number}"}


def _send(config: "Config", events: int, bad: float) -> "Summary":
    from pinpip.cli.sending import send
    from pinpip.routes import Way
    from pinpip.targets import emulated
    from producers import emulator

    stream = islice(emulator.events(config.producer.seed), events)
    return send(config, stream, events, Way.BOTH, emulated(config), bad=bad)


def _acknowledged(config: "Config", summary: "Summary") -> dict[str, int]:
    """How many records the gateway acknowledged for each pipeline."""
    return {
        name: sum(map(summary.stored, pipeline.reads))
        for name, pipeline in config.pipelines.items()
    }


def _rows(config: "Config", name: str) -> int:
    """Rows in the clean table and its quarantine, by the log alone."""
    from pinpip.pipelines import tables_of
    from sinks.delta.table import find

    tables = tables_of(config, name)
    found = [find(uri, tables.options) for uri in (tables.clean, tables.quarantine)]
    return sum(int(table.count()) for table in found if table is not None)


def _await_rows(config: "Config", summary: "Summary", check_consumers: Callable[[], None]) -> None:
    """Show each table filling; return when all is there, or nothing has come for a while."""
    from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

    wanted = _acknowledged(config, summary)
    columns = [*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn()]
    with Progress(*columns) as bars:
        tasks = {name: bars.add_task(name, total=n) for name, n in wanted.items()}
        held: dict[str, int] = {}
        changed = time.monotonic()
        while held != wanted and time.monotonic() - changed < STANDSTILL_TIMEOUT_S:
            check_consumers()
            before, held = held, {name: _rows(config, name) for name in wanted}
            changed = changed if held == before else time.monotonic()
            for name, task in tasks.items():
                bars.update(task, completed=held[name])
            time.sleep(0.2)


def _tell(config: "Config", summary: "Summary", took: float) -> bool:
    """Print counts, proof and answers; return whether each acknowledged record is stored once."""
    from pinpip.cli.report import answers, print_first
    from pinpip.cli.sending import outcome, summary_failed
    from pinpip.cli.verdict import print_verdict
    from pinpip.verify.conclusion import exit_code
    from pinpip.verify.recorded import recorded

    show("Sent by HTTP", outcome(summary), as_json=False)
    wanted = _acknowledged(config, summary)
    clock = SystemClock()
    verdicts = [recorded(config, name, clock, note, grace=0.0) for name in config.pipelines]
    rows = [_arrived(verdict, wanted[verdict.pipeline]) for verdict in verdicts]
    show("Arrived", rows, as_json=False)
    total = sum(wanted.values())
    typer.echo(f"{total:,} records in {took:.1f} s: {total / took:,.0f} records/s, HTTP included")
    print_verdict(verdicts)
    print_first(answers(config, {0, *QUESTIONS}), 5)
    exact = all(not row["missing"] for row in rows) and exit_code(verdicts) == 0
    return exact and not summary_failed(summary)


def _arrived(verdict: "Verdict", acknowledged: int) -> dict[str, Any]:
    counts = {"clean": verdict.clean, "quarantined": verdict.quarantined}
    missing = acknowledged - verdict.kept
    return {"table": verdict.pipeline, "in": acknowledged, **counts, "missing": missing}
