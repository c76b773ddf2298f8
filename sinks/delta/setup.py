"""What a pipeline sets in a table's metadata: in its first entry, or once in a later one.

The log says for which columns its files have bounds (`delta.dataSkippingStatsColumns`): delta-rs's
Arrow readers find no row by any other column in a file that has bounds of some. Source: Delta
transaction protocol, "Change Metadata", "Protocol Evolution", "Schema Serialization"; delta-rs,
`filestats_to_expression_next`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from uuid import uuid4

import polars as pl
import structlog
from deltalake import DeltaTable, Field, Schema, Transaction
from deltalake.schema import PrimitiveType

from sinks.delta import added_columns, data_file, incarnation, log, merging, narrower
from sinks.delta.commit_log import Action
from sinks.delta.incarnation import COLUMN
from sinks.delta.table import OPTIONAL
from sinks.delta.target import DeltaTarget
from sinks.storage.protocol import Store

BOUNDED = "delta.dataSkippingStatsColumns"
_PLAIN = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_LOCAL_TIME = re.compile(r'"(type|elementType|keyType|valueType)":"timestamp_ntz"')
_log = structlog.get_logger()
_PARQUET = {"provider": "parquet", "options": {}}


class Setup:
    """The set-up of one table, and what of it the next entry has to carry.

    `bounded`: the columns that get bounds. `column`: names the incarnation of the rows, if they do.
    `metadata`: the `metaData` action that is due, if any. `begun`: the `txn` action that this
    incarnation begins, if it does. `casts`: the types of columns that are narrower in the table.
    `absent`: columns that it lacks by its age. `differs`: whether there are any of these.
    """

    def __init__(self, target: DeltaTarget) -> None:
        self._target = target
        self._own = data_file.bounded(target.schema, target.coordinates)
        self.bounded: Sequence[str] = self._own
        self.absent: Sequence[str] = ()
        self.differs = False
        self.column: pl.Expr | None = None
        self.metadata: list[Action] = []
        self.begun: list[Transaction] = []
        self._table_id = ""
        self._added: set[str] = set()
        self._merges: Sequence[str] = ()
        self.casts: dict[str, pl.DataType] = {}

    def see(self, table: DeltaTable | None, now_ms: int) -> None:
        """Find out whether this incarnation begins with the next entry, and whether rows name it.

        Call it when positions are read, and `learn` whenever the table is opened after that.
        """
        target = self._target
        if table is None:
            begins, names = target.begins or bool(target.folder), bool(target.folder)
        else:
            begun = target.begins and table.transaction_version(target.app) is not None
            begins = target.begins and not begun
            names = incarnation.is_named(table, target.folder, begins=begins)
        version = incarnation.NAMED if names else incarnation.UNNAMED
        self.column = incarnation.column(target.folder) if names else None
        self.begun = [Transaction(target.app, version, now_ms)] if begins else []

    def learn(self, table: DeltaTable) -> None:
        """Find out what this version of the table lacks, and what others added to it.

        Raises SinkError for a column that this pipeline no longer makes.
        """
        self._note(table)
        held = {field.name for field in table.schema().fields}
        self.absent = [name for name in OPTIONAL & set(self._target.schema) if name not in held]
        self._merges = sorted(merging.missing(held, self._target))
        self.casts = narrower.casts(table, self._target.schema)
        self.differs = bool(self.absent or self.casts)
        self.bounded = bounds(table, self._own)
        self.metadata = amendment(table, self._target, self._own, names=self.column is not None)

    def _note(self, table: DeltaTable) -> None:
        """Note columns that are not ours.

        One that appears while this member runs may be of a member with a newer declaration: a
        rolling restart does not stop the members that wait for theirs.
        """
        target, table_id = self._target, str(table.metadata().id)
        added = set(added_columns.of(table, target.schema.names())) - self._added
        if added:
            names = sorted(added)
            if table_id != self._table_id:
                added_columns.refuse_own(table, target.uri, target.options, names)
            _log.warning("columns_written_as_null", table=target.uri, columns=names)
        self._table_id = table_id
        self._added |= added

    @property
    def form(self) -> object:
        """What decides how rows are written; a file of another form is not for this table."""
        return (
            tuple(self.bounded),
            tuple(sorted(self.absent)),
            self.casts.copy(),
            self.column is None,
        )

    def fitted(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows as the table holds them; SinkError for a number that it cannot hold."""
        held = rows.drop(self.absent)
        named = held if self.column is None else held.with_columns(self.column)
        return narrower.fit(named, self.casts, self._target.uri)

    def done(self) -> None:
        """Take note that the entry is in the log."""
        if self._merges:
            _log.info("columns_added", table=self._target.uri, columns=list(self._merges))
        self.metadata, self.begun, self._merges = [], [], ()

    def create(self, store: Store, now_ms: int) -> None:
        """Make the table in `store`, unless there is one by now."""
        named: dict[str, pl.DataType] = {COLUMN: pl.String()} if self.column is not None else {}
        schema = Schema.from_arrow(pl.Schema(dict(self._target.schema) | named))
        create(store, schema, configuration(self._own), now_ms)


