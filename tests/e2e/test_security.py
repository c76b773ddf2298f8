"""SASL/SCRAM over TLS with access rights, on the real broker, through config.yaml alone."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from consumers.kafka.protocol import requests_of
from tests.support.certificates import certificates
from tests.support.commands import change, the_error, tree_of
from tests.support.fortress import RIGHTS, Fortress, become, fortress
from tests.support.places import ROOT
from tests.support.processes import Home, assert_same_tables, stop, until

pytestmark = pytest.mark.real_broker

DOCS = ROOT / "docs" / "kafka.md"
LEAST = {
    "consume": "member",
    "status`, `ui": "viewer",
    "verify": "reader",
    "verify --reread": "reader",
    "replay": "reader",
    "produce --direct": "writer",
    "gateway": "writer",
}


@pytest.fixture(scope="module", name="fortress")
def _fortress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fortress]:
    with fortress(tmp_path_factory.mktemp("fortress")) as built:
        yield built


def test_every_command_needs_only_its_least_rights_and_each_record_arrives_once(
    fortress: Fortress, tmp_path: Path
) -> None:
    home, events = fortress.home(tmp_path, LEAST["produce --direct"]), 3000
    sent = home.run("produce", "--direct", "--route", "kafka", "--count", str(events), "--json")
    assert sent.returncode == 0, sent.stderr
    assert [row["stored"] for row in json.loads(sent.stdout)] == [events] * 3
    become(home, LEAST["consume"])
    with home.running("consume", "user") as consumer:
        until(lambda: home.rows() > 0, "a first commit")
        consumer.kill()
        consumer.wait()
    become(home, LEAST["gateway"])
    with serving(home) as url:
        answer = post(url, {"ind": -1, "first_name": "No", "last_name": "One", "age": 30})
        assert answer.status_code == 200, answer.text
        assert answer.json()["offsets"][0]["error_code"] is None
    become(home, LEAST["verify"])
    assert {f["kind"] for f in home.verify("--grace", "0")["findings"]} == {"behind"}
    become(home, LEAST["consume"])
    with home.running("consume", "user") as consumer:
        until(lambda: home.rows() == events + 1, "all rows")
        assert stop(consumer) == 0
    become(home, LEAST["status`, `ui"])
    [tree] = json.loads(home.run("status", "--json").stdout)
    assert tree["lag"] == 0
    become(home, LEAST["verify --reread"])
    verdict = home.verify("--grace", "0", "--reread")
    assert (verdict["clean"], verdict["findings"]) == (events + 1, [])
    become(home, LEAST["replay"])
    again = home.run("replay", "user", "--into", "again")
    assert again.returncode == 0, again.stderr
    assert_same_tables(home, "user", "again")
    become(home, "bob")
    unknown = home.run("verify")
    assert (unknown.returncode, "authorization failed" in unknown.stdout) == (4, True)
    change(home, "kafka/sasl.password", "guessed-wrong")
    unknown = home.run("verify")
    assert (unknown.returncode, "invalid credentials" in unknown.stdout) == (4, True)


def test_the_docs_list_each_command_with_exactly_these_rights() -> None:
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    listed = {row[0].strip("`"): rights_in(row) for row in rows if row[0].strip("`") in LEAST}
    assert listed == {command: RIGHTS[user] for command, user in LEAST.items()}


def rights_in(row: list[str]) -> set[str]:
    """Parse a row of the docs' table of rights: command, topics, group."""
    named = {"topics": row[1], "group": row[2]}
    return {f"{right} on the {what}" for what, right in named.items() if right != "-"}


@contextmanager
def serving(home: Home) -> Iterator[str]:
    """Run the gateway of `home` while the block runs; yield the URL of its topic."""
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
    [["consume"], ["replay", "user", "--into", "again"]],
    ids=lambda words: words[0],
)
def test_a_user_who_may_not_read_the_topic_is_told_which_right_is_missing(
    fortress: Fortress, tmp_path: Path, command: list[str]
) -> None:
    home = fortress.home(tmp_path, user="bob")
    error = the_error(home.run(*command))
    assert "authorization failed" in error
    assert "READ on the topics and the group" in error


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (WRONG["password"], ["invalid credentials"]),
        ({"user": "bob"}, ["authorization failed", "READ on the topics and the group"]),
    ],
    ids=["password", "right"],
)
def test_status_says_why_a_topic_is_unknown_and_shows_the_tables(
    fortress: Fortress, tmp_path: Path, wrong: dict[str, str], words: list[str]
) -> None:
    home = fortress.home(tmp_path, **wrong)
    done = home.run("status", "user")
    [said] = [line for line in done.stdout.splitlines() if line.startswith("unknown: ")]
    assert done.returncode == 0
    assert all(word in said for word in words)
    assert_keeps_secrets(home, done.stdout + done.stderr)


def test_a_broker_tells_its_versions_over_tls(fortress: Fortress) -> None:
    known = {"security.protocol": "SASL_SSL", "ssl.ca.location": str(fortress.shown.authority)}
    assert requests_of(fortress.kafka.guarded, known) >= set(range(4))


def test_a_user_who_may_not_write_is_told_so(fortress: Fortress, tmp_path: Path) -> None:
    home = fortress.home(tmp_path, user="bob")
    error = the_error(home.run("produce", "--direct", "--route", "kafka", "--count", "1"))
    assert "authorization failed" in error
    assert "WRITE" in error.splitlines()[1]


def test_the_configuration_is_shown_without_its_passwords(
    fortress: Fortress, tmp_path: Path
) -> None:
    home = fortress.home(tmp_path)
    for words in (["config", "check"], ["config", "check", "--json"], ["--debug", "status"]):
        done = home.run(*words)
        assert_keeps_secrets(home, done.stdout + done.stderr)


def assert_keeps_secrets(home: Home, text: str) -> None:
    """Assert that no output contains the current password."""
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
