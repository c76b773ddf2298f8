"""Amazon MSK's IAM access control, its signer replaced; on the real broker with its tokens."""

import asyncio
import base64
import json
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aws_msk_iam_sasl_signer import MSKAuthTokenProvider
from botocore.credentials import CredentialProvider
from botocore.exceptions import CredentialRetrievalError
from confluent_kafka.admin import AdminClient

from consumers.window import Window
from core import kafka, msk
from core.batch import Partition, Position
from core.clock import SystemClock
from core.config import Config, TopicsSection
from core.errors import ConfigError, SourceError
from gateway.http.request_codec import KafkaRecord
from gateway.kafka.producer import KafkaProducer, Stored
from pinpip.cli import replay
from pinpip.connectors import connector_of
from pinpip.connectors.kafka import KafkaConnector
from pinpip.local.java import KafkaProcess, SecuredListener
from pinpip.pipelines import loop_of
from producers.delivery import DeliveryStatus, ProducerRecord
from producers.direct import KafkaDirect
from tests.support.brokers import Broker, own_kafka
from tests.support.commands import change
from tests.support.places import ROOT
from tests.support.processes import Home, assert_same_tables, kafka_home, payloads, until

PIPELINE = {
    "source": {"topics": ["a"]},
    "schema": "transforms.user:SCHEMA",
    "transform": "transforms.user:clean",
    "sinks": [{"delta": "user"}],
}
KEYS = {"access_key_id": "AKID", "secret_access_key": "hush"}


def config(kafka: Mapping[str, object], **own: object) -> Config:
    """Make a configuration whose section `kafka` includes these properties."""
    tree = {
        "id": "demo",
        "kafka": {"bootstrap.servers": "b:9", **kafka},
        "aws": {"region": "eu-north-1", **own},
        "pipelines": {"user": PIPELINE},
    }
    return Config.model_validate(tree)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide every credential from AWS's own chain."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


