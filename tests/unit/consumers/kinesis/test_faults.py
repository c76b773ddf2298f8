"""Faults of Kinesis: those that pass cost time only, the others are said clearly."""

from contextlib import closing

import pytest
from botocore.exceptions import (
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from structlog.testing import capture_logs

from core.batch import Position
from core.errors import RecordsExpired, SourceError
from core.retry import NOTICE_AFTER_S, Outage
from monitor.state import PipelineState
from tests.contracts.source_contract import Recorder, opened
from tests.support.fake_kinesis import STREAM, FakeClock, FakeKinesis, fault
from tests.support.kinesis_reading import A, B, drain, everything, flat, of, source_of

ENDPOINT = "http://kinesis.invalid"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def kinesis(clock: FakeClock) -> FakeKinesis:
    return FakeKinesis(clock)


@pytest.mark.parametrize(
    "error",
    [
        fault("ProvisionedThroughputExceededException"),
        fault("KMSThrottlingException"),
        fault("ExpiredIteratorException"),
        fault("InternalFailure", status=500),
        fault("ServiceUnavailable", status=503),
        EndpointConnectionError(endpoint_url=ENDPOINT),
        ReadTimeoutError(endpoint_url=ENDPOINT),
    ],
    ids=str,
)
@pytest.mark.parametrize("operation", ["GetRecords", "GetShardIterator"])
def test_a_passing_fault_costs_nothing_but_time(
    kinesis: FakeKinesis, error: Exception, operation: str
) -> None:
    kinesis.limit = 1
    kinesis.put(A, b"1", b"2", b"3")
    with opened(source_of(kinesis), Recorder()) as source:
        kinesis.faults[operation, A] = [error] * 3
        assert flat(drain(source, 40)) == [b"1", b"2", b"3"]
    assert not kinesis.faults[operation, A]


def test_other_shards_go_on_while_one_is_throttled(clock: FakeClock) -> None:
    kinesis = FakeKinesis(clock, shards=2)
    kinesis.faults["GetRecords", A] = [fault("ProvisionedThroughputExceededException")] * 1000
    kinesis.put(A, b"a")
    kinesis.put(B, b"b")
    with opened(source_of(kinesis), Recorder()) as source:
        assert flat(drain(source, 60)) == [b"b"]


@pytest.mark.slow
def test_throttling_for_hours_is_waited_for_and_told_twice_with_its_cause(
    kinesis: FakeKinesis,
) -> None:
    kinesis.put(A, b"1")
    kinesis.faults["GetRecords", A] = [fault("ProvisionedThroughputExceededException")] * 5000
    with opened(source_of(kinesis), Recorder()) as source, capture_logs() as logs:
        assert flat(drain(source, 4 * 3600)) == []
        kinesis.faults.clear()
        assert flat(drain(source, 20)) == [b"1"]
    assert [log["event"] for log in logs] == ["outage", "outage_over"]
    assert A in logs[0]["where"]
    assert "readers of a shard share 5 calls and 2 MB a second" in logs[0]["next"]
    assert NOTICE_AFTER_S <= logs[0]["seconds"] < NOTICE_AFTER_S + 10
    assert logs[1]["seconds"] >= 4 * 3600


def test_25_seconds_of_throttling_are_told_twice_and_counted(kinesis: FakeKinesis) -> None:
    state = PipelineState("clicks", "", "", kinesis.clock, 0)
    outage = state.outage("source")
    kinesis.faults["GetRecords", A] = [fault("ProvisionedThroughputExceededException")] * 11
    with opened(source_of(kinesis, outage=outage), Recorder()) as source, capture_logs() as logs:
        drain(source, 10)
        assert state.outage_seconds()["source"] == pytest.approx(10, abs=1)
        drain(source, 60)
        assert state.outages() == ()
    assert [log["event"] for log in logs] == ["outage", "outage_over"]
    assert state.totals.retries.total() == 11


def test_a_fault_of_a_moment_is_not_worth_a_line(kinesis: FakeKinesis) -> None:
    kinesis.faults["GetRecords", A] = [fault("ProvisionedThroughputExceededException")] * 3
    with opened(source_of(kinesis), Recorder()) as source, capture_logs() as logs:
        drain(source, 60)
    assert logs == []


def test_many_shards_that_fail_together_are_one_outage(clock: FakeClock) -> None:
    kinesis = FakeKinesis(clock, shards=3)
    for shard in kinesis.shards:
        kinesis.faults["GetRecords", shard] = [ReadTimeoutError(endpoint_url=ENDPOINT)] * 9
    with opened(source_of(kinesis), Recorder()) as source, capture_logs() as logs:
        drain(source, 90)
    assert [log["event"] for log in logs] == ["outage", "outage_over"]


def test_a_shard_that_another_process_takes_over_ends_its_outage(clock: FakeClock) -> None:
    kinds: set[str] = set()
    kinesis, outage = FakeKinesis(clock), Outage("source", clock, kinds.add)
    kinesis.faults["GetRecords", A] = [fault("ProvisionedThroughputExceededException")] * 1000
    mine = {of(A)}
    ours = lambda shards: [p for p in shards if p in mine]  # noqa: E731
    with opened(source_of(kinesis, ours=ours, outage=outage), Recorder()) as source:
        drain(source, 60)
        assert outage.seconds() > 50
        assert kinds == {"ProvisionedThroughputExceededException"}
        mine.clear()
        drain(source, 1)
        assert outage.seconds() == 0


@pytest.mark.slow
def test_a_provider_of_credentials_that_is_away_for_a_while_is_waited_for(
    kinesis: FakeKinesis,
) -> None:
    away = CredentialRetrievalError(provider="container-role", error_msg="no answer")
    kinesis.put(A, b"1")
    with opened(source_of(kinesis), Recorder()) as source:
        kinesis.faults["GetRecords", A] = [away] * 30
        assert flat(drain(source, 600)) == [b"1"]


def test_an_iterator_that_expired_during_a_long_write_is_replaced(kinesis: FakeKinesis) -> None:
    kinesis.put(A, b"1")
    with opened(source_of(kinesis), Recorder()) as source:
        assert flat(drain(source, 2)) == [b"1"]
        kinesis.clock.sleep(400)
        kinesis.put(A, b"2")
        assert flat(drain(source, 5)) == [b"2"]


@pytest.mark.slow
def test_the_listing_may_be_throttled_for_long_when_the_source_opens(kinesis: FakeKinesis) -> None:
    kinesis.faults["ListShards", ""] = [fault("LimitExceededException", "ListShards")] * 70
    kinesis.put(A, b"1")
    with opened(source_of(kinesis), Recorder()) as source:
        assert kinesis.clock.monotonic() == 0  # a signal is not kept waiting
        assert flat(drain(source, 700)) == [b"1"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (fault("ResourceNotFoundException"), "create the stream"),
        (fault("AccessDeniedException"), "allow kinesis:ListShards"),
        (fault("UnrecognizedClientException"), "give AWS credentials"),
        (fault("ExpiredTokenException"), "renew the session token"),
        (fault("RequestExpired"), "set this machine's clock"),
        (NoCredentialsError(), "give AWS credentials"),
        (CredentialRetrievalError(provider="p", error_msg="m"), "give AWS credentials"),
        (EndpointConnectionError(endpoint_url=ENDPOINT), "aws.endpoint_url"),
    ],
    ids=str,
)
def test_a_stream_that_cannot_be_read_is_said_at_once(
    kinesis: FakeKinesis, error: Exception, said: str
) -> None:
    kinesis.faults["ListShards", ""] = [error]
    with closing(source_of(kinesis)) as source:
        with pytest.raises(SourceError, match=f"stream {STREAM} in eu-north-1") as caught:
            source.open(Recorder())
        assert said in caught.value.hint
        assert kinesis.clock.monotonic() == 0


