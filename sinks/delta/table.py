"""Opening, creating and checkpointing one Delta table, its faults sorted by reaction."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import polars as pl
from deltalake import DeltaTable, Schema
from deltalake.exceptions import (
    CommitFailedError,
    DeltaError,
    DeltaProtocolError,
    SchemaMismatchError,
    TableNotFoundError,
)
from deltalake.schema import PrimitiveType

from core import aws_faults, paths
from core.batch import Coordinates
from core.errors import SinkError, TransientError, UnknownFault
from core.protocols import Options
from sinks.delta import features, merging, narrower, opening, orphans
from sinks.delta.incarnation import COLUMN
from sinks.delta.target import DeltaTarget
from sinks.storage.protocol import DISK_FULL_HINT, NO_RESPONSE_HINT

RETENTION = "delta.setTransactionRetentionDuration"
_REFUSED = re.compile(
    r"NoSuchBucket|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken"
    r"|not provide credentials|Permission denied|Read-only file system"
)
_FULL = re.compile(r"No space left on device|[Qq]uota exceeded")
_STORAGE = re.compile(r"Generic \w+ error")  # how the object store's errors begin
_ANSWER = re.compile(r"status code (\d+).*<Code>(.*?)</Code>\s*<Message>(.*?)</Message>", re.DOTALL)
# polars panics where a file is shorter than the log says.
_UNREADABLE = (FileNotFoundError, pl.exceptions.PolarsError, pl.exceptions.PanicException)
_MAX_SHOWN = 3
_KERNEL = "Kernel error"
_GAP = "found gap"  # also in a listing of a folder while a fast writer adds to the log
_HINT = "_last_checkpoint"  # in delta-rs's error when that names a missing checkpoint
_BEYOND = re.compile(r"Unsupported|catalog-managed")  # in delta-rs's errors about table features
# Columns of a quarantine that tables of version 0.1 lack: not written there.
OPTIONAL = frozenset({"pinpip_version"})
_ANOTHER = "name another table in config.yaml, or move this one away"
_REFILL = (
    "name another table in config.yaml, or fill one that has it from the source: pinpip replay"
    " PIPELINE --into NAME"
)


def find(uri: str, options: Options) -> DeltaTable | None:
    """Open the table at `uri`; None when there is none."""
    with sorted_errors(uri):
        try:
            return _open(uri, options)
        except TableNotFoundError:
            return None


def find_to_write(uri: str, options: Options) -> DeltaTable | None:
    """Open the table as `find`; remove damaged checkpoints that the rest of the log replaces.

    Entries that a writer put beyond a hole are set aside: delta-rs cannot skip either. Programs
    that only read a table leave them to its consumer.
    """
    with sorted_errors(uri):
        try:
            return _mended(uri, options)
        except TableNotFoundError:
            return None


def _mended(uri: str, options: Options) -> DeltaTable:
    while True:
        try:
            return _open(uri, options)
        except DeltaError as error:
            if not _is_damage(error):
                raise
            if not (opening.drop_damaged(uri, options) or orphans.set_aside(uri, options)):
                raise


def _is_damage(error: DeltaError) -> bool:
    said = str(error)
    return _KERNEL in said and not _STORAGE.search(said) and not _BEYOND.search(said)


def _open(uri: str, options: Options) -> DeltaTable:
    """Open the newest version; where one listing does not show it, one that is just as new."""
    try:
        return DeltaTable(paths.to_delta_rs(uri), storage_options=options())
    except DeltaError as error:
        if _HINT in str(error):
            return opening.without_hint(uri, options)
        if _GAP in str(error):
            return opening.at_newest(uri, options)
        raise


def find_own(uri: str, options: Options, coordinates: Coordinates) -> DeltaTable | None:
    """Open the table as `find`, to read its rows.

    Raises SinkError when the table lacks the metadata columns of its kind of source, or uses what
    this reader does not know.
    """
    table = find(uri, options)
    if table is not None:
        features.refuse_unreadable(table, uri)
        absent = sorted(set(coordinates.metadata) - {field.name for field in table.schema().fields})
        if absent:
            raise SinkError(
                f"table {uri} has another schema: it has no columns {', '.join(absent)}", _ANOTHER
            )
    return table


def find_or_create(target: DeltaTarget, create: Callable[[], None]) -> DeltaTable:
    """Open the table of `target`; `create` makes it when there is none.

    delta-rs does not make it: it needs hard links for that.

    Raises SinkError when the table has another schema.
    """
    table = find_to_write(target.uri, target.options)
    if table is None:
        create()
        table = find(target.uri, target.options)
    if table is None:
        raise TransientError(f"table {target.uri} was made but cannot be seen yet")
    check(table, target)
    return table


def check(table: DeltaTable, target: DeltaTarget) -> None:
    """Refuse a table that cannot hold rows of the target's schema, or that forgets positions.

    It may have further columns that ask nothing of a writer (see `sinks.delta.added_columns`), and
    lack columns that can be added (see `sinks.delta.merging`).
    """
    uri, held = target.uri, _types(table.schema())
    wanted = narrower.agreed(_types(Schema.from_arrow(target.schema)), held)
    later = OPTIONAL | merging.missing(held, target)
    if held.get(COLUMN) == _type(PrimitiveType("string")):  # see `sinks.delta.incarnation`
        wanted.setdefault(COLUMN, held[COLUMN])
    wanted = {name: kind for name, kind in wanted.items() if name in held or name not in later}
    added = held.keys() - wanted.keys() - {COLUMN}
    if wanted.items() != {n: t for n, t in held.items() if n not in added}.items():
        differing = [n for n in wanted | held if n not in added and wanted.get(n) != held.get(n)]
        differing.sort(key=lambda n: (n not in wanted or n not in held, n))  # other types first
        said = [f"{n}: {held.get(n, 'absent')}, not {wanted.get(n, 'absent')}" for n in differing]
        more = f"; and {len(said) - _MAX_SHOWN} more" if len(said) > _MAX_SHOWN else ""
        raise SinkError(
            f"table {uri} has another schema ({'; '.join(said[:_MAX_SHOWN])}{more})", _REFILL
        )
    features.refuse_unwritable(table, uri)
    if RETENTION in table.metadata().configuration:
        raise SinkError(
            f"table {uri} sets {RETENTION}: it would forget the positions of quiet partitions",
            f"unset it: ALTER TABLE … UNSET TBLPROPERTIES ('{RETENTION}')",
        )


def checkpoint(uri: str, options: Options) -> dict[str, str]:
    """Write a checkpoint of the newest version, so that opening the table stays cheap.

    Return the table's properties.
    """
    with sorted_errors(uri):
        newest = _mended(uri, options)
        newest.create_checkpoint()
        return _open(uri, options).metadata().configuration  # proves that it can be read


@contextmanager
def sorted_errors(uri: str) -> Iterator[None]:
    """Translate Delta's and the object store's errors into those that the loop knows."""
    try:
        yield
    except CommitFailedError as error:
        what = f"commit to {uri} failed: {_first(error)}"
        raise TransientError(what, kind=_kind(error)) from error
    except (SchemaMismatchError, DeltaProtocolError) as error:
        raise SinkError(f"table {uri} cannot be written: {_first(error)}", _ANOTHER) from error
    except TableNotFoundError as error:
        raise SinkError(
            f"table {uri} cannot be made or opened: {_first(error)}",
            "check lake.root in config.yaml: the folder must be writable, the bucket must exist",
        ) from error
    except DeltaError as error:
        raise _damaged(uri, error) from error
    except _UNREADABLE as error:
        raise SinkError(
            f"a data file of table {uri} is missing or damaged: {_first(error)}",
            "restore that file from a backup; no row was written",
        ) from error
    except OSError as error:
        raise _unreachable(uri, error) from error


def _damaged(uri: str, error: DeltaError) -> SinkError | TransientError:
    if _STORAGE.search(str(error)):
        return _unreachable(uri, error)
    if _KERNEL not in str(error):
        return UnknownFault(f"table {uri}: {_first(error)}", kind=_kind(error))
    if _BEYOND.search(str(error)):
        return SinkError(
            f"table {uri} asks more of a reader than this one can: {_first(error)}",
            "drop that feature from the table, or name another table in config.yaml",
        )
    return SinkError(
        f"the log of table {uri} is damaged: {_first(error)}",
        f"start its consumer, which removes a checkpoint that the log replaces, or restore the file"
        f" in {uri}/_delta_log from a backup",
    )


def _unreachable(uri: str, error: Exception) -> SinkError | TransientError:
    answer = _ANSWER.search(str(error))
    advice = aws_faults.answered(answer[2], answer[3]) if answer else None
    advice = aws_faults.AUTHORITY if aws_faults.is_untrusted(error) else advice
    if advice is not None or _REFUSED.search(str(error)):
        return SinkError(
            f"table {uri} cannot be read or written: {_first(error)}",
            advice
            or "check that the bucket or folder exists and that the credentials may write there",
        )
    if _FULL.search(str(error)):
        what = f"table {uri} cannot be written: {_first(error)}"
        return TransientError(what, DISK_FULL_HINT, "ENOSPC")
    what = f"storage of {uri} does not answer: {_first(error)}"
    return TransientError(what, NO_RESPONSE_HINT, _kind(error))


def _kind(error: Exception) -> str:
    """Return S3's code, or the name of delta-rs's exception."""
    answer = _ANSWER.search(str(error))
    return aws_faults.kind_of(answer[2], answer[1]) if answer else type(error).__name__


def _first(error: Exception) -> str:
    """Return S3's response, or delta-rs's message without colours, arrows and backtrace."""
    answer = _ANSWER.search(str(error))
    if answer is not None:
        return f"S3 answers {answer[1]} {answer[2]}: {answer[3]}"
    lines = re.sub(r"\x1b\[\d+m|↳", "", str(error)).split("\n   0:")[0].splitlines()
    return " ".join(" ".join(lines).split())[:400]


def _types(schema: Schema) -> dict[str, str]:
    return {field.name: _type(field.type) for field in schema.fields}


def _type(dtype: object) -> str:
    return dtype.type if isinstance(dtype, PrimitiveType) else str(dtype)
