"""Output that no stream and no text can break."""

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import typer

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def tolerate(*streams: TextIO) -> None:
    """Let the streams replace characters that their encoding lacks, instead of raising."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def print_json(tree: object, default: Callable[[object], str] = str) -> None:
    """Print JSON; with escapes where the stream's encoding lacks a character."""
    text = json.dumps(tree, default=default, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(tree, default=default)
    typer.echo(text)


def refuse_address(out: Path | None, option: str = "--out") -> None:
    """Refuse `s3://…` where files are written; a path has one slash of it left."""
    if out is not None and out.parts and out.parts[0].endswith(":"):
        raise typer.BadParameter("files are written only on this machine", param_hint=option)


def note(text: str) -> None:
    """Say on standard error what does not change the result."""
    typer.echo(f"note: {clean(text)}", err=True)


def note_guarded(cells: int) -> None:
    """Say on standard error that cells of a CSV file differ from the table."""
    if cells:
        typer.echo(
            f"{cells:,} cells begin like a formula: they have an apostrophe in front, so that no"
            " spreadsheet runs them. The other formats have them unchanged.",
            err=True,
        )


def clean(text: str) -> str:
    """Replace the codes that steer a terminal."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
