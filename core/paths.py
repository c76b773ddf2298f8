"""Where tables and archives are, as each library spells it.

A configuration names a folder, or `s3://bucket/prefix`; nothing in it is escaped and nothing is a
pattern. boto3, our own stores and polars (without globs) take it as it is. delta-rs takes a folder
as it is, but a bucket as a URL, and returns URLs for both (deltalake 1.6, `ensure_table_uri`).
"""

import os
import re
import unicodedata
from pathlib import Path
from urllib.parse import quote, unquote

from core.errors import ConfigError

_S3 = "s3"
_SCHEME = re.compile(r"s3:|[A-Za-z0-9+.-]*://", re.IGNORECASE)
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}")  # as botocore.handlers.VALID_BUCKET
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_UNPRINTABLE = {"Cc", "Zl", "Zp", "Cs"}  # Unicode's general categories
_LONGEST_NAME = 255  # bytes, on every usual file system
_LONGEST_PREFIX = 900  # bytes of a key's 1,024; the rest is for the names of log and data files


def bucket(uri: str) -> tuple[str, str] | None:
    """Split `s3://bucket/prefix`; None for a folder."""
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme != _S3:
        return None
    name, _, prefix = rest.partition("/")
    return name, prefix


def check(uri: str) -> str:
    """Return the place; ValueError names what of it some library reads as something else."""
    parted = bucket(uri)
    if _SCHEME.match(uri) and not (parted and _BUCKET.fullmatch(parted[0])):
        raise ValueError(f"{uri!r} is neither a folder nor a bucket: write s3://bucket/prefix")
    for name in (uri if parted is None else parted[1]).split("/"):
        wrong = _misread(name) or (parted is None and _misread_in_folder(name))
        if wrong:
            raise ValueError(f"{uri!r} cannot be a place of tables or archives: {wrong}")
    if parted is not None:
        _check_key(uri, parted[1].rstrip("/"))
    return uri


def check_below(path: str) -> str:
    """Return the place of a table; ValueError for a relative one outside of lake.root."""
    if not path.strip():
        raise ValueError("is empty")
    outside = Path(os.path.normpath(path)).parts[:1] == ("..",)
    if outside and "://" not in path:
        raise ValueError(f"{path!r} leaves lake.root: write an absolute path if it must be there")
    return check(path)


def identity(uri: str) -> str:
    """Return one name for all that name the place; symbolic links are not followed."""
    if bucket(uri) is not None:
        return uri.rstrip("/")
    return os.path.normpath(Path(uri).absolute())


def is_below(path: str) -> bool:
    """Return whether `path` names one place below whatever folder it is joined to."""
    names = path.split("/")
    return "://" not in path and not {"", ".", ".."} & set(names)


def to_delta_rs(uri: str) -> str:
    """Return how delta-rs is told of a table.

    Raises ConfigError when it cannot be told: it decodes a folder's path once more than it encodes
    it, that of its parents included.
    """
    parted = bucket(uri)
    where = os.path.realpath(uri) if parted is None else uri
    try:
        check(where)
    except ValueError as error:
        raise ConfigError(str(error), "move or rename that folder") from error
    return where if parted is None else f"s3://{parted[0]}/{quote(parted[1].rstrip('/'))}"


def of_delta_rs(url: str) -> str:
    """Return the place that delta-rs calls `url`, or a file that the log of a table names."""
    return unquote(url.removeprefix("file://")).rstrip("/")


def _misread(name: str) -> str:
    """Return why delta-rs or polars does not reach a folder or prefix of that name."""
    escape = _ESCAPE.search(name)
    if escape:
        return f"delta-rs decodes {escape[0]}"
    odd = [c for c in name if unicodedata.category(c) in _UNPRINTABLE]
    if odd:
        return f"the character U+{ord(odd[0]):04X} is not printable"
    return ""


def _misread_in_folder(name: str) -> str:
    if "\\" in name:
        return "delta-rs reads a backslash as a slash"
    size = len(name.encode())
    if size > _LONGEST_NAME:
        return f"{name[:20]}… has {size} bytes, a file system takes {_LONGEST_NAME}"
    return ""


def _check_key(uri: str, prefix: str) -> None:
    """Refuse the names that URLs and object stores drop: S3 itself takes them literally."""
    dropped = {"", ".", ".."} & set(prefix.split("/") if prefix else [])
    if dropped:
        raise ValueError(f"{uri} cannot be used: {min(dropped)!r} is no name of a prefix")
    if len(prefix.encode()) > _LONGEST_PREFIX:
        raise ValueError(f"{uri[:60]}… cannot be used: it has more than {_LONGEST_PREFIX} bytes")
