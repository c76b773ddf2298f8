"""Outages of a store, by processes: a consumer waits, tells of it, and still stops in time."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.support.brokers import Broker
from tests.support.processes import Home, kafka_home, payloads, stop


class Silent:
    """A server that takes connections and requests and never answers."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"

    def hears(self) -> socket.socket:
        """Return the connection of the first request, once one was made."""
        connection, _ = self._listener.accept()
        connection.recv(1)
        return connection


@contextmanager
def silent() -> Iterator[Silent]:
    """Start one on a free port while the block runs."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(40)
        yield Silent(listener)


def on_s3(home: Home, endpoint: str) -> None:
    """Put the lake into a bucket at `endpoint`."""
    tree = yaml.safe_load(home.config_path.read_text())
    tree["lake"]["root"] = "s3://nowhere/lake"
    keys = {"access_key_id": "local", "secret_access_key": "local"}
    tree["aws"] = {"endpoint_url": endpoint} | keys
    home.config_path.write_text(yaml.safe_dump(tree), encoding="utf-8")


def log_of(home: Home) -> str:
    """Return the log of the last process."""
    return (home.folder / "process.log").read_text(encoding="utf-8")


def test_a_consumer_whose_store_never_answers_stops_in_time_and_names_it(
    mock_broker: Broker, tmp_path: Path
) -> None:
    topic = mock_broker.create_topic()
    mock_broker.produce(topic, payloads(10))
    home = kafka_home(tmp_path, mock_broker, topic)
    with silent() as server:
        on_s3(home, server.endpoint)
        with home.running("consume", "user") as consumer, server.hears():
            assert stop(consumer) == 1
    assert re.search(r"error: stopped without the answers of: user, clean \(\d+ s\)", log_of(home))
    assert "nothing is lost or doubled" in log_of(home)
