"""A broker with TLS, passwords and access rights, and users who have only the rights named."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import yaml
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # a star import hides them
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic

from pinpip.local.java import KafkaProcess, SecuredListener, free_port
from tests.support.brokers import own_kafka
from tests.support.certificates import Certificates, certificates
from tests.support.commands import change
from tests.support.processes import Home

TYPES = ("pin", "geo", "user")
# What each user may do: "OPERATION on the topics", "OPERATION on the group".
RIGHTS: dict[str, set[str]] = {
    "alice": {"READ on the topics", "WRITE on the topics", "READ on the group"},
    "bob": set(),
    "member": {"READ on the topics", "READ on the group"},
    "reader": {"READ on the topics"},
    "viewer": {"DESCRIBE on the topics"},
    "writer": {"WRITE on the topics"},
}
PASSWORDS = {user: f"correct-horse-of-{user}" for user in RIGHTS}


@dataclass(frozen=True)
class Fortress:
    """A broker that admits those with a password, over TLS, to what they have rights to."""

    kafka: KafkaProcess
    shown: Certificates

    def home(self, folder: Path, user: str = "alice", **changed: str) -> Home:
        """Make a home with new topics and the credentials of `user`."""
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
        """Topics, and each user's rights to them and to the group of this configuration."""
        admin = AdminClient({"bootstrap.servers": self.kafka.bootstrap})
        made = admin.create_topics([NewTopic(f"{identity}.{t}", 2, 1) for t in TYPES])
        bindings = [
            _binding(identity, user, right) for user, rights in RIGHTS.items() for right in rights
        ]
        for done in [*made.values(), *admin.create_acls(bindings).values()]:
            done.result(30)


def become(home: Home, user: str) -> None:
    """Let the home's next commands come to Kafka as `user`."""
    change(home, "kafka/sasl.username", user)
    change(home, "kafka/sasl.password", PASSWORDS[user])


def _binding(identity: str, user: str, right: str) -> AclBinding:
    operation, _, what = right.partition(" on the ")
    topics = (ResourceType.TOPIC, f"{identity}.", ResourcePatternType.PREFIXED)
    group = (ResourceType.GROUP, f"pinpip-{identity}-user", ResourcePatternType.LITERAL)
    where = topics if what == "topics" else group
    allowed = (AclOperation[operation], AclPermissionType.ALLOW)
    return AclBinding(*where, f"User:{user}", "*", *allowed)


@contextmanager
def fortress(folder: Path) -> Iterator[Fortress]:
    """Start the broker while the block runs, or skip the test without Java and Maven."""
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
    guard = SecuredListener("SASL_SSL", PASSWORDS)
    with own_kafka(folder / "kafka", properties=properties, guard=guard) as kafka:
        yield Fortress(kafka, shown)
