"""Brokers and clouds for the tests, started once per run."""

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

pytest.register_assert_rewrite("tests.contracts.source_contract", "tests.contracts.sink_contract")

from core import aws as connection  # noqa: E402  # after the rewrite is registered
from core.network import spare_loopback  # noqa: E402
from pinpip.local.embedded import embedded_aws  # noqa: E402
from tests.support import brokers, examples, logs  # noqa: E402
from tests.support.aws import TestAws  # noqa: E402
from tests.support.brokers import Broker  # noqa: E402

spare_loopback()
settings.register_profile("pinpip", deadline=None)  # a busy machine is no failure
settings.register_profile(examples.FAST, deadline=None, max_examples=10)
settings.load_profile("pinpip")
_BROKER = pytest.StashKey[str]()
_SHARED = pytest.StashKey[ExitStack]()


def pytest_configure(config: pytest.Config) -> None:
    """Start the broker once for all processes of a run that is spread over several.

    What the tests start hears of a closed terminal, also where this run does not (nohup).
    """
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    spreads = bool(config.getoption("numprocesses", None))
    given = os.environ.get(brokers.GIVEN)
    if not spreads or ":" in (given or "") or config.getoption("collectonly"):
        return
    shared = config.stash[_SHARED] = ExitStack()
    folder = Path(shared.enter_context(tempfile.TemporaryDirectory()))
    best = shared.enter_context(brokers.best_broker(folder / "kafka"))
    config.stash[_BROKER] = best.name
    if best.real:
        os.environ[brokers.GIVEN] = best.bootstrap
        shared.callback(_restore, given)


def pytest_runtest_teardown() -> None:
    """Forget how a command in this process set up the log: the next test may look at lines."""
    if structlog.is_configured():
        logs.reset()


def _restore(given: str | None) -> None:
    os.environ.pop(brokers.GIVEN)
    if given is not None:
        os.environ[brokers.GIVEN] = given


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use moto's server."""
    for item in items:
        if "aws" in getattr(item, "fixturenames", ()):
            item.add_marker("moto")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the shared broker."""
    config.stash.get(_SHARED, ExitStack()).close()


@pytest.fixture(scope="session")
def broker(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Broker]:
    """Start the best available Kafka: see tests/support/brokers.py."""
    with brokers.best_broker(tmp_path_factory.mktemp("kafka")) as best:
        pytestconfig.stash[_BROKER] = best.name
        yield best


@pytest.fixture(scope="session")
def mock_broker() -> Iterator[Broker]:
    """Start librdkafka's mock cluster, even where a real Kafka is available."""
    with brokers.mock_broker() as mock:
        yield mock


@pytest.fixture(scope="session")
def aws() -> Iterator[TestAws]:
    """Start moto's server: S3, Kinesis and DynamoDB."""
    with embedded_aws() as endpoint:
        yield TestAws(endpoint)


@pytest.fixture(autouse=True)
def _own_identity() -> None:
    """Clear the cached AWS identity: each test counts as a separate process."""
    connection.session.cache_clear()


@pytest.fixture(autouse=True)
def _real_broker_if_marked(request: pytest.FixtureRequest) -> None:
    if not request.node.get_closest_marker("real_broker"):
        return
    best: Broker = request.getfixturevalue("broker")
    if not best.real:
        pytest.skip("needs a real Apache Kafka: install Java and Maven, or set PINPIP_TEST_KAFKA")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say which broker the run stood on."""
    name = config.stash.get(_BROKER, None)
    if name is not None:
        terminalreporter.write_line(f"broker of this run: {name}")
