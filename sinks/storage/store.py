"""Objects in a bucket or files in a folder, created once; only `replace` overwrites."""

import ctypes
import errno
import os
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from core import paths
from core.config import Aws
from core.errors import SinkError, TransientError
from core.protocols import Options
from sinks.storage.probe import refuse_overwriting
from sinks.storage.protocol import DISK_FULL_HINT, Store

_FULL_ERRNO = {errno.ENOSPC, errno.EDQUOT}
_PASSING_ERRNO = {errno.EAGAIN, errno.EIO, errno.ESTALE}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_NO_FLAGS = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_RENAME_NOREPLACE = 1  # linux/fs.h
_AT_FDCWD = -100  # linux/fcntl.h
# Their rename is exclusive among the processes of one machine only: cifs asks the server to
# replace (fs/smb/client/smb2inode.c), and a FUSE program may look first and rename then.
_BY_MACHINE = ("cifs", "smb3", "fuse")


def open_store(uri: str, aws: Aws) -> Store:
    """Open the store at `uri`: `s3://bucket/prefix` or a folder; SinkError for another scheme."""
    try:
        parted = paths.bucket(paths.check(uri))
    except ValueError as error:
        raise SinkError(str(error), "name another place in config.yaml") from error
    if parted is None:
        return FolderStore(Path(uri))
    from sinks.storage.s3 import S3Store, client  # noqa: PLC0415  # boto3 is slow to import

    return S3Store(client(aws), *parted)


def of_table(uri: str, options: Options) -> Store:
    """Open the store of the table at `uri`, reached as delta-rs reaches it by the same options."""
    parted = paths.bucket(uri)
    if parted is None:
        return FolderStore(Path(uri))
    from sinks.storage.s3 import S3Store, client_of  # noqa: PLC0415  # boto3 is slow to import

    return S3Store(client_of(parted[0], frozenset(options().items())), *parted)


class FolderStore:
    """Files below `root`, which is made by the first write. The folder keeps no metadata."""

    longest_name = 255  # on every usual file system

    def __init__(self, root: Path) -> None:
        self.uri = str(root)
        self._root = root
        self._proven = False

    def prove(self) -> None:
        """Create a probe file twice: the second time must fail."""
        if not self._proven:
            refuse_overwriting(self)
        self._proven = True

    def put_new(self, key: str, body: bytes, metadata: Mapping[str, str]) -> bool:  # noqa: ARG002 - the body must say it itself
        """Create the file; it appears whole or not at all, and survives a power cut."""
        path = self._root / key
        draft = path.with_name(f".{uuid.uuid4().hex}.tmp")
        with self._explained(key):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                _write_through(draft, body)
                publish(draft, path)
            except FileExistsError:
                return False
            finally:
                draft.unlink(missing_ok=True)
            _sync_folder(path.parent)
        return True

    def replace(self, key: str, body: bytes) -> None:
        """Write a file beside it and rename that: a reader sees the old or the new body."""
        path = self._root / key
        draft = path.with_name(f".{uuid.uuid4().hex}.tmp")
        with self._explained(key):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                _write_through(draft, body)
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)

    def metadata(self, key: str) -> Mapping[str, str] | None:
        """Nothing is kept beside a file: empty, or None when it is not there."""
        with self._explained(key):
            return {} if (self._root / key).is_file() else None

    def read(self, key: str) -> bytes:
        """Return the file's bytes."""
        with self._explained(key):
            return (self._root / key).read_bytes()

    def find(self, key: str) -> bytes | None:
        """As `read`; None when there is no such file."""
        with self._explained(key), suppress(FileNotFoundError):
            return (self._root / key).read_bytes()
        return None

    def tail(self, key: str, size: int) -> bytes:
        """Return the file's last bytes."""
        with self._explained(key), (self._root / key).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - size))
            return file.read()

    def page(self, prefix: str, after: str) -> tuple[list[str], bool]:
        """List the folder whole: no others follow."""
        return [key for key in self.list(prefix) if key > after], False

    def absent(self, keys: Sequence[str]) -> Sequence[str]:
        """Look at each file: a listing of the folder would read every name in it."""
        return [key for key in keys if self.metadata(key) is None]

    def list(self, prefix: str) -> list[str]:
        """Return the files whose path below the root begins with `prefix`, without drafts."""
        folder, parted, start = prefix.rpartition("/")
        with self._explained(prefix):
            return sorted(_files(self._root, folder + parted, start))

    def scan(self, folder: str) -> Iterator[tuple[str, datetime]]:
        """Yield one file after the other: a log may have millions."""
        with self._explained(folder), os.scandir(self._root / folder) as found:
            for file in found:
                if not file.name.startswith(".") and file.is_file():
                    with suppress(FileNotFoundError):
                        modified = datetime.fromtimestamp(file.stat().st_mtime, UTC)
                        yield f"{folder}{file.name}", modified

    def take_away(self, key: str, body: bytes) -> None:
        """Rename the file, and put it back if it is another: it cannot be replaced meanwhile."""
        path = self._root / key
        held = path.with_name(f".{uuid.uuid4().hex}.tmp")
        with self._explained(key), suppress(FileNotFoundError):
            path.rename(held)
            if held.read_bytes() != body:
                publish(held, path)
            held.unlink(missing_ok=True)

    def remove(self, keys: Collection[str]) -> None:
        """Remove the files in this order."""
        for key in keys:
            with self._explained(key):
                (self._root / key).unlink(missing_ok=True)

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what = f"{self._root / key}: {error.strerror}"
            kind = errno.errorcode.get(error.errno or 0, "")
            if error.errno in _FULL_ERRNO:
                raise TransientError(what, DISK_FULL_HINT, kind) from error
            if error.errno in _PASSING_ERRNO:
                hint = "look at that disk and at the system's log"
                raise TransientError(what, hint, kind) from error
            raise SinkError(what, f"let this user write below {self._root}") from error


