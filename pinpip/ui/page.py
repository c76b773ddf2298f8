"""The page of all pipelines: what is known of each, at once, however slow the others are."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from core import __version__
from core.clock import Clock
from core.config import Config
from monitor.view import GatewayView, PageView
from pinpip.ui.gateway import gateway_look
from pinpip.ui.pipeline import WatchedPipeline
from pinpip.watch import Watch

SAMPLE_S = 5.0
_GATEWAY = "gateway"


class UiPage:
    """All pipelines of a configuration, looked at in threads from `started` on."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._since = clock.now()
        self._pipelines = [WatchedPipeline(config, name, clock) for name in config.pipelines]
        look = partial(gateway_look, config)
        self._gateway: Watch[GatewayView | None] = Watch({_GATEWAY: look}, None, clock, share=0.5)
        self._stopped = threading.Event()
        self._sampler = threading.Thread(target=self._sample, name="samples", daemon=True)

    @contextmanager
    def started(self) -> Iterator[None]:
        """Look at everything while the block runs."""
        for own in self._pipelines:
            own.start()
        self._gateway.start()
        self._sampler.start()
        try:
            yield
        finally:
            self._stopped.set()
            for own in self._pipelines:
                own.stop()
            self._gateway.stop()

    def view(self) -> PageView:
        """Return the page as everything was last seen; it waits for nothing."""
        return PageView(
            id=self._config.id,
            kind="ui",
            version=__version__,
            at=self._clock.now(),
            started=self._since,
            pipelines=tuple(own.view() for own in self._pipelines),
            gateway=self._gateway.view(_GATEWAY),
        )

    def _sample(self) -> None:
        while not self._stopped.wait(SAMPLE_S):
            for own in self._pipelines:
                own.sample()
