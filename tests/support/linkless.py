"""File systems without hard links: the kernel's refusal in this process, and a real exFAT disk.

As a program it is pinpip in a process that cannot make a hard link.
"""

import ctypes
import errno
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF: ld [k], jeq k, ret k
_LINK, _LINKAT = 86, 265  # x86-64


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


def without_links() -> None:
    """Let every link() of this process and its children fail with EPERM, as on exFAT (x86-64)."""
    refuse = _ERRNO | errno.EPERM
    code = [
        (_LOAD, 0, 0, 0),  # the number of the system call
        (_EQUAL, 2, 0, _LINK),
        (_EQUAL, 1, 0, _LINKAT),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, refuse),
    ]
    text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
    program = _Program(len(code), ctypes.cast(text, ctypes.c_void_p))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    for words in ((_PR_SET_NO_NEW_PRIVS, 1, 0), (_PR_SET_SECCOMP, _MODE_FILTER, program)):
        what, value, argument = words
        passed = ctypes.byref(argument) if isinstance(argument, _Program) else argument
        if prctl(what, value, passed, 0, 0):
            raise OSError(ctypes.get_errno(), "this kernel takes no seccomp filter")


@contextmanager
def exfat_disk(folder: Path) -> Iterator[Path]:
    """Mount an exFAT disk while the block runs, or skip the test where that is impossible."""
    image, mount = folder / "exfat.img", folder / "exfat"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    _run("mkfs.exfat", str(image))
    loop = _run("losetup", "--find", "--show", str(image))
    try:
        _run(
            "mount",
            "-t",
            "exfat",
            loop,
            str(mount),
            otherwise=("mount.exfat-fuse", loop, str(mount)),
        )
        try:
            yield mount
        finally:
            _run("umount", str(mount))
    finally:
        _run("losetup", "--detach", loop)


def _run(*command: str, otherwise: tuple[str, ...] = ()) -> str:
    program = shutil.which(command[0])
    if program is not None:
        done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
    if otherwise:
        return _run(*otherwise)
    pytest.skip(f"no exFAT disk can be mounted here: {' '.join(command)}")


if __name__ == "__main__":
    from pinpip.cli import main

    without_links()
    main()
