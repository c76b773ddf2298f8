"""The fault proxy: it changes nothing but what it is told to, and counts that."""

import asyncio
import http.client
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import pytest

from chaos.latency import Latency
from chaos.messages import Message
from chaos.proxy import FaultPlan, Proxy, StorageFault, fitting
from tests.support.aws import TestAws
from tests.support.processes import environment, until
from tests.support.proxies import Rough, rough

BODY = bytes(range(256)) * 1000
CREATE = {"If-None-Match": "*"}


@pytest.fixture(scope="module")
def bucket(aws: TestAws) -> str:
    """Create a bucket behind the proxy."""
    return aws.bucket()


@pytest.fixture
def proxy(aws: TestAws) -> Iterator[Rough]:
    """Start a proxy that injects no faults yet."""
    with rough(aws.endpoint, stall=0.3) as made:
        yield made


@contextmanager
def connected(endpoint: str) -> Iterator[http.client.HTTPConnection]:
    """Connect a client that never retries."""
    where = urlsplit(endpoint)
    client = http.client.HTTPConnection(str(where.hostname), where.port, timeout=30)
    with closing(client):
        yield client


def stored(aws: TestAws, bucket: str, key: str) -> bytes | None:
    """Read the object directly, past the proxy; None when it is absent."""
    s3 = aws.client("s3")
    listed = s3.list_objects_v2(Bucket=bucket, Prefix=key).get("Contents", [])
    return bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read()) if listed else None


def test_without_faults_it_is_not_there(aws: TestAws, proxy: Rough, bucket: str) -> None:
    s3 = TestAws(proxy.endpoint).client("s3")
    tag = s3.put_object(Bucket=bucket, Key="a/key", Body=BODY, Metadata={"of": "x"})["ETag"]
    assert s3.get_object(Bucket=bucket, Key="a/key")["Body"].read() == BODY
    part = s3.get_object(Bucket=bucket, Key="a/key", Range="bytes=10-19")
    assert part["Body"].read() == BODY[10:20]
    head = s3.head_object(Bucket=bucket, Key="a/key")
    assert (head["ETag"], head["ContentLength"], head["Metadata"]) == (tag, len(BODY), {"of": "x"})
    with pytest.raises(s3.exceptions.ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="a/key", Body=b"", IfNoneMatch="*")
    assert stored(aws, bucket, "a/key") == BODY
    assert not proxy.proxy.counts


def test_a_connection_is_kept(proxy: Rough, bucket: str) -> None:
    with connected(proxy.endpoint) as client:
        client.request("PUT", f"/{bucket}/kept", BODY, {"x-amz-acl": "public-read"})
        client.getresponse().read()
        connection = client.sock
        client.request("GET", f"/{bucket}/kept")
        assert client.getresponse().read() == BODY
        assert client.sock is connection