def test_a_stream_deleted_while_it_is_read_stops_the_source(kinesis: FakeKinesis) -> None:
    with opened(source_of(kinesis), Recorder()) as source:
        assert source.poll(1) is None
        gone = fault("ResourceNotFoundException")
        kinesis.faults["GetRecords", A] = [gone]
        kinesis.faults["ListShards", ""] = [gone]
        with pytest.raises(SourceError, match=STREAM):
            drain(source, 5)


def test_access_taken_away_stops_the_source(kinesis: FakeKinesis) -> None:
    with opened(source_of(kinesis), Recorder()) as source:
        kinesis.faults["GetRecords", A] = [fault("AccessDeniedException")]
        with pytest.raises(SourceError, match="AccessDenied"):
            drain(source, 5)


def test_a_position_that_kinesis_does_not_know_stops_the_source(kinesis: FakeKinesis) -> None:
    kinesis.faults["GetShardIterator", A] = [fault("InvalidArgumentException", "GetShardIterator")]
    with pytest.raises(RecordsExpired, match="does not know the table's position"):
        everything(kinesis, Recorder({of(A): Position(5)}))


def test_an_expired_record_at_the_position_is_named(kinesis: FakeKinesis) -> None:
    numbers = kinesis.put(A, b"1", b"2", b"3")
    del kinesis.shards[A].records[:2]
    with capture_logs() as logs:
        assert flat(everything(kinesis, Recorder({of(A): Position(numbers[0])}))) == [b"3"]
    assert [(log["log_level"], log["position"]) for log in logs] == [("warning", numbers[0])]
