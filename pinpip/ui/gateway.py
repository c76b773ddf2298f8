"""The gateway's counters, from its /metrics; nothing when it does not respond."""

from urllib.parse import urlsplit

import requests
from prometheus_client.parser import text_string_to_metric_families

from core import metrics
from core.config import Config
from monitor.view import GatewayView

_TIMEOUT_S = (1.0, 2.0)
_MOST_BYTES = 1_000_000


def gateway_look(config: Config) -> GatewayView | None:
    """Return what the gateway has counted since its start."""
    parted = urlsplit(config.producer.gateway_url)
    url = f"{parted.scheme}://{parted.netloc}"
    key = config.producer.api_key
    headers = {"x-api-key": key.get_secret_value()} if key else {}
    try:
        response = requests.get(
            f"{url}/metrics",
            headers=headers,
            timeout=_TIMEOUT_S,
            allow_redirects=False,
            stream=True,
        )
        with response:
            body = response.raw.read(_MOST_BYTES, decode_content=True) if response.ok else b""
        return parsed(url, body.decode())
    except (requests.RequestException, OSError, ValueError):
        return None


def parsed(url: str, text: str) -> GatewayView | None:
    """Return the counters in the text of /metrics; None when it is not a gateway's."""
    sums: dict[str, float] = {}
    statuses: dict[str, int] = {}
    for family in text_string_to_metric_families(text):
        for name, labels, value, *_ in family.samples:
            sums[name] = sums.get(name, 0) + value
            if name == metrics.GATEWAY_REQUESTS.name:
                status = labels.get("status", "")
                statuses[status] = statuses.get(status, 0) + int(value)
    if metrics.GATEWAY_RECEIVED.name not in sums:
        return None
    return GatewayView(
        url=url,
        requests=sum(statuses.values()),
        received_bytes=int(sums[metrics.GATEWAY_RECEIVED.name]),
        in_flight_bytes=int(sums.get(metrics.GATEWAY_IN_FLIGHT.name, 0)),
        statuses=dict(sorted(statuses.items())),
    )
