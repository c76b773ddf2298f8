"""SASL/SCRAM over TLS with access rights, on the real broker, through config.yaml alone."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
import requests
import yaml
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.cimpl import NewTopic

from pinpip.local.java import Guard, Kafka, free_port
from tests.support.brokers import own_kafka
from tests.support.certificates import Certificates, certificates
from tests.support.commands import the_error, tree_of
from tests.support.processes import Home, assert_same_tables, stop, until

pytestmark = pytest.mark.real_broker

PASSWORDS = {"alice": "correct-horse", "bob": "battery-staple"}
TYPES = ("pin", "geo", "user")


@dataclass(frozen=True)
class Fortress:
    """A broker that lets in those with a password, over TLS, to what is theirs."""

    kafka: Kafka
    shown: Certificates

    def home(self, folder: Path, user: str = "alice", **changed: str) -> Home:
        """A home with topics of its own, and what `user` needs to know to reach them."""
        identity = f"c{uuid4().hex[:8]}"
        self._prepare(identity)
        known = {
            "bootstrap_servers": self.kafka.guarded,
            "security_protocol": "SASL_SSL",
            "ssl_ca_location": str(self.shown.authority),
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": user,
            "sasl_password": PASSWORDS[user],
        }
        pipeline = {
            "source": {"topics": ["{id}.user"]},
            "schema": "transforms.user:SCHEMA",
            "transform": "transforms.user:clean",
            "sinks": [{"delta": "user"}],
        }
        tree = {
            "id": identity,
            "kafka": {n.replace("_", "."): value for n, value in (known | changed).items()},
            "lake": {"root": str(folder / "lake")},
            "gateway": {"port": free_port()},
            "batching": {"max_wait": 0.1},
            "pipelines": {"user": pipeline},
        }
        home = Home(folder)
        home.config_path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
        return home

    def _prepare(self, identity: str) -> None:
        """Topics; alice may use them and the groups of this configuration, and nothing else."""
        admin = AdminClient({"bootstrap.servers": self.kafka.bootstrap})
        made = admin.create_topics([NewTopic(f"{identity}.{t}", 2, 1) for t in TYPES])
        rights = [
            (ResourceType.TOPIC, f"{identity}.", AclOperation.READ),
            (ResourceType.TOPIC, f"{identity}.", AclOperation.WRITE),
            (ResourceType.GROUP, "pinpip-", AclOperation.READ),
        ]
        bindings = [
            AclBinding(
                what,
                name,
                ResourcePatternType.PREFIXED,
                "User:alice",
                "*",
                operation,
                AclPermissionType.ALLOW,
            )
            for what, name, operation in rights
        ]
        for done in [*made.values(), *admin.create_acls(bindings).values()]:
            done.result(30)


@pytest.fixture(scope="module")
def fortress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fortress]:
    folder = tmp_path_factory.mktemp("fortress")
    shown = certificates(folder / "certificates")
    properties = {
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.guarded.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(shown.server),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",  # who comes by the open listener
    }
    guard = Guard("SASL_SSL", PASSWORDS)
    with own_kafka(folder / "kafka", properties=properties, guard=guard) as kafka:
        yield Fortress(kafka, shown)


def test_every_command_reaches_the_broker_and_each_record_arrives_once(
    fortress: Fortress, tmp_path: Path
) -> None:
    home, events = fortress.home(tmp_path), 3000
    sent = home.run("produce", "--direct", "--route", "kafka", "--count", str(events), "--json")
    assert sent.returncode == 0, sent.stderr
    assert [row["stored"] for row in json.loads(sent.stdout)] == [events] * 3
    with home.running("consume", "user") as consumer:
        until(lambda: home.rows() > 0, "a first commit")
        consumer.kill()
        consumer.wait()
    with serving(home) as url:
        answer = post(url, {"ind": -1, "first_name": "No", "last_name": "One", "age": 30})
        assert answer.status_code == 200, answer.text
        assert answer.json()["offsets"][0]["error_code"] is None
    with home.running("consume", "user") as consumer:
        until(lambda: home.rows() == events + 1, "all rows")
        assert stop(consumer) == 0
    verdict = home.verify("--grace", "0")
    assert (verdict["clean"], verdict["findings"]) == (events + 1, [])
    [tree] = json.loads(home.run("status", "--json").stdout)
    assert tree["lag"] == 0
    again = home.run("replay", "user", "--into", "again")
    assert again.returncode == 0, again.stderr
    assert_same_tables(home, "user", "again")


@contextmanager
def serving(home: Home) -> Iterator[str]:
    """The gateway of `home` while the block runs; the URL of its topic."""
    config = home.config
    with home.running("gateway", log="gateway.log") as gateway:
        log = home.folder / "gateway.log"
        until(lambda: b"listening" in log.read_bytes(), "the gateway to listen")
        yield f"http://127.0.0.1:{config.gateway.port}/topics/{config.id}.user"
        assert stop(gateway, 35) == 0


def post(url: str, value: dict[str, object]) -> requests.Response:
    """Send one record by HTTP."""
    return requests.post(
        url,
        json={"records": [{"key": "k", "value": value}]},
        headers={"Content-Type": "application/vnd.kafka.json.v2+json"},
        timeout=40,
    )


WRONG = {
    "password": {"sasl_password": "guessed-wrong"},
    "authority": {"ssl_ca_location": "{other}"},
    "protocol": {"security_protocol": "PLAINTEXT"},
    "mechanism": {"sasl_mechanism": "PLAIN"},
}
SAID = {
    "password": ("invalid credentials", "password"),
    "authority": ("certificate verify failed", "ssl.ca.location"),
    "protocol": ("no broker of", "security.protocol"),
    "mechanism": ("Unsupported SASL mechanism", "user"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_broker_that_does_not_let_us_in_is_one_clear_error(
    fortress: Fortress, tmp_path: Path, wrong: str
) -> None:
    other = certificates(tmp_path / "others").authority
    changed = {name: value.format(other=other) for name, value in WRONG[wrong].items()}
    home = fortress.home(tmp_path, **changed)
    done = home.run("consume", "user")
    error = the_error(done)
    cause, step = SAID[wrong]
    assert cause in error.splitlines()[0]
    assert step in error.splitlines()[1]
    assert_keeps_secrets(home, done.stdout + done.stderr)


@pytest.mark.parametrize(
    "command",
    [
        ["verify", "user"],
        ["status", "user"],
        ["replay", "user", "--into", "again"],
        ["produce", "--direct", "--route", "kafka"],
    ],
    ids=lambda words: words[0],
)
def test_every_command_says_that_the_password_is_wrong(
    fortress: Fortress, tmp_path: Path, command: list[str]
) -> None:
    home = fortress.home(tmp_path, **WRONG["password"])
    done = home.run(*command)
    assert "invalid credentials" in the_error(done)
    assert_keeps_secrets(home, done.stdout + done.stderr)


@pytest.mark.parametrize(
    "command",
    [["consume"], ["verify"], ["status"], ["replay", "user", "--into", "again"]],
    ids=lambda words: words[0],
)
def test_a_user_who_may_not_read_the_topic_is_told_which_right_is_missing(
    fortress: Fortress, tmp_path: Path, command: list[str]
) -> None:
    home = fortress.home(tmp_path, user="bob")
    error = the_error(home.run(*command))
    assert "authorization failed" in error
    assert "READ on the topics and the group" in error


def test_a_user_who_may_not_write_is_told_so(fortress: Fortress, tmp_path: Path) -> None:
    home = fortress.home(tmp_path, user="bob")
    error = the_error(home.run("produce", "--direct", "--route", "kafka", "--count", "1"))
    assert "authorization failed" in error
    assert "WRITE on the topics" in error


def test_the_configuration_is_shown_without_its_passwords(
    fortress: Fortress, tmp_path: Path
) -> None:
    home = fortress.home(tmp_path)
    for words in (["config", "check"], ["config", "check", "--json"], ["--debug", "status"]):
        done = home.run(*words)
        assert_keeps_secrets(home, done.stdout + done.stderr)


def assert_keeps_secrets(home: Home, text: str) -> None:
    """The password in force is in none of what was said."""
    assert tree_of(home)["kafka"]["sasl.password"] not in text


def test_the_gateway_forbids_what_its_user_may_not_write(
    fortress: Fortress, tmp_path: Path
) -> None:
    home = fortress.home(tmp_path, user="bob")

    def forbidden() -> bool:
        answer = post(url, {"ind": 1})
        [entry] = answer.json()["offsets"]
        assert entry["error_code"] is not None
        return answer.status_code == 403 and "authorization failed" in entry["error"]

    with serving(home) as url:
        until(forbidden, "the broker's word")
        assert forbidden()
