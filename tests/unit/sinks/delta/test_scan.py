"""Tables that other engines rewrote are read as their protocol says, or refused by its name."""

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, Literal
from urllib.parse import quote

import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

from audit.invariants import FindingKind
from audit.reread import Comparison
from audit.verify import snapshots, verify
from core.batch import KAFKA, KINESIS, Position
from core.errors import SinkError
from sinks.delta import table
from sinks.delta.scan import TableReader
from tests.support import engines
from tests.support.pairs import A, B, Pair
from tests.support.places import ROOT

CUTS = (0, 10, 20, 30)
SOME = pl.col("ind").is_between(13, 23)  # of two files of the clean table


@pytest.fixture(params=[KAFKA, KINESIS], ids=lambda c: c.kind)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    """Thirty records of each of two partitions, in three commits, below an odd name."""
    made = Pair(str(tmp_path / "the läke #1 [?] 5%"), request.param)
    made.write(*(made.log.batch({A: cut, B: cut}) for cut in pairwise(CUTS)))
    return made


def rows(pair: Pair) -> pl.DataFrame:
    """Read the clean table as pinpip does, in order."""
    return TableReader(pair.table("clean"), dict).rows().sort(pair.coordinates.identity).collect()


def differences(pair: Pair) -> Counter[FindingKind]:
    """Count by kind what verify finds, and then a comparison with the source."""
    starts = {pair.log.partition(i): _first(pair) for i in (A, B)}
    comparison = Comparison(snapshots(pair.tables), starts, pair.coordinates)
    for cut in pairwise(CUTS):
        comparison.write(pair.log.batch({A: cut, B: cut}))
    findings = [*verify(pair.tables).findings, *comparison.findings()]
    return Counter(finding.kind for finding in findings)


def _first(pair: Pair) -> Position | None:
    return Position(0) if pair.coordinates is KAFKA else None


# --- Deletion vectors


@pytest.mark.parametrize("storage", ["i", "u"])
def test_rows_that_a_deletion_vector_deletes_are_missing(
    pair: Pair, storage: Literal["i", "u"]
) -> None:
    before = rows(pair)
    deleted = engines.delete_rows(pair.uri("clean"), SOME, storage)
    assert deleted == 16
    assert_frame_equal(rows(pair), before.filter(~SOME))
    assert TableReader(pair.table("clean"), dict).count() == before.height - deleted
    clean, _ = snapshots(pair.tables)
    assert clean.height == before.height - deleted
    assert differences(pair) == {
        FindingKind.MISSING: 6
    }  # two ranges and one comparison a partition


def test_a_row_that_a_deletion_vector_deletes_is_never_drawn_nor_located(pair: Pair) -> None:
    engines.delete_rows(pair.uri("clean"), ~SOME)
    clean, _ = snapshots(pair.tables)
    kept = rows(pair).select(pair.coordinates.identity[:2]).rows()
    for seed in range(20):
        drawn = clean.draw(Random(seed))
        assert drawn is not None
        assert tuple(drawn[0]) in {(source, str(id_)) for source, id_ in kept}
    assert clean.located(_everything(pair), "file").height == len(kept)


def test_a_file_whose_name_is_escaped_in_the_log_is_read(pair: Pair) -> None:
    before, name = rows(pair), "a%20b ü#1.parquet"
    held = engines.adds(pair.uri("clean"))[0]
    folder = Path(pair.uri("clean"))
    (folder / held["path"]).rename(folder / name)
    moved = {"add": held | {"path": quote(name)}}
    removed = {"path": held["path"], "deletionTimestamp": 1, "dataChange": True}
    engines.put_entry(str(folder), {"remove": removed}, moved)
    assert_frame_equal(rows(pair), before)


def _everything(pair: Pair) -> dict[Any, Any]:
    ends = {pair.log.partition(i): pair.log.position(30) for i in (A, B)}
    return {partition: (None, end) for partition, end in ends.items()}


