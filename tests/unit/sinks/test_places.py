"""Tables, quarantines and archives are exactly where they are said to be, whatever the name.

boto3, delta-rs and polars read the same text as a key, a URL or a pattern.
"""

import shutil
import string
import unicodedata
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from audit.verify import prove, snapshots
from core.batch import KAFKA
from core.errors import ConfigError
from core.paths import to_delta_rs
from sinks.delta import table
from sinks.delta.scan import TableReader
from tests.support.aws import TestAws
from tests.support.pairs import A, B, Pair

PUNCTUATION = "".join(c for c in string.punctuation if c not in "/\\")
NAMES = [
    f"a{PUNCTUATION}b c",
    "[x]",
    "a*b",
    "**",
    "a?b",
    "{a,b}",
    "a#b",
    "100%",
    "%zz",
    " lead and trail ",
    ".dot/-dash/~",
    "ü日😀",
    unicodedata.normalize("NFC", "é"),
    unicodedata.normalize("NFD", "é"),
    "s3 x:y",
    "n" * 200,
]
IN_BUCKET = [NAMES[0], "[x]", "a*b", "100%", " lead and trail ", "ü日😀/e\u0301/\u00e9"]
REFUSED = [*map(chr, range(1, 32)), "\x7f", "\u2028", "\x85", "\\", "%20", "%2F", "%00"]
READ = [*PUNCTUATION, *string.ascii_letters, *string.digits, "%2", "%g0", "\u3000", "👩\u200d🔬"]

WANTED = {"kept": 8, "archived": 8, "commits": 2, "clean": 4}


@dataclass(frozen=True)
class Place:
    """Somewhere to put tables; `objects` lists all that is there, by plain means."""

    root: str
    names: list[str]
    objects: Callable[[], list[str]]
    aws: TestAws | None = None

    def pair(self, name: str) -> Pair:
        """Make a pair of tables in a folder of that name."""
        own = (self.aws.config, self.aws.storage_options) if self.aws else ()
        return Pair(f"{self.root}/{name}", KAFKA, *own)


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Return an empty folder or bucket."""
    if request.param == "folder":
        found = tmp_path / "lakes"
        return Place(str(found), NAMES, lambda: _files(found))
    aws: TestAws = request.getfixturevalue("aws")
    bucket, client = aws.bucket(), aws.client("s3")

    def keys() -> list[str]:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    return Place(f"s3://{bucket}", IN_BUCKET, keys, aws)


def _files(folder: Path) -> list[str]:
    return [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()]


def written(pair: Pair) -> None:
    """Write tables and archive in two batches."""
    batches = [pair.log.batch({A: (n, n + 2), B: (n, n + 2)}) for n in (0, 2)]
    pair.write(*batches)
    pair.archived(*batches)


def faults(pair: Pair) -> list[str]:
    """Checkpoint the tables, prove them with their archive and count their rows."""
    for uri in (pair.tables.clean, pair.tables.quarantine):
        table.checkpoint(uri, pair.options)
    clean, quarantine = snapshots(pair.tables)
    report = prove(clean, quarantine, [pair.archive])
    opened = table.find(pair.tables.clean, pair.options)
    counts = {
        "kept": sum(t.clean + t.quarantined for t in report.tallies),
        "archived": sum(chain.records for chain in report.chains),
        "commits": len(clean.commits()),
        "clean": TableReader(opened, pair.options).count() if opened else 0,
    }
    wrong = [str(found) for found in (*report.findings, *report.unknown)]
    return wrong + ([] if counts == WANTED else [str(counts)])


def all_faults(pairs: list[Pair]) -> dict[str, list[str]]:
    """Return what is wrong with each of the pairs, by its root."""
    return {pair.root: wrong for pair in pairs if (wrong := faults(pair))}


def test_tables_of_odd_names_side_by_side_are_each_read_alone(place: Place) -> None:
    pairs = [place.pair(name) for name in place.names]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(written, pairs))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as elsewhere:
        assert elsewhere.submit(all_faults, pairs).result() == {}
    kept = {key.rpartition("/_delta_log/")[0] for key in place.objects() if "/_delta_log/" in key}
    assert kept == {f"{name}/{stage}" for name in place.names for stage in ("clean", "rejected")}
    strays = [
        k for k in place.objects() if not any(k.startswith(f"{name}/") for name in place.names)
    ]
    assert strays == []


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a table of another writer."""
    folder = tmp_path_factory.mktemp("plain") / "table"
    write_deltalake(folder, pl.DataFrame({"n": [1]}))
    return folder


@pytest.mark.parametrize("characters", [READ, REFUSED], ids=["read", "refused"])
def test_a_folder_is_opened_by_its_own_name_or_refused(
    plain: Path, tmp_path: Path, characters: list[str]
) -> None:
    def outcome(character: str) -> str:
        folder = shutil.copytree(plain, tmp_path / f"x{character}y")
        try:
            found = DeltaTable(to_delta_rs(str(folder)))
        except ConfigError:
            return "refused"
        return "read" if found.version() == 0 else "lost"

    want = "read" if characters is READ else "refused"
    assert {c: outcome(c) for c in characters} == dict.fromkeys(characters, want)


def test_a_folder_below_one_that_delta_rs_misreads_is_refused_by_name(tmp_path: Path) -> None:
    below = tmp_path / "per%20cent"
    below.mkdir()
    (tmp_path / "link").symlink_to(below)
    for table_ in (below / "lake", tmp_path / "link" / "lake"):
        with pytest.raises(ConfigError, match="delta-rs decodes %20"):
            to_delta_rs(str(table_))
