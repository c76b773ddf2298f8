"""A consumer of `pinpip chaos`: `pinpip consume` with failpoints between its parts.

`python -m pinpip.cli.chaos_consumer CONFIG PIPELINE PLAN`; PLAN is a
`chaos.failpoints.FailpointPlan` as JSON. `pinpip consume` does not import it.
"""

import signal
import sys
import traceback
from pathlib import Path

import typer

from chaos.signals import STACKS
from core.errors import PinpipError
from core.network import spare_loopback
from pinpip.cli.consume import run
from pinpip.cli.shared import FAILED, Settings, complain
from pinpip.runtime import tune_allocators


def consume(path: Path, name: str, plan: str) -> None:
    """Consume the pipeline `name` of the configuration at `path` until SIGTERM."""
    tune_allocators()
    from chaos.failpoints import FailpointPlan, Failpoints  # it imports polars: tune first
    from core.clock import SystemClock
    from pinpip.observed import said, states_of

    config = Settings(path, debug=False).config()
    states = states_of(config, [name], SystemClock())
    run(config, states, faults=Failpoints(FailpointPlan.model_validate_json(plan)))
    typer.echo(f"{name}: {said(states[name])}")


def _write_stacks() -> None:
    """Write the stack of each thread; faulthandler, which does not stop them, can crash on it."""
    for thread, frame in sys._current_frames().items():  # noqa: SLF001  # public by its documentation
        sys.stderr.write(f"thread {thread}\n{''.join(traceback.format_stack(frame))}")
    sys.stderr.flush()


def main() -> None:
    """Run the consumer; a PinpipError becomes one or two lines and exit code 1."""
    signal.signal(STACKS, lambda *_: _write_stacks())
    spare_loopback()
    path, name, plan = sys.argv[1:]
    try:
        consume(Path(path), name, plan)
    except PinpipError as error:
        complain(error)
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