class FakeSigner:
    """Stands in for AWS's signer: tokens 1, 2, 3 …, and who asked for them."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.failure: Exception | None = None

    def __call__(self, region: str, provider: CredentialProvider) -> tuple[str, int]:
        assert isinstance(provider, CredentialProvider)  # as the real one insists
        if self.failure is not None:
            raise self.failure
        found = provider.load()
        self.asked.append((region, found.access_key, found.secret_key))
        return f"token {len(self.asked)}", 1_900_000_000_500


@pytest.fixture
def signer(monkeypatch: pytest.MonkeyPatch) -> FakeSigner:
    fake = FakeSigner()
    name = "generate_auth_token_from_credentials_provider"
    monkeypatch.setattr(MSKAuthTokenProvider, name, fake)
    return fake


@pytest.mark.parametrize("spelling", ["sasl.mechanism", "sasl.mechanisms"])
def test_the_name_of_java_clients_becomes_a_token_for_the_configured_region(
    signer: FakeSigner, spelling: str
) -> None:
    found = kafka.properties(config({spelling: "AWS_MSK_IAM", "linger.ms": 7}, **KEYS))
    callback = found.pop("oauth_cb")
    assert found == {
        "bootstrap.servers": "b:9",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "OAUTHBEARER",
        "linger.ms": 7,
    }
    assert callback("") == ("token 2", 1_900_000_000.5)  # seconds, not milliseconds
    assert signer.asked == [("eu-north-1", "AKID", "hush")] * 2


def test_every_other_mechanism_is_handed_on_untouched(signer: FakeSigner) -> None:
    plain = {"bootstrap.servers": "broker:9092", "sasl.mechanism": "SCRAM-SHA-512"}
    assert kafka.properties(config(plain)) == plain
    assert signer.asked == []


@pytest.mark.usefixtures("bare")
def test_keys_come_from_awss_own_chain_when_none_are_configured(
    signer: FakeSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "quiet")
    kafka.properties(config({"sasl.mechanism": "AWS_MSK_IAM"}))
    assert signer.asked == [("eu-north-1", "ENV", "quiet")]


@pytest.mark.usefixtures("bare", "signer")
def test_no_credentials_are_an_error_before_any_client_is_made() -> None:
    with pytest.raises(ConfigError, match="credentials") as caught:
        kafka.properties(config({"sasl.mechanism": "AWS_MSK_IAM"}))
    assert "AWS_PROFILE" in caught.value.hint


@pytest.mark.usefixtures("bare", "signer")
def test_an_unknown_profile_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ConfigError, match=r"profile \(nobody\)"):
        kafka.properties(config({"sasl.mechanism": "AWS_MSK_IAM"}))


def test_a_missing_package_is_an_error_that_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [n for n in sys.modules if n.startswith("aws_msk_iam_sasl_signer")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match="not installed") as caught:
        kafka.properties(config({"sasl.mechanism": "AWS_MSK_IAM"}, **KEYS))
    assert caught.value.hint == "pip install 'pinpip[msk]'"


def test_a_token_that_cannot_be_renewed_is_handed_out_until_it_expires(
    signer: FakeSigner, capsys: pytest.CaptureFixture[str]
) -> None:
    callback = kafka.properties(config({"sasl.mechanism": "AWS_MSK_IAM"}, **KEYS))["oauth_cb"]
    signer.failure = CredentialRetrievalError(provider="sso", error_msg="expired")
    assert callback("") == ("token 1", 1_900_000_000.5)
    assert "expired" in capsys.readouterr().out
    signer.failure = None
    assert callback("") == ("token 2", 1_900_000_000.5)


def test_the_real_signer_takes_what_it_is_given() -> None:
    callback = kafka.properties(config({"sasl.mechanism": "AWS_MSK_IAM"}, **KEYS))["oauth_cb"]
    token, expires = callback("")
    url = base64.urlsafe_b64decode(token + "==").decode()
    assert url.startswith("https://kafka.eu-north-1.amazonaws.com/?Action=kafka-cluster%3AConnect")
    assert "AKID" in url
    assert "hush" not in url
    assert 0 < expires - time.time() <= 900


def test_every_client_is_made_from_these_properties() -> None:
    """Whoever hands out the section itself would leave MSK's users outside."""
    packages = (
        "core",
        "audit",
        "pinpip",
        "producers",
        "gateway",
        "consumers",
        "transforms",
        "sinks",
        "reports",
    )
    files = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    found = [path.name for path in files if "config.kafka.properties()" in path.read_text("utf-8")]
    assert found == ["kafka.py"]


# --- tokens against the real broker

RENEWED_WITHIN = 4.0  # seconds: the client asks for the next token before
LIFETIME = 8.0  # seconds: the broker ends the connection then
MODULE = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"


class UnsecuredSigner(FakeSigner):
    """Signs nothing: the broker believes its tokens as they are."""

    def __call__(self, region: str, provider: CredentialProvider) -> tuple[str, int]:
        super().__call__(region, provider)
        now = time.time()
        return unsecured(now), int((now + RENEWED_WITHIN) * 1000)


def unsecured(now: float) -> str:
    """Make a token as Kafka's unsecured OAUTHBEARER handlers accept it (RFC 7515, A.5)."""
    claims = {"sub": "alice", "iat": now, "exp": now + LIFETIME}
    parts = [base64.urlsafe_b64encode(json.dumps(p).encode()) for p in ({"alg": "none"}, claims)]
    return ".".join([*(part.decode().rstrip("=") for part in parts), ""])


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaProcess]:
    """Start a broker that ends a connection whose token has expired."""
    properties = {
        "sasl.enabled.mechanisms": "OAUTHBEARER",
        "listener.name.guarded.oauthbearer.sasl.jaas.config": f"{MODULE} required"
        ' unsecuredLoginStringClaim_sub="broker";',
        "connections.max.reauth.ms": "600000",
    }
    folder = tmp_path_factory.mktemp("oauth")
    with own_kafka(folder, properties=properties, guard=SecuredListener("SASL_PLAINTEXT")) as kafka:
        yield kafka


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch) -> UnsecuredSigner:
    fake = UnsecuredSigner()
    name = "generate_auth_token_from_credentials_provider"
    monkeypatch.setattr(MSKAuthTokenProvider, name, fake)
    return fake


