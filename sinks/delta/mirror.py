"""A copy of a bucket's log on this disk, from which delta-rs writes a checkpoint.

In the bucket delta-rs reads each entry several times. Here an entry is read at most once, and not
at all when its writer still has it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from sinks.delta import history, listing
from sinks.delta.log import HINT, name_of
from sinks.storage.protocol import Store


@contextmanager
def copied(store: Store, known: Mapping[int, bytes]) -> Iterator[Path | None]:
    """Make a folder with the newest checkpoint and the entries after it.

    `known`: entries that need not be read. None for a log that is incomplete, or whose checkpoint
    refers to further files: delta-rs must see it where it is.
    """
    log = listing.listed(store)
    base = next((base for base in log.bases() if log.leads(base)), None)
    if not log.entries or base is None or any(_is_v2(key) for key in base.keys):
        yield None
        return
    with TemporaryDirectory(prefix="pinpip-log-") as made:
        folder = Path(made)
        (folder / listing.FOLDER).mkdir()
        wanted = [version for version in log.entries if version > base.at]
        yield folder if _fill(folder, store, base.keys, wanted, known) else None


def _is_v2(key: str) -> bool:
    file = listing.parsed(key)
    return file is None or file.is_v2


def _fill(
    folder: Path, store: Store, keys: tuple[str, ...], wanted: list[int], known: Mapping[int, bytes]
) -> bool:
    """Write these files; False: one is gone by now."""
    for key in keys:
        (folder / key).write_bytes(store.read(key))
    found = dict(_proven(store, [v for v in wanted if v in known][-1:], known))
    lacking = [version for version in wanted if version not in found]
    found |= zip(lacking, history.bodies(store, lacking), strict=True)
    for version in wanted:
        body = found[version]
        if body is None:
            return False
        (folder / name_of(version)).write_bytes(body)
    return True


def _proven(
    store: Store, newest: list[int], known: Mapping[int, bytes]
) -> Mapping[int, bytes | None]:
    """Return what is known if the newest entry of it is there: its writer followed all before."""
    there = dict(zip(newest, history.bodies(store, newest), strict=True))
    return known if all(known[version] == body for version, body in there.items()) else {}


def publish(store: Store, folder: Path) -> None:
    """Put the folder's newest checkpoint into the bucket, and then the hint at it."""
    written = max(path for path in (folder / listing.FOLDER).glob("*.checkpoint.parquet"))
    store.replace(f"{listing.FOLDER}{written.name}", written.read_bytes())
    store.replace(HINT, (folder / HINT).read_bytes())
