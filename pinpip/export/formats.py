"""The formats of files; imports nothing heavy."""

from enum import StrEnum


class Format(StrEnum):
    """The formats, each the ending of its files."""

    CSV = "csv"
    JSON = "json"
    MD = "md"
    PARQUET = "parquet"
