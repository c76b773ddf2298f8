"""What `pinpip ui` serves: the page, its JSON, the search, and the metrics of its process."""

from prometheus_client import CollectorRegistry, ProcessCollector

from core.config import Config
from monitor.app import Served
from pinpip.monitoring import RENDERING
from pinpip.ui.page import UiPage
from pinpip.ui.search import Search


def served(config: Config, page: UiPage) -> Served:
    """Return what the process shows."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return Served(page.view, RENDERING, registry, search=Search(config))
