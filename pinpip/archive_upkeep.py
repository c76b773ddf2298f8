"""Keep the archives of a pipeline as long as it says, and no longer."""

from collections.abc import Iterator, Mapping
from datetime import timedelta

from audit.invariants import text
from core.batch import Partition
from core.clock import Clock
from core.config import Config
from pinpip.connectors.archive import keys_of
from pinpip.pipelines import archive_uri
from pinpip.upkept import Upkeep
from sinks.parquet import expire
from sinks.parquet.expire import Old
from sinks.storage.protocol import Store
from sinks.storage.store import open_store

_NAMED = 5  # partitions in a note


def maintain(config: Config, name: str, clock: Clock, *, dry_run: bool) -> Iterator[Upkeep]:
    """Remove the objects older than `keep` of each archive that has it, or plan that.

    Raises as `pinpip.maintain.maintain`; killed anywhere, each chain is whole and run again it goes
    on.
    """
    pipeline = config.pipeline(name)
    for archive in pipeline.archives:
        if archive.keep is not None:
            store = open_store(archive_uri(pipeline, archive), config.aws)
            found = _planned(config, name, store, archive.keep, clock)
            removed = sum(len(old.keys) for old in found.values())
            if not dry_run:
                removed = expire.remove(store, found.values())
            yield _report(name, store, found, removed, dry_run=dry_run)


def _planned(
    config: Config, name: str, store: Store, keep: timedelta, clock: Clock
) -> Mapping[Partition, Old]:
    """Plan the chains of this pipeline only: others may be in the same place."""
    partitions = sorted(keys_of(store, config.pipeline(name)))
    return expire.plan(store, partitions, keep, clock.now())


def _report(
    name: str, store: Store, found: Mapping[Partition, Old], removed: int, *, dry_run: bool
) -> Upkeep:
    left = 0 if dry_run else removed
    files = sum(old.objects for old in found.values()) - left
    begins = [
        f"{p} begins at {text(old.begins)}" for p, old in found.items() if old.begins is not None
    ]
    more = f" and {len(begins) - _NAMED} others" if len(begins) > _NAMED else ""
    then = "without these objects " if dry_run else ""
    notes = [f"{then}{', '.join(begins[:_NAMED])}{more}"] if begins else []
    notes += [f"{p}: nothing was removed: {old.unknown}" for p, old in found.items() if old.unknown]
    return Upkeep(name, store.uri, None, files=files, removed=removed, notes=notes, kind="archive")
