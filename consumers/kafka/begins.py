"""Where the partitions of topics may begin, asked for all of them at once."""

from collections.abc import Collection, Mapping

from confluent_kafka.admin import AdminClient

from consumers.kafka.client import REFUSED, REQUEST_TIMEOUT_S, failure, metadata_of
from consumers.kafka.offsets import Ends, PlacementRequest
from consumers.kafka.topic_identity import TopicIds
from core.batch import Partition, Position
from core.errors import TransientError
from core.origins import Begin, Start

START_TIMEOUT_S = 5.0  # seconds: the loop asks again, of a busy broker too


def starts(
    admin: AdminClient, ids: TopicIds, topics: Collection[str], *, from_end: bool
) -> dict[str, Start]:
    """Return the topics' starts now; raise TransientError while the brokers do not tell all."""
    partitions = _partitions(admin, topics)
    request = PlacementRequest(admin, partitions, ids.ask(topics))
    answered = request.is_answered(START_TIMEOUT_S)
    ends = request.offsets.answers() if answered else {}
    if len(ends) < len(partitions) or ids.late(request.ids):
        raise TransientError(
            f"the ends of {', '.join(topics)} cannot be read yet: {request.complaint}",
            "see that the broker runs and the topic exists",
        )
    epochs = ids.answers(request.ids)
    return {topic: _start(topic, ends, epochs, from_end=from_end) for topic in topics}


def _start(
    topic: str, ends: Mapping[Partition, Ends], epochs: Mapping[str, int], *, from_end: bool
) -> Start:
    epoch = epochs.get(topic)
    begins = {
        p: _begin(Position(low, epoch=epoch), Position(high, epoch=epoch), from_end=from_end)
        for p, (low, high) in ends.items()
        if p.source == topic
    }
    return Start(begins, epoch)


def _begin(low: Position, end: Position, *, from_end: bool) -> Begin:
    """Fix where to begin: in a partition that is added later, `latest` skips no record."""
    later = Position(0, epoch=low.epoch) if from_end else low
    return Begin(low, end, end if from_end else low, later)


def _partitions(admin: AdminClient, topics: Collection[str]) -> list[Partition]:
    """List the partitions; SourceError: access is denied, TransientError: no topic or answer."""
    known = metadata_of(admin, REQUEST_TIMEOUT_S).topics
    for topic in topics:
        error = known[topic].error if topic in known else None
        if error is not None and error.code() in REFUSED:
            raise failure(error, topic)
        if topic not in known or error is not None:
            raise TransientError(f"topic {topic} cannot be seen yet", "see that it exists")
    return [Partition(topic, str(n)) for topic in topics for n in known[topic].partitions]