def create(store: Store, schema: Schema, properties: Mapping[str, str], now_ms: int) -> None:
    """Make a table without rows in `store`, unless there is one by now.

    Raises what `Store.put_new` raises.
    """
    text = schema.to_json()
    info = {"timestamp": now_ms, "operation": "CREATE TABLE", "engineInfo": log.ENGINE}
    metadata = {
        "id": str(uuid4()),
        "format": _PARQUET,
        "schemaString": text,
        "partitionColumns": [],
        "configuration": dict(properties),
        "createdTime": now_ms,
    }
    entry: list[Action] = [
        {"commitInfo": info | {"operationParameters": {}}},
        {"protocol": _protocol(text)},
        {"metaData": metadata},
    ]
    log.begin(store, entry)


def _protocol(schema: str) -> Action:
    """Return the lowest versions that allow the schema: times without a zone are a feature."""
    if not _LOCAL_TIME.search(schema):
        return {"minReaderVersion": 1, "minWriterVersion": 2}
    features = ["timestampNtz"]
    return {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": features,
        "writerFeatures": features,
    }


def configuration(bounded: Iterable[str]) -> dict[str, str]:
    """Return the properties of a table whose files have bounds for these columns."""
    return {BOUNDED: ",".join(map(_quoted, bounded))}


def amendment(
    table: DeltaTable, target: DeltaTarget, bounded: Sequence[str], *, names: bool
) -> list[Action]:
    """Return the `metaData` action that the next entry must carry, if the table lacks what it sets.

    What another program has set stays. `names`: the rows have the column of an incarnation.
    """
    held = table.metadata()
    fields = table.schema().fields
    wanted = merging.merged(fields, target)
    if names and COLUMN not in {field.name for field in fields}:
        wanted.append(Field(COLUMN, PrimitiveType("string")))
    if BOUNDED in held.configuration and len(wanted) == len(fields):
        return []
    return [
        {
            "metaData": {
                "id": held.id,
                "name": held.name,
                "description": held.description,
                "format": _PARQUET,
                "schemaString": Schema(wanted).to_json(),
                "partitionColumns": held.partition_columns,
                "configuration": configuration(bounded) | held.configuration,
                "createdTime": held.created_time,
            }
        }
    ]


def bounds(table: DeltaTable, own: Sequence[str]) -> Sequence[str]:
    """Return the columns to write bounds of: `own`, or none when the table's readers use others."""
    told = table.metadata().configuration.get(BOUNDED, "")
    named = {name.strip() for name in told.split(",")}
    ours = told == configuration(own)[BOUNDED] or named <= {*own, *map(_quoted, own), ""}
    return own if ours else []


def _quoted(name: str) -> str:
    """Return the column as SQL spells it."""
    return name if _PLAIN.fullmatch(name) else "`" + name.replace("`", "``") + "`"