def test_a_deletion_vector_survives_a_checkpoint_and_a_writer_goes_on(pair: Pair) -> None:
    engines.delete_rows(pair.uri("clean"), SOME)
    pair.table("clean").create_checkpoint()
    pair.write(pair.log.batch({A: (30, 40)}))
    assert rows(pair).height == 40 - 16 + 6
    assert pair.table("clean").deletion_vectors() is not None


def test_a_table_with_all_rows_of_a_partition_deleted_by_vectors_is_not_sound(pair: Pair) -> None:
    engines.delete_rows(pair.uri("clean"), pair.coordinates.of(pair.log.partition(A)))
    missing = [f for f in verify(pair.tables).findings if f.kind is FindingKind.MISSING]
    assert {finding.partition for finding in missing} == {pair.log.partition(A)}


# --- Encodings


def dictionaries(data: pa.Table) -> pa.Table:
    """Text as dictionaries."""
    text = {i for i, f in enumerate(data.schema) if pa.types.is_large_string(f.type)}
    columns = [c.dictionary_encode() if i in text else c for i, c in enumerate(data.columns)]
    return pa.table(dict(zip(data.column_names, columns, strict=True)))


def reordered(data: pa.Table) -> pa.Table:
    """Reverse the order of the columns."""
    return data.select(data.column_names[::-1])


def shouted(data: pa.Table) -> pa.Table:
    """Change the case of the columns' names."""
    return data.rename_columns([name.upper() for name in data.column_names])


def without_nulls(data: pa.Table) -> pa.Table:
    """Less one nullable column."""
    return data.drop_columns(["title"])


def with_more(data: pa.Table) -> pa.Table:
    """With a column that the table has not."""
    return data.append_column("_row_id", pa.array(range(data.num_rows)))


def unannotated(data: pa.Table) -> pa.Table:
    """Text as the bare bytes that it was in files of old engines."""
    bare = [
        pa.field(f.name, pa.binary()) if pa.types.is_large_string(f.type) else f
        for f in data.schema
    ]
    return data.cast(pa.schema(bare))


def unchanged(data: pa.Table) -> pa.Table:
    """As it is."""
    return data


INT96 = {"use_deprecated_int96_timestamps": True}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "written"),
    [
        (unchanged, INT96),
        (dictionaries, {}),
        (reordered, INT96),
        (shouted, INT96),
        (with_more, {}),
        (unannotated, INT96),
        (unchanged, {"coerce_timestamps": "us", "version": "1.0"}),
    ],
)
@pytest.mark.parametrize("together", [False, True], ids=["each", "together"])
def test_a_table_that_another_engine_rewrote_is_read_as_it_was(
    pair: Pair, change: Any, written: dict[str, Any], *, together: bool
) -> None:
    before = rows(pair)
    for stage in ("clean", "rejected"):
        engines.rewrite(pair.uri(stage), change, together=together, **written)
    assert_frame_equal(rows(pair), before)
    assert differences(pair) == {}
    pair.write(pair.log.batch({A: (30, 40)}))
    assert rows(pair).height == before.height + 6
    assert differences(pair) == {}


def test_a_nullable_column_that_a_file_lacks_is_null(pair: Pair) -> None:
    before = rows(pair)
    engines.rewrite(pair.uri("clean"), without_nulls, together=True)
    lost = before.with_columns(title=pl.lit(None, pl.String))
    assert_frame_equal(rows(pair), lost.select(before.columns))
    assert differences(pair) == {FindingKind.DIFFERENT: 2}


def test_times_at_the_ends_of_the_calendar_are_read_from_int96(tmp_path: Path) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    pair.write(pair.log.batch({A: (0, 4)}))
    far = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"]
    times = pl.Series("_timestamp", far).str.to_datetime(time_unit="us", time_zone="UTC")
    arrow = times.to_arrow()

    def moved(data: pa.Table) -> pa.Table:
        return data.set_column(data.column_names.index("_timestamp"), "_timestamp", arrow)

    engines.rewrite(pair.uri("clean"), moved, **INT96)
    assert rows(pair)["_timestamp"].to_list() == times.to_list()