@pytest.fixture
def home(guarded: KafkaProcess, tokens: UnsecuredSigner, tmp_path: Path) -> Home:
    """Make a home whose configuration names AWS_MSK_IAM, this broker and a new topic."""
    del tokens
    broker = Broker(guarded.bootstrap, "guarded", real=True)
    own = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "AWS_MSK_IAM"}
    made = kafka_home(tmp_path, broker, broker.create_topic(1), **own)
    change(made, "kafka/bootstrap.servers", guarded.guarded)
    change(made, "aws", KEYS)
    return made


def topic_of(home: Home) -> str:
    source = home.config.pipeline("user").source
    assert isinstance(source, TopicsSection)
    return source.topics[0]


@contextmanager
def consuming(home: Home) -> Iterator[None]:
    """Run the live pipeline in a thread of this process, where the signer is replaced."""
    with ThreadPoolExecutor(2) as threads:
        loop = loop_of(home.config, "user", SystemClock(), threads)
        running = threads.submit(loop.run)
        try:
            yield
        finally:
            loop.stop()
            running.result(30)


async def by_gateway(producer: KafkaProducer, topic: str, value: bytes) -> None:
    """Store `value` as the gateway does."""
    await producer.open()
    assert await producer.knows(topic)
    [outcome] = await producer.produce(topic, [KafkaRecord(b"k", value, None)])
    assert isinstance(outcome, Stored), outcome
    await producer.close()


@pytest.mark.process
def test_records_travel_by_every_client_with_tokens(home: Home) -> None:
    config, topic, values = home.config, topic_of(home), payloads(2, since=1)
    [stored] = KafkaDirect(kafka.properties(config)).send(topic, [ProducerRecord(1, values[0])])
    assert stored.status is DeliveryStatus.STORED, stored
    asyncio.run(by_gateway(KafkaProducer(kafka.properties(config)), topic, values[1]))
    with consuming(home):
        until(lambda: home.rows() == len(values), "both rows")
    replay.run(config, "user", "again", Window())
    assert_same_tables(home, "user", "again")
    partition, now = Partition(topic, "0"), datetime.now(UTC)
    connector = connector_of(config, "user")
    assert isinstance(connector, KafkaConnector)
    assert connector.ends() == {partition: Position(2)}
    assert connector.unread({}, now) == {partition: 2}
    admin = AdminClient(kafka.properties(config))
    assert admin.list_topics(topic, timeout=10).topics[topic].partitions


@pytest.mark.process
def test_a_consumer_outlives_its_tokens(
    guarded: KafkaProcess, home: Home, tokens: UnsecuredSigner
) -> None:
    broker = Broker(guarded.bootstrap, "guarded", real=True)
    with consuming(home):
        broker.produce(topic_of(home), payloads(1, since=1))
        until(lambda: home.rows() == 1, "the first row")
        before, began = len(tokens.asked), time.monotonic()
        until(lambda: time.monotonic() - began > LIFETIME, "the end of the first token")
        assert len(tokens.asked) > before
        broker.produce(topic_of(home), payloads(1, since=2))
        until(lambda: home.rows() == 2, "a row by a later token")


@pytest.mark.process
def test_a_token_that_the_broker_refuses_ends_the_consumer(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = unsecured(time.time() - 60)
    monkeypatch.setattr(msk.Signer, "__call__", lambda *_: (stale, time.time() + 60))
    with ThreadPoolExecutor(1) as writer, pytest.raises(SourceError, match="refuses") as caught:
        loop_of(home.config, "user", SystemClock(), writer).run()
    assert "rights" in caught.value.hint
