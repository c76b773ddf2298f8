"""The sums of the ledger's entries that the log no longer has, per partition in one range.

Before entries of the log are removed for their age, `keep` adds up what they say in the object
`_pinpip/ledger/<base>.json` beside the log: it covers every version before `base`. So `verify`
counts the rows of ranges whose commits have expired. Source: `sinks.delta.ledger`.
"""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, ValidationError

from core.batch import Partition
from core.errors import SinkError
from core.protocols import Options
from sinks.delta import history, ledger
from sinks.delta.ledger import CommitRange
from sinks.delta.log import name_of
from sinks.storage.protocol import Store
from sinks.storage.store import of_table

FOLDER = "_pinpip/ledger/"


class Settled(BaseModel):
    """The ranges of all versions before `base`, by app."""

    model_config = ConfigDict(frozen=True)
    base: int = 0
    ranges: dict[str, tuple[CommitRange, ...]] = {}


def keep(store: Store, base: int) -> None:
    """Add up the entries before `base`, and store the sums."""
    before = newest(store)
    if before.base >= base:
        return
    ranges = {app: list(own) for app, own in before.ranges.items()}
    for body in history.bodies(store, range(before.base, base)):
        for entry in history.ledgered(body):
            ranges[entry.app] = joined([*ranges.get(entry.app, []), *entry.ranges])
    kept = Settled(base=base, ranges={app: tuple(own) for app, own in ranges.items()})
    older = store.list(FOLDER)
    store.put_new(f"{FOLDER}{base:020d}.json", kept.model_dump_json(by_alias=True).encode(), {})
    store.remove(older[:-1])  # another process may be reading the last one


def newest(store: Store) -> Settled:
    """Return the newest sums, empty when there are none; SinkError when they are damaged."""
    keys = store.list(FOLDER)
    if not keys:
        return Settled()
    return decoded(store.read(keys[-1]), f"{store.uri}/{keys[-1]}")


def before(uri: str, options: Options) -> Settled:
    """Return the newest sums of the table at `uri`; empty when later entries are gone as well."""
    store = of_table(uri, options)
    if not store.list(FOLDER):
        return Settled()
    kept = newest(store)
    return kept if store.metadata(name_of(kept.base)) is not None else Settled()


def decoded(body: bytes, name: str) -> Settled:
    """Decode the sums in the object `name`; SinkError when they are damaged."""
    try:
        return Settled.model_validate_json(body)
    except ValidationError as error:
        raise SinkError(
            f"{name} is damaged: {error.errors()[0]['msg']}",
            "restore it from a backup, or remove it: verify then knows less of the oldest rows",
        ) from error


def joined(ranges: Iterable[CommitRange]) -> list[CommitRange]:
    """Join as `ledger.joined`, but keep ranges apart that do not follow each other: evidence."""
    done: list[CommitRange] = []
    open_: dict[Partition, CommitRange] = {}
    for r in ranges:
        before = open_.get(r.of)
        if before is not None and before.end == r.start:
            [open_[r.of]] = ledger.joined([before, r])
            continue
        if before is not None:
            done.append(before)
        open_[r.of] = r
    return [*done, *open_.values()]
