"""Serve a process's page, metrics and health on a port, as config.yaml and the options say."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from core import __version__
from core.clock import Clock
from core.config import Config
from monitor import health, server
from monitor.app import Rendering, Served
from monitor.exposition import registry
from monitor.guard import Access
from monitor.page import POLICY, render, render_main
from monitor.server import Address
from monitor.state import PipelineState
from monitor.view import PageView
from pinpip.observed import States

RENDERING = Rendering(render, render_main, POLICY)


@contextmanager
def serving(config: Config, served: Served, address: Address, clock: Clock) -> Iterator[str]:
    """Serve while the block runs; yield the URL. Raises as `monitor.server.serving`."""
    access = Access(address.host, config.monitor.hosts, config.monitor.api_keys)
    with server.serving(served, address, access, clock) as url:
        yield url


@contextmanager
def serving_consumer(
    config: Config, states: States, address: Address, clock: Clock
) -> Iterator[str]:
    """Serve what a consumer knows while the block runs; yield the URL."""
    with serving(config, shown(config, states, clock), address, clock) as url:
        yield url


def shown(config: Config, states: States, clock: Clock) -> Served:
    """Return what the memories of the pipelines tell."""

    def page() -> PageView:
        views = tuple(state.view() for state in states.values())
        started = min(state.started_at for state in states.values())
        return PageView(config.id, "consumer", __version__, clock.now(), started, views)

    def reasons(why: Callable[[PipelineState], str | None]) -> str | None:
        found = [(name, why(state)) for name, state in states.items()]
        return "; ".join(f"{name}: {reason}" for name, reason in found if reason) or None

    return Served(
        page,
        RENDERING,
        registry(list(states.values()), clock),
        live=lambda: reasons(lambda state: health.unlive(state.facts())),
        ready=lambda: reasons(lambda state: health.unready(state.facts(), clock.now())),
    )