def test_text_that_is_no_text_is_an_error_that_names_the_table(tmp_path: Path) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    pair.write(pair.log.batch({A: (0, 4)}))
    broken = pa.array([b"\xff", b"x"], pa.binary())

    def damaged(data: pa.Table) -> pa.Table:
        return data.set_column(data.column_names.index("title"), "title", broken)

    engines.rewrite(pair.uri("clean"), damaged)
    clean, _ = snapshots(pair.tables)
    with pytest.raises(SinkError, match=f"rows of {pair.uri('clean')} cannot be read"):
        clean.rows(_everything(pair))


def test_a_file_without_any_statistics_is_counted_and_drawn_from(pair: Pair) -> None:
    before = rows(pair).height
    held = engines.adds(pair.uri("clean"))
    bare = [{"add": add | {"stats": None}} for add in held]
    engines.put_entry(pair.uri("clean"), *bare)
    assert TableReader(pair.table("clean"), dict).count() == before
    clean, _ = snapshots(pair.tables)
    for seed in range(5):
        assert clean.draw(Random(seed)) is not None
    assert differences(pair) == {}


# --- What is not honoured


@pytest.mark.parametrize("feature", ["typeWidening", "variantType"])
def test_a_table_that_asks_more_of_a_reader_is_refused_by_the_feature(
    tmp_path: Path, feature: str
) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    pair.write(pair.log.batch({A: (0, 9)}))
    engines.put_entry(pair.uri("clean"), engines.asks_of_readers(["deletionVectors", feature]))
    with pytest.raises(SinkError, match=f"clean cannot be read: it uses {feature}\n") as raised:
        verify(pair.tables)
    assert raised.value.hint
    with pytest.raises(SinkError, match=feature):
        table.find_own(pair.uri("clean"), dict, KAFKA)


@pytest.mark.parametrize("version", [2, 3])
def test_mapped_columns_are_refused_where_they_are_used(tmp_path: Path, version: int) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    pair.write(pair.log.batch({A: (0, 9)}))
    engines.put_entry(pair.uri("clean"), engines.asks_of_readers(["columnMapping"], version))
    assert verify(pair.tables).findings == ()
    engines.put_entry(pair.uri("clean"), engines.maps_columns(pair.uri("clean")))
    with pytest.raises(SinkError, match="it uses columnMapping"):
        verify(pair.tables)


def test_a_table_with_checkpoints_of_the_second_specification_is_read(tmp_path: Path) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    pair.write(pair.log.batch({A: (0, 9)}))
    asked = engines.asks_of_readers(["v2Checkpoint", "vacuumProtocolCheck", "timestampNtz"])
    engines.put_entry(pair.uri("clean"), asked)
    assert verify(pair.tables).findings == ()
    assert rows(pair).height == 6


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (engines.asks_of_readers(["unheardOf"]), "unheardOf"),
        (engines.asks_of_readers(["catalogManaged"]), "catalog-managed"),
        (engines.asks_of_readers([], 4), "version"),
    ],
    ids=["feature", "catalog", "version"],
)
def test_a_table_that_delta_rs_cannot_open_is_not_called_damaged(
    tmp_path: Path, asked: engines.Action, said: str
) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    pair.write(pair.log.batch({A: (0, 9)}))
    engines.put_entry(pair.uri("clean"), asked)
    with pytest.raises(SinkError, match=f"asks more of a reader.*{said}") as raised:
        verify(pair.tables)
    assert "backup" not in raised.value.hint


def test_tables_are_read_in_one_place_only() -> None:
    rooms = ("consumers", "gateway", "pinpip", "producers", "reports", "sinks", "transforms")
    raw = re.compile(
        r"\b(scan_delta|read_delta|to_pyarrow_\w+|to_pandas|file_uris)\(|scan_parquet\("
    )
    found = {
        path.relative_to(ROOT).as_posix()
        for room in rooms
        for path in (ROOT / room).rglob("*.py")
        if raw.search(path.read_text(encoding="utf-8"))
    }
    others = {
        "consumers/archive/json_rows.py": "objects of Kafka Connect",
        "consumers/archive/parquet.py": "the archive",
        "sinks/delta/opening.py": "checkpoints",
        "sinks/delta/txns.py": "checkpoints",
    }
    assert found == {"sinks/delta/scan.py", *others}
