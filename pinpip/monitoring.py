"""Serve a process's page, metrics and health on a port, as config.yaml and the options say."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from core import __version__
from core.clock import Clock
from core.config import Config
from monitor import server
from monitor.app import Rendering, Served
from monitor.exposition import registry
from monitor.guard import Access
from monitor.page import POLICY, render, render_main
from monitor.server import Address
from monitor.view import FilesView, PageView
from pinpip.lake.look import LakeLook
from pinpip.lake.view import merged
from pinpip.lake.watch import LakeWatch
from pinpip.observed import States, unlive, unready
from pinpip.pipelines import tables_of

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
    """Serve what a consumer knows while the block runs; yield the URL.

    Its tables are looked at beside the loops, a hundredth of the time at most.
    """
    looks = {name: LakeLook(partial(tables_of, config, name), clock).look for name in states}
    watch = LakeWatch(looks, clock)
    with serving(config, shown(config, states, watch, clock), address, clock) as url:
        watch.start()
        try:
            yield url
        finally:
            watch.stop()


def shown(config: Config, states: States, watch: LakeWatch, clock: Clock) -> Served:
    """Return what the memories of the pipelines tell, with what only their tables do."""

    def page() -> PageView:
        views = tuple(merged(own.view(), watch.view(name)) for name, own in states.items())
        started = min(state.started_at for state in states.values())
        return PageView(config.id, "consumer", __version__, clock.now(), started, views)

    def files() -> dict[str, tuple[FilesView, ...]]:
        return {name: watch.latest(name).files for name in states}

    return Served(
        page,
        RENDERING,
        registry(list(states.values()), clock, files),
        live=partial(unlive, states),
        ready=partial(unready, states, clock),
    )
