"""Faults of Kinesis: those that pass cost time only, the others are said clearly."""

from contextlib import closing

import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError, ReadTimeoutError
from structlog.testing import capture_logs

from consumers.kinesis_faults import PATIENCE
from pinpip.batch import Position
from pinpip.errors import RecordsExpired, SourceError
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


def test_a_fault_that_lasts_stops_the_source(kinesis: FakeKinesis) -> None:
    kinesis.faults["GetRecords", A] = [fault("ProvisionedThroughputExceededException")] * 5000
    with (
        opened(source_of(kinesis), Recorder()) as source,
        pytest.raises(SourceError, match=f"{STREAM} in eu-north-1, {A}: Provisioned"),
    ):
        drain(source, 2 * PATIENCE)
    assert PATIENCE < kinesis.clock.monotonic() < PATIENCE + 30


def test_an_iterator_that_expired_during_a_long_write_is_replaced(kinesis: FakeKinesis) -> None:
    kinesis.put(A, b"1")
    with opened(source_of(kinesis), Recorder()) as source:
        assert flat(drain(source, 2)) == [b"1"]
        kinesis.clock.sleep(400)
        kinesis.put(A, b"2")
        assert flat(drain(source, 5)) == [b"2"]


def test_the_listing_may_be_throttled_when_the_source_opens(kinesis: FakeKinesis) -> None:
    kinesis.faults["ListShards", ""] = [fault("LimitExceededException", "ListShards")] * 2
    kinesis.put(A, b"1")
    assert flat(everything(kinesis, Recorder())) == [b"1"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (fault("ResourceNotFoundException"), "create the stream"),
        (fault("AccessDeniedException"), "allow kinesis:ListShards"),
        (fault("UnrecognizedClientException"), "give AWS credentials"),
        (fault("ExpiredTokenException"), "renew the session token"),
        (fault("RequestExpired"), "set this machine's clock"),
        (NoCredentialsError(), "give AWS credentials"),
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
