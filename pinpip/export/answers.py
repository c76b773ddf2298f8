"""Answers of a report as files, one per query."""

import io
from collections.abc import Iterable
from pathlib import Path

from pinpip.export.files import Files
from pinpip.export.formats import Format
from pinpip.export.markdown import escaped
from pinpip.export.rows import Written, write
from pinpip.folders import writing
from reports.run import Answer


def write_answers(found: Iterable[Answer], form: Format, folder: Path, files: Files) -> Written:
    """Write each answer to `<name of its query>.<format>` in `folder`, which is made.

    Markdown has the title and the definitions, the other formats only the rows.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    total = Written()
    for answer in found:
        with files.new(folder / f"{answer.question.name}.{form}") as out:
            if form is Format.MD:
                out.write(as_markdown(answer))
                continue
            done = write(form, answer.frame.schema, [answer.frame], out)
            total.rows += done.rows
            total.guarded += done.guarded
    return total


def as_markdown(answer: Answer) -> bytes:
    """Return an answer with its title and definitions."""
    question, frame = answer.question, answer.frame
    title = f"## {question.label}. {question.title}\n\n"
    table = io.BytesIO()
    write(Format.MD, frame.schema, [frame], table)
    return title.encode() + table.getvalue() + f"\n{escaped(question.definitions)}\n\n".encode()
