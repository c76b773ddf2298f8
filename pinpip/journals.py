"""Each pipeline's lines of the log: what the process does around its loop."""

from collections.abc import Callable
from dataclasses import dataclass

from structlog.contextvars import bound_contextvars

from consumers.engine.loop import Loop
from core.clock import Clock
from monitor.journal import Journal
from monitor.state import PipelineState


def journal_of(state: PipelineState, clock: Clock) -> Journal:
    """Return the journal of the pipeline that `state` remembers."""
    return Journal(state.name, clock, state.reads, state.table, state.view)


def named(name: str, run: Callable[[], None]) -> None:
    """Run the pipeline called `name`; every line of the log names it."""
    with bound_contextvars(pipeline=name):
        run()


@dataclass(frozen=True)
class Kept:
    """The loop of a pipeline, run as `named`, with the first and the last line of its journal."""

    journal: Journal
    loop: Loop

    def run(self) -> None:
        """Run the loop to its end."""
        named(self.journal.pipeline, self._run)

    def stop(self) -> None:
        """Ask the loop to end."""
        self.loop.stop()

    def _run(self) -> None:
        self.journal.begin()
        try:
            self.loop.run()
        except BaseException as error:
            self.journal.end(error)
            raise
        self.journal.end()