def _files(root: Path, folder: str, start: str) -> Iterator[str]:
    """Yield the paths of all files below `folder` whose first part begins with `start`.

    Skipped names cost no object: a log has hundreds of thousands.
    """
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(root / folder) as found:
        for file in found:
            if file.name.startswith(".") or not file.name.startswith(start):
                continue
            if file.is_dir():
                yield from _files(root, f"{folder}{file.name}/", "")
            else:
                yield f"{folder}{file.name}"


def _write_through(path: Path, body: bytes) -> None:
    with path.open("xb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make the folder's entries as durable as the files behind them."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(draft: Path, path: Path) -> None:
    """Name the file `draft` `path`, whole and at once; `draft` may be gone afterwards.

    A hard link does it. Where the file system has none, Linux's renameat2(RENAME_NOREPLACE) does.
    Raises FileExistsError when the name is taken, SinkError when the file system has neither.
    """
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _rename_new(draft, path)


def _rename_new(draft: Path, path: Path) -> None:
    kind = file_system(path.parent)
    rename = None if kind.startswith(_BY_MACHINE) else _renameat2()
    failed = errno.ENOSYS
    if rename is not None:
        done = rename(
            _AT_FDCWD, os.fsencode(draft), _AT_FDCWD, os.fsencode(path), _RENAME_NOREPLACE
        )
        failed = ctypes.get_errno() if done else 0
    if failed in _NO_FLAGS:
        raise SinkError(
            f"{path.parent} is on a file system ({kind}) without hard links, on which two writers"
            " could overwrite each other's commits",
            "put lake.root and the archives on a local disk, on NFS or in a bucket",
        )
    if failed:
        raise OSError(failed, os.strerror(failed), str(path))


def _renameat2() -> Callable[..., int] | None:
    """Return the C library's function; None where it has none, as outside Linux."""
    found: Callable[..., int] | None = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    return found


def file_system(folder: Path) -> str:
    """Return the type of the file system of `folder`, as proc(5) names it in mountinfo."""
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "unknown"
    fields = [line.split(" ") for line in mounts.splitlines()]
    kinds = [mount[mount.index("-") + 1] for mount in fields if mount[2] == wanted]
    return kinds[0] if kinds else "unknown"
