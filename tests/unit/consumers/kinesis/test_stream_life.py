"""Streams that were deleted and created again under their names."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from deltalake import Transaction
from structlog.testing import capture_logs

from consumers.kinesis.life import milliseconds
from core.batch import KINESIS, Position, Positions
from core.errors import TopicRecreated
from core.topic_id import Known, refuse_another
from sinks.delta import positions
from tests.contracts.source_contract import Recorder, opened
from tests.support.archives import change_pipeline
from tests.support.aws import TestAws
from tests.support.consuming import consume
from tests.support.fake_kinesis import STREAM, FakeClock, FakeKinesis, fault
from tests.support.kinesis_reading import A, drain, flat, of, source_of
from tests.support.processes import kinesis_home, payloads, put


@pytest.fixture
def kinesis() -> FakeKinesis:
    return FakeKinesis(FakeClock())


def ends(kinesis: FakeKinesis, **options: Any) -> Positions:
    """Where a consumer is that has read everything."""
    with opened(source_of(kinesis, **options), Recorder()) as source:
        return {p: s.end for part in drain(source, 5) for p, s in part.spans.items()}


def test_a_position_says_when_its_stream_was_created(kinesis: FakeKinesis) -> None:
    kinesis.put(A, b"1")
    [at] = ends(kinesis).values()
    assert at is not None
    assert at.epoch == milliseconds(kinesis.created)


def test_the_error_speaks_of_a_stream_and_names_both_creations() -> None:
    with pytest.raises(TopicRecreated) as raised:
        refuse_another(of(A), Position(7, epoch=0), 86_400_000, KINESIS)
    assert raised.value.message == (
        f"stream {STREAM} was deleted and created again: sequence number 7 of {STREAM}/{A} belongs "
        "to the stream created at 1970-01-01T00:00:00.000+00:00, the one there now is created at "
        "1970-01-02T00:00:00.000+00:00"
    )
    assert "--new-incarnation" in raised.value.hint


@pytest.mark.parametrize("records", [0, 1, 3, 9])
def test_a_source_does_not_start_in_a_stream_created_again(
    kinesis: FakeKinesis, records: int
) -> None:
    kinesis.put(A, b"1", b"2", b"3")
    held = ends(kinesis)
    kinesis.recreate()
    kinesis.put(A, *(b"new",) * records)
    with (
        pytest.raises(TopicRecreated, match=f"stream {STREAM}"),
        opened(source_of(kinesis), Recorder(dict(held))) as source,
    ):
        drain(source, 5)


@pytest.mark.parametrize("code", ["ExpiredIteratorException", "ResourceNotFoundException", ""])
def test_a_running_source_gives_no_record_of_a_stream_created_again(
    kinesis: FakeKinesis, code: str
) -> None:
    kinesis.put(A, b"1", b"2", b"3")
    with opened(source_of(kinesis), Recorder()) as source:
        assert flat(drain(source, 20)) == [b"1", b"2", b"3"]
        kinesis.recreate()
        kinesis.put(A, *(b"new",) * 9)
        kinesis.faults["GetRecords", A] = [fault(code)] if code else []
        with pytest.raises(TopicRecreated, match=f"stream {STREAM}"):
            drain(source, 31)


def test_what_one_sink_knows_of_a_stream_binds_the_others(kinesis: FakeKinesis) -> None:
    kinesis.put(A, b"1")
    old = Position(9, epoch=1)
    with opened(source_of(kinesis), Recorder()) as source, pytest.raises(TopicRecreated):
        source.bind({of(A): Known(None, old, ("archive",))})


def test_a_stream_whose_identity_cannot_be_told_is_read_all_the_same(kinesis: FakeKinesis) -> None:
    kinesis.put(A, b"1")
    denied = fault("AccessDeniedException", "DescribeStreamSummary")
    kinesis.faults["DescribeStreamSummary", ""] = [denied] * 9
    with capture_logs() as logs:
        [at] = ends(kinesis).values()
    assert at is not None
    assert at.epoch is None
    told = [log for log in logs if log["event"] == "stream_identity_unknown"]
    assert len(told) == 1
    assert "kinesis:DescribeStreamSummary" in told[0]["next"]
    assert len(kinesis.faults["DescribeStreamSummary", ""]) == 8


def test_while_describing_is_throttled_a_known_streams_records_wait(kinesis: FakeKinesis) -> None:
    kinesis.put(A, b"1")
    held = ends(kinesis)
    kinesis.put(A, b"2")
    with opened(source_of(kinesis), Recorder(dict(held))) as source:
        throttled = fault("LimitExceededException", "DescribeStreamSummary")
        kinesis.clock.sleep(2)
        kinesis.faults["DescribeStreamSummary", ""] = [throttled] * 5
        assert source.poll(1) is None
        assert flat(drain(source, 20)) == [b"2"]


# --- Lakes from before streams had an identity


@pytest.mark.parametrize(("age", "same"), [(timedelta(days=2), False), (timedelta(hours=1), True)])
def test_a_table_without_the_identity_adopts_it_when_its_rows_are_younger_than_the_stream(
    kinesis: FakeKinesis, age: timedelta, *, same: bool
) -> None:
    kinesis.put(A, b"1", b"2")
    [[partition, at]] = ends(kinesis).items()
    assert at is not None
    old = Position(at.number, at.sub)
    kinesis.put(A, b"3")
    known = {partition: Known(old, old, arrived=kinesis.clock.now() - age)}
    with opened(source_of(kinesis), Recorder({partition: old})) as source:
        if not same:
            with pytest.raises(TopicRecreated, match=r"the newest row of .* arrived at"):
                source.bind(known)
            return
        source.bind(known)
        [part] = drain(source, 5)
    assert part.spans[partition].end.epoch == milliseconds(kinesis.created)


def test_nothing_is_adopted_where_no_row_tells_the_age(kinesis: FakeKinesis) -> None:
    kinesis.put(A, b"1", b"2")
    [[partition, at]] = ends(kinesis).items()
    assert at is not None
    old = Position(at.number, at.sub)
    kinesis.put(A, b"3")
    with opened(source_of(kinesis), Recorder({partition: old})) as source:
        source.bind({partition: Known(old, old)})
        [part] = drain(source, 5)
    assert part.spans[partition].end.epoch is None


# --- As its user sees it


def recreate(aws: TestAws, stream: str, records: int) -> None:
    """Delete the stream, create it again at once and fill it."""
    client = aws.client("kinesis")
    client.delete_stream(StreamName=stream)
    client.create_stream(StreamName=stream, ShardCount=1)
    put(aws, stream, payloads(records, since=1000))


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write tables as before streams had an identity."""
    monkeypatch.setattr(positions, "write_epoch", lambda *_: Transaction("nothing", 1, 1))


