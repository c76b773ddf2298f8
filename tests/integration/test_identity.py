"""One AWS identity for every library of the process, behind a proxy that sees each request."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from botocore.config import Config
from botocore.utils import ContainerMetadataFetcher
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from audit.snapshot import Snapshot
from core import aws as connection
from core.batch import KAFKA, Position
from core.clock import SystemClock
from core.config import Aws
from core.errors import ConfigError, TransientError
from sinks.delta.sink import DeltaSink
from sinks.delta.table import find
from sinks.storage.options import options_at
from sinks.storage.store import open_store
from tests.support.batches import APP, RecordLog, delta_target
from tests.support.commands import change, the_error
from tests.support.identities import KEYS, Cloud, cloud_behind_a_proxy, written
from tests.support.processes import Home, kinesis_home, payloads, put, stop, until
from tests.support.work import AwsWork, everybody, lake_of

STORE = "http://aws.example"  # only the proxy knows it
PROCESS = "import pathlib, sys; print(pathlib.Path(sys.argv[1]).read_text())"


@pytest.fixture(scope="module")
def served() -> Iterator[Cloud]:
    """One server for all tests."""
    with cloud_behind_a_proxy() as cloud:
        yield cloud


@pytest.fixture
def cloud(served: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cloud:
    """Start a cloud behind the proxy, in an environment without an AWS identity."""
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", STORE)
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, served.endpoint)
    served.issue = 1
    return served


Way = Callable[[Cloud, pytest.MonkeyPatch, Path], Aws]


def configured(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, _: Path) -> Aws:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of another identity")
    return Aws.model_validate({"access_key_id": cloud.key, "secret_access_key": "secret"})


def configured_with_a_token(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, _: Path) -> Aws:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    keys = {"access_key_id": cloud.key, "secret_access_key": "s", "session_token": "token1"}
    return Aws.model_validate(keys)


def environment(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, _: Path) -> Aws:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", cloud.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token1")
    return Aws()


def profile(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Aws:
    keys = f"aws_access_key_id = {cloud.key}\naws_secret_access_key = secret\n"
    written(folder, "credentials", f"[mine]\n{keys}")
    monkeypatch.setenv("AWS_PROFILE", "mine")
    return Aws()


def role(_: Cloud, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Aws:
    base = "[base]\naws_access_key_id = BASE\naws_secret_access_key = secret\n"
    written(folder, "credentials", base)
    arn = "arn:aws:iam::123456789012:role/reader"
    written(folder, "config", f"[profile mine]\nrole_arn = {arn}\nsource_profile = base\n")
    monkeypatch.setenv("AWS_PROFILE", "mine")
    return Aws()


def process(_: Cloud, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Aws:
    script = written(folder, "process.py", PROCESS)
    command = f"{sys.executable} {script} {folder / 'issued.json'}"
    written(folder, "config", f"[profile mine]\ncredential_process = {command}\n")
    monkeypatch.setenv("AWS_PROFILE", "mine")
    return Aws()


def container(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, _: Path) -> Aws:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{cloud.endpoint}{KEYS}")
    return Aws()


def web_identity(_: Cloud, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Aws:
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/reader")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", written(folder, "token", "signed"))
    return Aws()


def issue(cloud: Cloud, number: int, folder: Path) -> None:
    """From now on every authority gives out these keys, which live for a minute."""
    cloud.issue = number
    given = cloud.keys()
    issued = {"Version": 1, "SessionToken": given["Token"], **given}
    written(folder, "issued.json", json.dumps(issued))


@pytest.mark.parametrize(
    "way", [configured, configured_with_a_token, environment, profile], ids=lambda w: w.__name__
)
def test_every_library_shows_the_keys_that_were_given(
    way: Way, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    work = AwsWork(way(cloud, monkeypatch, tmp_path), cloud, lake_of(cloud))
    assert work.users() == everybody("KEY1")
    token = None if way in {configured, profile} else "token1"
    assert {call.token for call in cloud.calls} == {token}


@pytest.mark.parametrize("way", [role, process, container, web_identity], ids=lambda w: w.__name__)
def test_every_library_shows_one_key_and_the_new_one_once_it_is_renewed(
    way: Way, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    issue(cloud, 1, tmp_path)
    work = AwsWork(way(cloud, monkeypatch, tmp_path), cloud, lake_of(cloud))
    assert work.users() == everybody("KEY1")
    issue(cloud, 2, tmp_path)
    assert work.users() == everybody("KEY2")
    assert {call.token for call in cloud.calls} == {"token2"}
    assert {call.host for call in cloud.calls} == {STORE.removeprefix("http://")}, "the chain alone"


@pytest.mark.parametrize("way", [role, container, web_identity], ids=lambda w: w.__name__)
def test_keys_that_live_long_are_asked_for_once(
    way: Way, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cloud, "life", timedelta(hours=1))
    work = AwsWork(way(cloud, monkeypatch, tmp_path), cloud, lake_of(cloud))
    assert work.users() == everybody("KEY1")
    issue(cloud, 2, tmp_path)
    assert work.users() == everybody("KEY1")


def test_a_table_that_is_read_for_longer_than_its_keys_live_is_opened_again(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    aws, uri = container(cloud, monkeypatch, tmp_path), f"s3://{cloud.direct.bucket()}/pin"
    options, log = options_at(uri, aws), RecordLog(KAFKA)
    sink = DeltaSink(
        "pin", delta_target(uri, options, KAFKA, "clean"), open_store(uri, aws), SystemClock()
    )
    sink.positions([log.partition(0)])
    sink.write(log.batch({0: (0, 3)}))
    snapshot = Snapshot(uri, "clean", options, KAFKA, APP, "")
    sink.write(log.batch({0: (3, 9)}))
    cloud.calls.clear()
    issue(cloud, 2, tmp_path)
    assert snapshot.position(log.partition(0)) == Position(3)
    assert snapshot.keys()[log.partition(0)].len() == 2
    assert cloud.users() == {"boto3": {"KEY2"}, "delta-rs": {"KEY2"}, "polars": {"KEY2"}}


@pytest.mark.parametrize("way", [role, container, web_identity], ids=lambda w: w.__name__)
def test_keys_that_cannot_be_renewed_now_are_a_passing_fault(
    way: Way, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ContainerMetadataFetcher, "SLEEP_TIME", 0)
    work = AwsWork(way(cloud, monkeypatch, tmp_path), cloud, lake_of(cloud))
    assert work.users() == everybody("KEY1")
    with monkeypatch.context() as refused:
        refused.setattr(cloud, "refuses", True)
        for step in (work.store, work.table):
            with pytest.raises(TransientError) as caught:
                step()
            assert "give AWS credentials" in caught.value.hint
    assert work.users() == everybody("KEY1")


@pytest.fixture
def home(cloud: Cloud, tmp_path: Path) -> Home:
    """Configure a pipeline from a stream to a bucket without any AWS settings."""
    made = kinesis_home(tmp_path, cloud.direct, cloud.direct.stream(1))
    change(made, "aws", {})
    change(made, "lake/root", f"s3://{cloud.direct.bucket()}/lake")
    return made


def rows(home: Home, cloud: Cloud) -> int:
    """Rows of the table and its quarantine; none before there is a table."""
    uris = [f"{home.config.lake.root}/{name}" for name in ("user", "user_quarantine")]
    options = cloud.direct.storage_options()
    with suppress(TableNotFoundError):
        return sum(DeltaTable(uri, storage_options=options).count() for uri in uris)
    return 0


def test_a_consumer_and_the_commands_after_it_show_the_new_key(
    home: Home, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    container(cloud, monkeypatch, tmp_path)
    stream = home.config.pipelines["user"].source.stream  # type: ignore[union-attr]  # Kinesis's
    with home.running("consume") as consumer:
        for number, key in ((1, 1), (2, 2), (3, 2)):
            issue(cloud, key, tmp_path)
            cloud.calls.clear()  # what is under way when keys change may show either
            put(cloud.direct, stream, payloads(50, since=50 * (number - 1)))
            until(lambda held=50 * number: rows(home, cloud) == held, "the rows")  # type: ignore[misc]
        assert stop(consumer) == 0
    for command in (["verify"], ["quarantine", "list", "user"], ["status"]):
        done = home.run(*command)
        assert done.returncode in {0, 4}, (command, done.stderr)
    others = [call for call in cloud.calls if call.key != "local"]  # those of this test
    assert {(call.library, call.key) for call in others} == {
        (library, "KEY2") for library in everybody("")
    }


@pytest.mark.parametrize("command", ["consume", "verify"])
def test_a_command_without_credentials_says_so(home: Home, command: str) -> None:
    said = the_error(home.run(command))
    assert "AWS's own chain finds no credentials" in said
    assert "AWS_PROFILE" in said


def test_no_credentials_are_one_error_everywhere(cloud: Cloud) -> None:
    uri, nobody = f"s3://{cloud.direct.bucket()}/lake", Aws()
    cloud.calls.clear()
    ways: list[Callable[[], object]] = [
        lambda: connection.client(nobody, "kinesis", Config()),
        lambda: open_store(uri, nobody),
        lambda: find(uri, options_at(uri, nobody)),
        lambda: connection.credentials(nobody),
    ]
    for way in ways:
        with pytest.raises(ConfigError, match="AWS's own chain finds no credentials"):
            way()
    assert cloud.calls == []
