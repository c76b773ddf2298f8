"""The sums of the ledger's entries that the log no longer has, per partition in one range.

Before entries of the log are removed for their age, `keep` adds up what they say in the object
`_pinpip/ledger/<base>.json` beside the log: it covers every version before `base`. So `verify`
counts the rows of ranges whose commits have expired. Source: `sinks.delta.ledger`.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple, TypeVar

from deltalake import DeltaTable
from pydantic import BaseModel, ConfigDict, ValidationError

from core.batch import Partition
from core.errors import SinkError
from core.protocols import Options
from sinks.delta import amendments, history, ledger
from sinks.delta.ledger import Amendment, CommitRange, Entry
from sinks.delta.log import name_of
from sinks.storage.protocol import Store
from sinks.storage.store import of_table

FOLDER = "_pinpip/ledger/"
R = TypeVar("R", CommitRange, Amendment)


class Settled(BaseModel):
    """The ranges of all versions before `base`, and what amended them, by app."""

    model_config = ConfigDict(frozen=True)
    base: int = 0
    ranges: dict[str, tuple[CommitRange, ...]] = {}
    amendments: dict[str, tuple[Amendment, ...]] = {}


class Told(NamedTuple):
    """A ledger by partition, oldest first: ranges as committed, and what amended them since."""

    ranges: Mapping[Partition, list[CommitRange]]
    amendments: Mapping[Partition, list[Amendment]]


def keep(store: Store, base: int) -> None:
    """Add up the entries before `base`, and store the sums."""
    before = newest(store)
    if before.base >= base:
        return
    ranges = {app: list(own) for app, own in before.ranges.items()}
    changes = {app: list(own) for app, own in before.amendments.items()}
    for body in history.bodies(store, range(before.base, base)):
        for entry in history.ledgered(body):
            ranges[entry.app] = joined([*ranges.get(entry.app, []), *entry.ranges])
            changes.setdefault(entry.app, []).extend(entry.amendments)
    kept = Settled(
        base=base,
        ranges={app: tuple(own) for app, own in ranges.items()},
        amendments={
            app: tuple(amendments.joined(ranges.get(app, ()), own)) for app, own in changes.items()
        },
    )
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


def ledgered(
    table: DeltaTable, uri: str, options: Options, app: str
) -> Mapping[Partition, list[CommitRange]]:
    """Return the ranges of `app` up to the table's version, as they were committed, oldest first.

    Damaged entries are left out: `verify` names them.
    """
    commits = reversed(history.commits(table, options))
    entries = [(own.version, entry) for own in commits for entry in history.decoded(own.text)]
    mine = [(version, entry) for version, entry in entries if entry.app == app]
    return told(before(uri, options), app, mine).ranges


def told(sums: Settled, app: str, entries: Sequence[tuple[int, Entry]]) -> Told:
    """Return what the sums and the entries of `app` since then say; entries have their versions."""
    since = [entry for version, entry in entries if version >= sums.base]
    ranges = grouped(sums.ranges.get(app, ()), *(entry.ranges for entry in since))
    changes = grouped(sums.amendments.get(app, ()), *(entry.amendments for entry in since))
    return Told(ranges, changes)


def grouped(*told: Iterable[R]) -> dict[Partition, list[R]]:
    """Group ranges or amendments by partition, in their order."""
    found: dict[Partition, list[R]] = {}
    for own in chain(*told):
        found.setdefault(own.of, []).append(own)
    return found


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