@pytest.mark.process
@pytest.mark.parametrize(("records", "old_lake"), [(200, False), (20, True)])
def test_a_stream_created_again_stops_its_pipeline_until_a_new_incarnation(
    aws: TestAws,
    tmp_path: Path,
    records: int,
    monkeypatch: pytest.MonkeyPatch,
    *,
    old_lake: bool,
) -> None:
    stream = aws.stream(shards=1)
    put(aws, stream, payloads(100))
    home = kinesis_home(tmp_path, aws, stream)
    with monkeypatch.context() as before:
        if old_lake:
            forget(before)
        consume(home, lambda: home.rows() == 100)
    recreate(aws, stream, records)
    with pytest.raises(TopicRecreated, match=f"stream {stream} was deleted and created again"):
        consume(home, lambda: False)
    if not old_lake:
        assert {f["kind"] for f in home.verify("--grace", "0")["findings"]} == {"recreated"}
        [told] = json.loads(home.run("status", "--json").stdout)
        assert [row["recreated"] for row in told["partitions"]] == [True]
    assert home.rows() == 100
    change_pipeline(home, incarnation="2")
    consume(home, lambda: home.rows() == 100 + records, begins=True)


def test_an_old_table_adopts_the_identity_of_its_stream_at_the_next_commit(
    aws: TestAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = aws.stream(shards=1)
    put(aws, stream, payloads(10))
    home = kinesis_home(tmp_path, aws, stream)
    with monkeypatch.context() as before:
        forget(before)
        consume(home, lambda: home.rows() == 10)
    put(aws, stream, payloads(10, since=10))
    consume(home, lambda: home.rows() == 20)
    recreate(aws, stream, 40)
    with pytest.raises(TopicRecreated, match=rf"sequence number .* of {stream}"):
        consume(home, lambda: False)