async def echoed(sent: bytes, end: bytes) -> bytes:
    """Send `sent` through the proxy to an upstream that echoes; return the response."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(end)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + asked)
        writer.close()

    upstream = await asyncio.start_server(echo, "127.0.0.1")
    port = upstream.sockets[0].getsockname()[1]
    server = await Proxy(f"http://127.0.0.1:{port}", FaultPlan()).listen(0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(sent)
    answer = await reader.read()
    writer.close()
    server.close()
    upstream.close()
    return answer


def test_a_chunked_body_passes_with_its_framing() -> None:
    body = b"3;chunk-signature=ab\r\nabc\r\n0;chunk-signature=cd\r\nx-amz-trailer: 1\r\n\r\n"
    head = b"PUT /b/k HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
    answer = asyncio.run(echoed(head + b"\r\n" + body, b"trailer: 1\r\n\r\n"))
    assert answer.endswith(head + b"Connection: close\r\n\r\n" + body)


def test_a_client_that_waits_to_be_told_to_go_on_is_told() -> None:
    head = b"PUT /b/k HTTP/1.1\r\nContent-Length: 3\r\n"
    answer = asyncio.run(echoed(head + b"Expect: 100-continue\r\n\r\nabc", b"abc"))
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert answer.endswith(head + b"Connection: close\r\n\r\nabc")


@pytest.mark.parametrize(
    ("fault", "status", "held"),
    [
        (StorageFault.INTERNAL_ERROR, 500, None),
        (StorageFault.SLOW_DOWN, 503, None),
        (StorageFault.CONFLICT, 409, None),
        (StorageFault.RESET, None, None),
        (StorageFault.PRECONDITION, 412, BODY),
        (StorageFault.LOST_ANSWER, None, BODY),
        (StorageFault.STALLED, 200, BODY),
    ],
)
def test_a_fault_of_a_write_answers_and_does_what_its_name_says(
    aws: TestAws,
    proxy: Rough,
    bucket: str,
    fault: StorageFault,
    status: int | None,
    held: bytes | None,
) -> None:
    key = f"by {fault.name}"
    proxy.next("PUT", fault.name, fault)
    with connected(proxy.endpoint) as client:
        client.request("PUT", f"/{bucket}/by%20{fault.name}", BODY, CREATE)
        if status is None:
            with pytest.raises(http.client.RemoteDisconnected):
                client.getresponse()
        else:
            answer = client.getresponse()
            assert answer.status == status
            assert answer.read().startswith(b"<Error>") == (status != 200)
    assert stored(aws, bucket, key) == held
    assert proxy.proxy.counts == {fault: 1}


def test_a_write_that_s3_itself_refused_is_not_called_done(proxy: Rough, bucket: str) -> None:
    s3 = TestAws(proxy.endpoint).client("s3")
    s3.put_object(Bucket=bucket, Key="once", IfNoneMatch="*")
    proxy.next("PUT", "once", StorageFault.LOST_ANSWER)
    with pytest.raises(s3.exceptions.ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="once", IfNoneMatch="*")
    assert not proxy.proxy.counts


def test_a_cut_answer_promises_more_than_it_brings(aws: TestAws, proxy: Rough, bucket: str) -> None:
    aws.client("s3").put_object(Bucket=bucket, Key="whole", Body=BODY, ACL="public-read")
    proxy.next("GET", "whole", StorageFault.TRUNCATED)
    with connected(proxy.endpoint) as client:
        client.request("GET", f"/{bucket}/whole")
        with pytest.raises(http.client.IncompleteRead) as cut:
            client.getresponse().read()
    assert cut.value.partial == BODY[: len(BODY) // 2]


class Slow(Latency):
    """All the time passes on one side of what the bucket does."""

    def __init__(self, before: float, after: float) -> None:
        super().__init__(before + after)
        self._sides = before, after

    def draw(self) -> tuple[float, float]:
        return self._sides


def test_a_write_is_done_though_its_client_has_gone_meanwhile(aws: TestAws, bucket: str) -> None:
    with rough(aws.endpoint, latency=Slow(0.3, 0)) as proxy, connected(proxy.endpoint) as client:
        client.request("PUT", f"/{bucket}/late", BODY, CREATE)
        client.close()
        assert stored(aws, bucket, "late") is None
        until(lambda: stored(aws, bucket, "late") == BODY, "the write to be done")


def test_a_write_is_done_before_its_client_hears_of_it(aws: TestAws, bucket: str) -> None:
    with rough(aws.endpoint, latency=Slow(0, 2.0)) as proxy, connected(proxy.endpoint) as client:
        began = time.monotonic()
        client.request("PUT", f"/{bucket}/early", BODY, CREATE)
        until(lambda: stored(aws, bucket, "early") == BODY, "the write to be done")
        assert client.getresponse().status == 200
        assert time.monotonic() - began > 2.0


def request(method: str, *lines: str) -> Message:
    """Make the head of a request."""
    return Message(f"{method} /bucket/key HTTP/1.1", lines)


def test_only_a_conditional_write_can_meet_a_conflict() -> None:
    conditional = {StorageFault.CONFLICT, StorageFault.PRECONDITION}
    assert conditional <= set(fitting(request("PUT", "If-None-Match: *")))
    for other in (request("PUT"), request("GET"), request("HEAD"), request("DELETE")):
        assert not conditional & set(fitting(other))


def test_only_what_has_a_body_is_cut() -> None:
    assert StorageFault.TRUNCATED in fitting(request("GET"))
    assert StorageFault.TRUNCATED not in fitting(request("HEAD"))
    assert StorageFault.TRUNCATED not in fitting(request("PUT"))


def test_the_same_seed_draws_the_same_faults() -> None:
    asked = [request("PUT", "If-None-Match: *"), request("GET")] * 500
    plan = FaultPlan(random.Random(7), 0.1)
    drawn = [plan.fault(r) for r in asked]
    again = FaultPlan(random.Random(7), 0.1)
    assert drawn == [again.fault(r) for r in asked]
    assert 50 < len(drawn) - drawn.count(None) < 150
    assert set(drawn) == {None, *StorageFault}


def test_it_runs_as_a_process_that_is_steered_by_requests(aws: TestAws, bucket: str) -> None:
    command = [sys.executable, "-m", "chaos.proxy", "--upstream", aws.endpoint, "--rate", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())["port"]
        endpoint = f"http://127.0.0.1:{port}"

        def ask(method: str, path: str, body: str = "") -> tuple[int, bytes]:
            with connected(endpoint) as client:
                client.request(method, path, body)
                answer = client.getresponse()
                return answer.status, answer.read()

        def statuses(n: int) -> set[int]:
            return {ask("HEAD", f"/{bucket}")[0] for _ in range(n)}

        assert ask("PUT", "/_chaos/rate", "0") == (200, b"0")
        assert statuses(5) == {200}
        assert ask("PUT", "/_chaos/outage", "503")[0] == 200
        assert statuses(5) == {503}
        assert ask("PUT", "/_chaos/outage")[0] == 200
        assert statuses(5) == {200}
        assert ask("PUT", "/_chaos/weather")[0] == 404
        assert json.loads(ask("GET", "/_chaos/counts")[1]) == {str(StorageFault.SLOW_DOWN): 5}
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
