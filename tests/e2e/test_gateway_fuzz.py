"""Malformed requests against a gateway process: 4xx, 501 or 505, never 500, and no memory kept.

`make fuzz` sends 100,000 of them.
"""

import os
import random
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import requests

from tests.support.brokers import Broker
from tests.support.gateway_process import GatewayProcess, gateway_process
from tests.support.gateways import JSON_FORMAT
from tests.support.malformed import GOOD, KINDS
from tests.support.processes import kafka_home

REQUESTS = int(os.environ.get("PINPIP_FUZZ_REQUESTS", "4000"))
SENDERS = 8
UNSUPPORTED = {"501", "505"}
"""What a transfer coding and a version get that HTTP/1.1 servers need not know."""
GROWTH = 50 * 1024 * 1024
WARM = 800


@pytest.fixture(scope="module")
def gateway(
    mock_broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    home = kafka_home(tmp_path_factory.mktemp("fuzz"), mock_broker, "t")
    with gateway_process(home) as process:
        yield process


def status_of(port: int, data: bytes) -> str:
    """Send `data` and nothing more; return the status of the response."""
    said = b""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        with suppress(OSError):  # it may be cut off before it has said everything
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            while part := client.recv(65536):
                said += part
    return said[9:12].decode() or "none"


def sent(port: int, seed: int, count: int) -> Counter[tuple[str, str, int]]:
    """Kinds and statuses of so many requests; the first seed of each to see it again."""
    found: Counter[tuple[str, str, int]] = Counter()
    for number in range(seed, seed + count):
        rng = random.Random(number)
        make = rng.choice(KINDS)
        status = status_of(port, make(rng))
        good = status.startswith("4") or status in UNSUPPORTED
        found[make.__name__, status, -1 if good else number] += 1
    return found


def flood(gateway: GatewayProcess, seed: int, count: int) -> Counter[tuple[str, str, int]]:
    each = count // SENDERS
    with ThreadPoolExecutor(SENDERS) as pool:
        starts = range(seed, seed + each * SENDERS, each)
        parts = list(pool.map(lambda start: sent(gateway.port, start, each), starts))
    return sum(parts, Counter())


@pytest.mark.timeout(3600)
def test_malformed_requests_get_4xx_and_leave_nothing_behind(gateway: GatewayProcess) -> None:
    flood(gateway, -WARM, WARM)
    before = gateway.resident()
    found = flood(gateway, 0, REQUESTS)
    grown = gateway.resident() - before

    kinds = sorted((key[:2], number) for key, number in found.items())
    sys.stdout.write(f"{found.total():,} requests, grown by {grown / 2**20:.1f} MiB: {kinds}\n")
    assert [key for key in found if key[2] >= 0] == []
    assert len({key[0] for key in found}) == len(KINDS)
    assert grown < GROWTH
    answer = requests.post(f"{gateway.url}/topics/t", data=GOOD, headers=JSON_FORMAT, timeout=30)
    assert answer.json()["offsets"][0]["error_code"] is None
