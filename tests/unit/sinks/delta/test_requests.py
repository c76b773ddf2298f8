"""What a commit asks of a bucket: each request costs money and, with it, a part of a second."""

from collections import Counter
from typing import Any, cast
from uuid import uuid4

import pytest
from botocore.awsrequest import AWSPreparedRequest

from core.batch import KAFKA, Position
from sinks.delta.commit_log import Hint
from sinks.delta.log import CHECKPOINT_EVERY, read_hint
from sinks.delta.sink import DeltaSink
from sinks.storage.protocol import Store
from sinks.storage.s3 import S3Store, client
from tests.support.aws import TestAws
from tests.support.delta_logs import LOG, A, in_threes, opened
from tests.support.sink_backends import DeltaBackend

COMMITS = 200


class Requests:
    """Counts what boto3 sends for a store, retries too, by method and kind of key."""

    def __init__(self, store: Store) -> None:
        self.sent: Counter[str] = Counter()
        events: Any = cast(S3Store, store)._client.meta.events
        events.register("before-send.s3", self._note)

    def _note(self, request: AWSPreparedRequest, **_: object) -> None:
        path = request.url.partition("?")[0]
        kinds = {".json": "log", ".checkpoint.parquet": "other", ".parquet": "data"}
        own = next((own for end, own in kinds.items() if path.endswith(end)), "other")
        self.sent[f"{request.method} {own}"] += 1


def _after_checkpoint(store: Store, sink: DeltaSink) -> Hint:
    """Wait for the checkpoint under way, and return it."""
    running = sink._checkpoints._running
    assert running is not None
    running.result(60)
    hint = read_hint(store)
    assert hint is not None
    return hint


@pytest.mark.moto
def test_a_commit_sends_two_puts_and_at_most_a_fifth_of_another_request(aws: TestAws) -> None:
    store = S3Store(client(aws.config), aws.bucket(), uuid4().hex)
    sink = opened(DeltaBackend(store, aws.storage_options, "clean", KAFKA), A)
    in_threes(sink, range(2))
    requests = Requests(store)
    for first in range(2, COMMITS, CHECKPOINT_EVERY):
        in_threes(sink, range(first, first + CHECKPOINT_EVERY))
        hint = _after_checkpoint(store, sink)
    puts = {name: requests.sent.pop(name) for name in ("PUT data", "PUT log")}
    assert puts == {"PUT data": COMMITS, "PUT log": COMMITS}
    assert requests.sent.total() <= 0.2 * COMMITS, requests.sent
    assert hint.version >= COMMITS
    partition = LOG.partition(A)
    assert sink.positions([partition]) == {partition: Position(3 * COMMITS + 6)}
