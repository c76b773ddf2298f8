"""Rows of files and objects, and where each goes: to a pipeline, by its topic, or by its fields."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from core.config import Config
from pinpip import targets
from pinpip.inputs import inputs_of
from pinpip.targets import Target
from producers.event import Event
from producers.rows.events import Chosen, from_inputs
from producers.rows.inputs import Input

Note = Callable[[str], None]


@dataclass(frozen=True)
class RowRequest:
    """What `pinpip produce --from` names: `words` are places, `kind` a format."""

    words: tuple[str, ...]
    kind: str | None = None
    pipeline: str | None = None
    topic: str | None = None
    stopping: Callable[[], bool] = lambda: False


def rows_of(
    config: Config, request: RowRequest, note: Note
) -> tuple[Iterator[Event], list[Target]]:
    """Return the events of the requested rows, and the targets that they may have.

    With a pipeline all rows are its own. Without, rows of a topic (as files of Kafka Connect's S3
    sink name it) that a pipeline reads go to that topic; others are pins, geos or users by their
    fields. Raises ConfigError for a place without rows and for a pipeline without one target.
    """
    fixed = request.pipeline and targets.of_pipeline(config, request.pipeline, request.topic)
    inputs = [
        each
        for word in request.words
        for each in inputs_of(word, request.kind, config.aws, note, request.stopping)
    ]
    if fixed:
        return from_inputs([(each, [fixed.type]) for each in inputs], note), [fixed]
    return _by_topic(config, inputs, note)


def _by_topic(
    config: Config, inputs: list[Input], note: Note
) -> tuple[Iterator[Event], list[Target]]:
    named = {each.topic for each in inputs if each.topic}
    known = {topic: targets.of_topic(config, topic) for topic in sorted(named)}
    unread = ", ".join(topic for topic, target in known.items() if target is None)
    if unread:
        note(f"no pipeline reads the topic {unread}: its rows go by their fields")
    others = targets.emulated(config)
    chosen: list[Chosen] = []
    used: dict[str, Target] = {}
    for each in inputs:
        own = known.get(each.topic or "")
        possible = [own] if own else others
        used |= {target.type.name: target for target in possible}
        chosen.append((each, [target.type for target in possible]))
    return from_inputs(chosen, note), list(used.values())
