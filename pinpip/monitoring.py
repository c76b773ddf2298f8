"""Serve a process's page, metrics and health on a port, as config.yaml and the options say."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from core.clock import Clock, SystemClock
from core.config import Config

if TYPE_CHECKING:
    from monitor.app import Served
    from monitor.server import Address


@contextmanager
def serving(
    config: Config, served: "Served", address: "Address", clock: Clock | None = None
) -> Iterator[str]:
    """Serve while the block runs; yield the URL. Raises as `monitor.server.serving`."""
    from monitor import server
    from monitor.guard import Access

    access = Access(address.host, config.monitor.hosts, config.monitor.api_keys)
    with server.serving(served, address, access, clock or SystemClock()) as url:
        yield url
