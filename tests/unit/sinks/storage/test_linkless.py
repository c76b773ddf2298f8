"""Lakes on file systems without hard links: SMB, Azure Files, exFAT, some FUSE mounts."""

import ctypes
import errno
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, Schema

from core.errors import SinkError
from sinks.delta import setup
from sinks.storage import store as store_module
from sinks.storage.store import FolderStore
from tests.support.aws import TestAws
from tests.support.commands import change, the_error
from tests.support.linkless import exfat_disk
from tests.support.processes import (
    Home,
    assert_holds_once,
    environment,
    kinesis_home,
    payloads,
    put,
    stop,
    until,
)

RECORDS = 300
linux = pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is Linux's")


@pytest.fixture(params=["EPERM", "ENOTSUP", "ENOSYS", "EMLINK"])
def folder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Make a folder whose file system refuses hard links with this error."""
    code = getattr(errno, request.param)

    def refuse(source: Path, target: Path) -> None:
        raise OSError(code, os.strerror(code), str(source), None, str(target))

    monkeypatch.setattr(os, "link", refuse)
    return tmp_path


@linux
def test_a_key_is_created_once_without_hard_links(folder: Path) -> None:
    store = FolderStore(folder)
    assert store.put_new("a/key", b"first", {})
    assert not store.put_new("a/key", b"second", {})
    assert store.read("a/key") == b"first"
    assert [path.name for path in (folder / "a").iterdir()] == ["key"]


@linux
def test_of_many_writers_without_hard_links_one_wins(folder: Path) -> None:
    store = FolderStore(folder)
    bodies = [str(n).encode() * 10_000 for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda body: store.put_new("key", body, {}), bodies))
    assert won.count(True) == 1
    assert store.read("key") == bodies[won.index(True)]


def says(kind: str) -> Callable[[Path], str]:
    return lambda _: kind


class OldLibrary:
    """A C library without renameat2: macOS, musl before 1.2.6, glibc before 2.28."""


class OldKernel:
    """A file system that does not know the flag: FUSE, NFS, 9p."""

    @staticmethod
    def renameat2(*_: object) -> int:
        ctypes.set_errno(errno.EINVAL)
        return -1


@pytest.mark.parametrize(
    ("kind", "library"),
    [
        *((network, None) for network in ("cifs", "smb3", "fuse.rclone", "fuseblk")),
        ("exfat", OldLibrary()),
        ("vfat", OldKernel()),
    ],
)
def test_a_file_system_that_cannot_create_exclusively_is_refused_by_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, library: object
) -> None:
    monkeypatch.setattr(store_module, "file_system", says(kind))
    if library is not None:
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: library)
    with pytest.raises(SinkError, match=rf"\({kind}\) without hard links") as refused:
        FolderStore(folder).put_new("a/key", b"body", {})
    assert "in a bucket" in refused.value.hint
    assert [path.name for path in (folder / "a").iterdir()] == []


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOENT])
def test_another_refusal_is_not_taken_for_a_lack_of_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: Path) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(SinkError, match=os.strerror(code)):
        FolderStore(tmp_path).put_new("key", b"body", {})


def test_the_file_system_is_named(tmp_path: Path) -> None:
    known = Path("/proc/filesystems")
    if not known.exists():
        pytest.skip("needs /proc")
    kinds = {line.split()[-1] for line in known.read_text(encoding="utf-8").splitlines()}
    assert store_module.file_system(tmp_path) in kinds
    assert store_module.file_system(Path("/proc")) == "proc"


@pytest.fixture
def home(aws: TestAws, tmp_path: Path) -> Home:
    """Configure a pipeline from a stream to a table and an archive."""
    stream = aws.stream(1)
    put(aws, stream, payloads(RECORDS))
    home = kinesis_home(tmp_path, aws, stream)
    archive = {"parquet": str(tmp_path / "lake" / "archive"), "stage": "raw"}
    change(home, "pipelines/user/sinks", [{"delta": "user"}, archive])
    return home


filtered = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="the filter is for x86-64"
)


@contextmanager
def consuming(home: Home) -> Iterator["subprocess.Popen[bytes]"]:
    """`pinpip consume user` in a process that no hard link is granted to."""
    module = [sys.executable, "-m", "tests.support.linkless"]
    command = [*module, "--config", str(home.config_path), "consume", "user"]
    with (
        (home.folder / "process.log").open("wb") as out,
        subprocess.Popen(
            command, stdout=out, stderr=out, cwd=home.folder, env=environment()
        ) as process,
    ):
        yield process
        process.kill()


@pytest.mark.process
@filtered
def test_a_lake_without_hard_links_is_made_filled_and_verified(home: Home) -> None:
    with consuming(home) as consumer:
        until(lambda: home.rows() == RECORDS or consumer.poll() is not None, "all rows")
        assert stop(consumer) == 0, (home.folder / "process.log").read_text(encoding="utf-8")
    checkpoint = "from tests.support.linkless import without_links; from sinks.delta import table;"
    checkpoint += f" without_links(); table.checkpoint({home.uri('user')!r}, dict)"
    subprocess.run([sys.executable, "-c", checkpoint], env=environment(), check=True)
    assert home.files("user/_delta_log/*.checkpoint.parquet") == 1
    assert home.files("archive/**/*.parquet") > 0
    assert_holds_once(home, payloads(RECORDS))


@pytest.mark.process
def test_an_exfat_disk_holds_a_lake_or_is_refused_by_name(home: Home) -> None:
    with exfat_disk(home.folder) as disk:
        change(home, "lake/root", str(disk / "lake"))
        change(home, "pipelines/user/sinks", [{"delta": "user"}])
        kind = store_module.file_system(disk)
        if kind == "exfat":  # the kernel's own driver knows the exclusive rename
            with home.running("consume", "user") as consumer:
                until(lambda: home.verify("--grace", "0")["findings"] == [], "all rows")
                assert stop(consumer) == 0
            return
        error = the_error(home.run("consume", "user"))
        assert f"({kind}) without hard links" in error
        assert "in a bucket" in error


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_a_new_table_is_the_one_that_delta_rs_would_make(tmp_path: Path, zone: str | None) -> None:
    times = pl.Datetime("us", zone)
    columns = {
        "a": pl.Int64(),
        "b": pl.List(pl.Struct({"c": pl.Float64(), "t": times})),
        "t": times,
    }
    schema = Schema.from_arrow(pl.Schema(columns))
    setup.create(FolderStore(tmp_path / "own"), schema, {}, 1_700_000_000_000)
    DeltaTable.create(str(tmp_path / "theirs"), schema)
    own, theirs = DeltaTable(str(tmp_path / "own")), DeltaTable(str(tmp_path / "theirs"))
    assert own.schema() == theirs.schema()
    assert vars_of(own) == vars_of(theirs)
    assert own.metadata().created_time == 1_700_000_000_000


def vars_of(table: DeltaTable) -> tuple[object, ...]:
    """Return the protocol and the metadata that decides how the table is used."""
    protocol, metadata = table.protocol(), table.metadata()
    features = (protocol.reader_features, protocol.writer_features)
    versions = (protocol.min_reader_version, protocol.min_writer_version)
    return (*versions, *features, metadata.partition_columns, metadata.configuration)
