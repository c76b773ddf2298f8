"""The first entry of a Delta table's log.

Source: Delta transaction protocol, "Change Metadata", "Protocol Evolution", "Schema Serialization".
"""

import re
from collections.abc import Mapping
from uuid import uuid4

from deltalake import Schema

from sinks.delta import deltalog
from sinks.delta.deltalog import Action
from sinks.storage.protocol import Store

_LOCAL_TIME = re.compile(r'"(type|elementType|keyType|valueType)":"timestamp_ntz"')


def create(
    store: Store, schema: Schema, configuration: Mapping[str, str], engine: str, now_ms: int
) -> None:
    """Make a table without rows in `store`, unless there is one by now.

    Raises what `Store.put_new` raises.
    """
    text = schema.to_json()
    info = {"timestamp": now_ms, "operation": "CREATE TABLE", "engineInfo": engine}
    metadata = {
        "id": str(uuid4()),
        "format": {"provider": "parquet", "options": {}},
        "schemaString": text,
        "partitionColumns": [],
        "configuration": dict(configuration),
        "createdTime": now_ms,
    }
    entry: list[Action] = [
        {"commitInfo": info | {"operationParameters": {}}},
        {"protocol": _protocol(text)},
        {"metaData": metadata},
    ]
    deltalog.begin(store, entry)


def _protocol(schema: str) -> Action:
    """The lowest versions that can hold the schema: times without a zone are a feature."""
    if not _LOCAL_TIME.search(schema):
        return {"minReaderVersion": 1, "minWriterVersion": 2}
    features = ["timestampNtz"]
    return {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": features,
        "writerFeatures": features,
    }
