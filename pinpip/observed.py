"""The memories of the pipelines that a process runs."""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial

from core.clock import Clock
from core.config import Config
from monitor import health
from monitor.state import PipelineState
from monitor.systemd import Manager, notifying
from pinpip.connectors import connector_of

States = Mapping[str, PipelineState]


def states_of(config: Config, names: Sequence[str], clock: Clock) -> States:
    """Return the memory of each pipeline in `names`, still empty."""
    return {
        name: PipelineState(
            name,
            connector_of(config, name).described,
            config.lake.uri(config.pipeline(name).table),
            clock,
            int(config.batching.memory),
            config.batching.max_wait,
        )
        for name in names
    }


def said(state: PipelineState) -> str:
    """Count the pipeline's records by outcome; name rare outcomes only when there are any."""
    counts, always = state.totals.outcomes, ("clean", "quarantined")
    named = {o: counts[o] for o in (*always, "filtered", "expired")}
    return ", ".join(f"{n:,} {o}" for o, n in named.items() if n or o in always)


def unlive(states: States) -> str | None:
    """Return which pipelines are not alive, and why; None: all are."""
    return _joined((name, health.unlive(own.facts())) for name, own in states.items())


def unready(states: States, clock: Clock) -> str | None:
    """Return which pipelines are not ready, and why; None: all are."""
    now = clock.now()
    return _joined((name, health.unready(own.facts(), now)) for name, own in states.items())


def _joined(reasons: Iterable[tuple[str, str | None]]) -> str | None:
    return "; ".join(f"{name}: {reason}" for name, reason in reasons if reason) or None


def telling_systemd(states: States, clock: Clock) -> AbstractContextManager[None]:
    """Return what tells the service manager, if there is one, how the pipelines are."""
    return notifying(
        Manager.of(os.environ),
        partial(unlive, states),
        partial(unready, states, clock),
        partial(in_a_line, states, clock),
        clock,
    )


def in_a_line(states: States, clock: Clock) -> str:
    """Return how each pipeline is, in words."""
    now = clock.now()
    found = [(name, health.state(own.facts(), now)) for name, own in states.items()]
    return "; ".join(f"{n}: {own.word}{f' ({own.why})' * bool(own.why)}" for n, own in found)


def waiting(states: States) -> list[str]:
    """Return the parts that await a response, and since when they had no good one."""
    found = [(name, *p) for name, own in states.items() for p in own.outage_seconds().items()]
    return [f"{name}, {part} ({seconds:.0f} s)" for name, part, seconds in found if seconds]
