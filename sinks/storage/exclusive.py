"""Giving a finished file a name that nobody else has: what a commit to a folder rests on."""

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path

from core.errors import SinkError

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_NO_FLAGS = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_RENAME_NOREPLACE = 1  # linux/fs.h
_AT_FDCWD = -100  # linux/fcntl.h
# Their rename is exclusive among the processes of one machine only: cifs asks the server to
# replace (fs/smb/client/smb2inode.c), and a FUSE program may look first and rename then.
_BY_MACHINE = ("cifs", "smb3", "fuse")


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
    """The C library's function; None where it has none, as outside Linux."""
    found: Callable[..., int] | None = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    return found


def file_system(folder: Path) -> str:
    """The type of the file system that holds `folder`, as proc(5) names it in mountinfo."""
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "unknown"
    fields = [line.split(" ") for line in mounts.splitlines()]
    kinds = [mount[mount.index("-") + 1] for mount in fields if mount[2] == wanted]
    return kinds[0] if kinds else "unknown"
