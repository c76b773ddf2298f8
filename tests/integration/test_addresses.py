"""Endpoint, region, authority and proxy: boto3 resolves them once, every library is handed them."""

import os
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from botocore.utils import InstanceMetadataFetcher

from core.aws_faults import AUTHORITY
from core.config import Aws
from core.errors import ConfigError, SinkError
from core.network import LINK_LOCAL, LOOPBACK, spare_loopback
from sinks.delta.table import find
from sinks.storage.options import options_at
from sinks.storage.store import open_store
from tests.support.certificates import certificates
from tests.support.identities import Cloud, cloud_behind_a_proxy, written
from tests.support.work import AwsWork, everybody, lake_of

KEYS = "aws_access_key_id = KEY1\naws_secret_access_key = secret\n"
STREAMS, TABLES = "streams.example", "tables.example"
HOSTS = {("boto3", STREAMS), ("boto3", TABLES), ("delta-rs", TABLES), ("polars", TABLES)}
_FAR = "eu-west-1"


@pytest.fixture(scope="module")
def served() -> Iterator[Cloud]:
    """One server for all tests."""
    with cloud_behind_a_proxy() as cloud:
        yield cloud


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leave an environment that has one profile and no endpoint addresses."""
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv(
        "AWS_SHARED_CREDENTIALS_FILE", written(tmp_path, "credentials", f"[mine]\n{KEYS}")
    )
    monkeypatch.setenv("AWS_PROFILE", "mine")


@pytest.fixture
def cloud(bare: None, served: Cloud, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """Start the cloud behind the proxy."""
    del bare
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, served.endpoint)
    return served


BY_ENVIRONMENT = {
    "AWS_ENDPOINT_URL": f"http://{STREAMS}",
    "AWS_ENDPOINT_URL_S3": f"http://{TABLES}",
}
BY_PROFILE = f"[profile mine]\nendpoint_url = http://{STREAMS}\nservices = own\n"
BY_PROFILE += f"[services own]\ns3 =\n  endpoint_url = http://{TABLES}\n"
BY_CONFIG = {"endpoint_url": f"http://{STREAMS}", "endpoint_urls": {"s3": f"http://{TABLES}"}}
ELSEWHERE = {"AWS_ENDPOINT_URL_S3": "http://elsewhere.example"}


@pytest.mark.parametrize(
    ("aws", "profile", "environment"),
    [
        ({}, "", BY_ENVIRONMENT),
        ({}, BY_PROFILE, {}),
        (BY_CONFIG, "", {}),
        (BY_CONFIG, "", ELSEWHERE),
    ],
    ids=["environment", "profile", "config", "config before environment"],
)
def test_each_library_goes_to_the_endpoint_of_its_service(
    aws: dict[str, object],
    profile: str,
    environment: Mapping[str, str],
    cloud: Cloud,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    written(tmp_path, "config", profile)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert AwsWork(Aws.model_validate(aws), cloud, lake_of(cloud)).users() == everybody("KEY1")
    assert {(call.library, call.host) for call in cloud.calls} == HOSTS


@pytest.mark.parametrize(
    "name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE", "AWS_PROFILE"]
)
@pytest.mark.usefixtures("cloud")
def test_a_setting_of_the_chain_that_cannot_be_is_a_fault_of_the_configuration(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "127.0.0.1:9000")
    with pytest.raises(ConfigError, match=r"127.0.0.1:9000"):
        open_store("s3://bucket/prefix", Aws())


def test_each_library_names_the_bucket_in_the_host_where_boto3_does(
    cloud: Cloud, tmp_path: Path
) -> None:
    written(tmp_path, "config", "[profile mine]\ns3 =\n  addressing_style = virtual\n")
    urls = {"s3": "http://s3.example", "kinesis": f"http://{STREAMS}"}
    bucket = lake_of(cloud)
    work = AwsWork(Aws.model_validate({"endpoint_urls": urls}), cloud, bucket)
    assert work.users() == everybody("KEY1")
    assert {c.host for c in cloud.calls} == {STREAMS, f"{bucket}.s3.example"}


def test_a_bucket_in_another_region_is_found_and_its_requests_are_signed_for_it(
    cloud: Cloud,
) -> None:
    bucket = lake_of(cloud, _FAR)
    work = AwsWork(Aws(endpoint_url=f"http://{TABLES}"), cloud, bucket)
    assert work.users() == everybody("KEY1")
    signed = {(c.library, c.region) for c in cloud.calls if c.library != "boto3"}
    assert signed == {("delta-rs", _FAR), ("polars", _FAR)}


@pytest.mark.parametrize("source", ["config", "AWS_DEFAULT_REGION", "profile", "AWS_REGION"])
def test_the_region_comes_from_the_configuration_or_from_the_chain(
    source: str, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bucket = lake_of(cloud, _FAR)
    if source.startswith("AWS_"):
        monkeypatch.setenv(source, _FAR)
    if source == "profile":
        written(tmp_path, "config", f"[profile mine]\nregion = {_FAR}\n")
    own = Aws(endpoint_url=f"http://{TABLES}", region=_FAR if source == "config" else None)
    work = AwsWork(own, cloud, bucket)
    assert work.users() == everybody("KEY1")
    assert {call.region for call in cloud.calls} == {_FAR}


def test_variables_that_are_not_meant_for_delta_rs_do_not_lead_it_astray(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = lake_of(cloud)
    astray = {
        "TOKEN": "a robot's",
        "SESSION_TOKEN": "a web session's",
        "TIMEOUT": "30",
        "SKIP_SIGNATURE": "true",
        "PROXY_URL": "http://127.0.0.1:1",
        "REGION": _FAR,
        "ENDPOINT": "http://127.0.0.1:1",
    }
    for name, value in astray.items():
        monkeypatch.setenv(name, value)
    assert AwsWork(Aws(endpoint_url=f"http://{TABLES}"), cloud, bucket).users() == everybody("KEY1")
    assert {(call.token, call.region) for call in cloud.calls} == {(None, "us-east-1")}


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("source", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "profile", "joined"])
def test_each_library_trusts_the_company_s_authority(
    source: str, served: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = certificates(tmp_path / "pem")
    bundle = str(made.authority)
    monkeypatch.setenv("SSL_CERT_FILE", "")
    if source.startswith(("AWS", "REQUESTS")):
        monkeypatch.setenv(source, bundle)
    elif source == "profile":
        written(tmp_path, "config", f"[profile mine]\nca_bundle = {bundle}\n")
    else:
        monkeypatch.setenv("AWS_CA_BUNDLE", bundle)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates(tmp_path / "other").authority))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.server)
    with cloud_behind_a_proxy(context, served.endpoint) as secure:
        assert AwsWork(
            Aws(endpoint_url=secure.endpoint), secure, lake_of(secure)
        ).users() == everybody("KEY1")


@pytest.mark.usefixtures("bare")
def test_an_authority_that_is_not_trusted_is_named_and_not_awaited(
    served: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates(tmp_path / "pem").server)
    with cloud_behind_a_proxy(context, served.endpoint) as secure:
        aws, uri = Aws(endpoint_url=secure.endpoint), f"s3://{lake_of(secure)}/pin"
        with pytest.raises(SinkError, match="CERTIFICATE_VERIFY_FAILED") as store:
            open_store(uri, aws).find("key")
        known = options_at(uri, Aws(endpoint_url=served.endpoint))()
        with pytest.raises(SinkError, match="invalid peer certificate") as table:
            find(uri, lambda: known | {"aws_endpoint_url_s3": secure.endpoint})
    assert store.value.hint == table.value.hint == AUTHORITY


@pytest.mark.parametrize(
    ("before", "kept"),
    [
        ({}, []),
        ({"NO_PROXY": ".corp, 10.0.0.0/8"}, [".corp", "10.0.0.0/8"]),
        ({"no_proxy": "a", "NO_PROXY": "b"}, ["a"]),
    ],
)
def test_loopback_joins_what_is_not_proxied(before: dict[str, str], kept: list[str]) -> None:
    environment = dict(before)
    spare_loopback(environment)
    spare_loopback(environment)
    joined = ",".join([*kept, *LOOPBACK, *LINK_LOCAL])
    assert environment == {"no_proxy": joined, "NO_PROXY": joined}


def test_the_metadata_service_is_asked_directly(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    spare_loopback()
    cloud.calls.clear()
    InstanceMetadataFetcher(timeout=1, num_attempts=1).retrieve_iam_role_credentials()
    assert cloud.calls == []


def test_where_nothing_is_proxied_nothing_is_added() -> None:
    environment = {"NO_PROXY": "*"}
    spare_loopback(environment)
    assert environment == {"NO_PROXY": "*"}


def test_no_library_asks_the_proxy_for_loopback(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert AwsWork(Aws(endpoint_url=cloud.endpoint), cloud, lake_of(cloud)).users() == everybody(
        "KEY1"
    )
