"""What a Delta table asks of its readers and writers; what pinpip cannot do is refused by name.

Source: Delta transaction protocol, "Table Features", "Column Invariants", "CHECK Constraints",
"Generated Columns", "Identity Columns" and "Default Columns".
"""

from collections.abc import Iterable, Iterator

from deltalake import DeltaTable
from deltalake.schema import ArrayType, Field, MapType, StructType

from core.batch import KAFKA, KINESIS
from core.errors import SinkError

# Reader features that `sinks.delta.scan` supports, or delta-rs when it reads the log.
_READ = {"deletionVectors", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"}
# Table features that require nothing of a writer that only appends, unless a column or property
# uses them; `deletionVectors` requires only that the statistics count the rows.
_IDLE = _READ | {
    "allowColumnDefaults",
    "appendOnly",
    "changeDataFeed",
    "checkConstraints",
    "columnMapping",
    "generatedColumns",
    "identityColumns",
    "invariants",
}
_READERS_BY_FEATURES, _WRITERS_BY_FEATURES = 3, 7  # from these versions on a table names features
_NEVER_NULL = {*KAFKA.identity, *KINESIS.identity}
_CHECK = "delta.constraints."
_OF_COLUMNS = {  # by the beginning of the key in a column's metadata
    "CURRENT_DEFAULT": "a default",
    "EXISTS_DEFAULT": "a default",
    "__CHAR_VARCHAR_TYPE_STRING": "a limited length",
    "delta.generationExpression": "a generated value",
    "delta.identity.": "an identity",
    "delta.invariants": "an invariant",
    "delta.": "",
}


def refuse_unreadable(table: DeltaTable, uri: str) -> None:
    """Raise SinkError when the data files say something else to a reader without a feature."""
    versions = table.protocol()
    asked: set[str] = set()
    if versions.min_reader_version > _READERS_BY_FEATURES:
        asked.add(f"reader version {versions.min_reader_version}")
    asked |= set(versions.reader_features or []) - _READ - {"columnMapping"}
    asked |= {*_mapped(table), *_partitioned(table)}
    if asked:
        raise SinkError(
            f"table {uri} cannot be read: it uses {', '.join(sorted(asked))}",
            "drop that feature from the table, or read it with an engine that has the feature",
        )


def refuse_unwritable(table: DeltaTable, uri: str) -> None:
    """Raise SinkError when the table asks more of a writer than to append its rows."""
    versions = table.protocol()
    asked: set[str] = set()
    if versions.min_writer_version > _WRITERS_BY_FEATURES:
        asked.add(f"writer version {versions.min_writer_version}")
    if versions.min_writer_version >= _WRITERS_BY_FEATURES:
        asked |= set(versions.writer_features or []) - _IDLE
    asked |= {*_mapped(table), *_partitioned(table), *_checks(table)}
    asked |= set(_of_columns(table.schema().fields))
    if asked:
        raise SinkError(
            f"table {uri} cannot be written: it uses {', '.join(sorted(asked))}",
            "name another table in config.yaml, or take that feature from this one",
        )


def _mapped(table: DeltaTable) -> Iterator[str]:
    if table.metadata().configuration.get("delta.columnMapping.mode", "none") != "none":
        yield "columnMapping"


def _partitioned(table: DeltaTable) -> Iterator[str]:
    columns = table.metadata().partition_columns
    if columns:
        yield f"partitions by {', '.join(columns)}"


def _checks(table: DeltaTable) -> Iterator[str]:
    for name, rule in table.metadata().configuration.items():
        if name.startswith(_CHECK):
            yield f"CHECK {name.removeprefix(_CHECK)} ({rule})"


def _of_columns(fields: Iterable[Field], above: str = "") -> Iterator[str]:
    """Yield what the columns ask for, nested ones included."""
    for field in fields:
        name = f"{above}{field.name}"
        if not field.nullable and name not in _NEVER_NULL:
            yield f"NOT NULL of column {name}"
        for key in field.metadata:
            kinds = [kind for begin, kind in _OF_COLUMNS.items() if key.startswith(begin)]
            if kinds:
                yield f"{kinds[0] or key} of column {name}"
        yield from _of_columns(_within(field.type), f"{name}.")


def _within(dtype: object) -> Iterator[Field]:
    if isinstance(dtype, StructType):
        yield from dtype.fields
    elif isinstance(dtype, ArrayType):
        yield from _within(dtype.element_type)
    elif isinstance(dtype, MapType):
        yield from _within(dtype.key_type)
        yield from _within(dtype.value_type)
