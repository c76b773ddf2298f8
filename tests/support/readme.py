"""The commands of README.md, as its reader types them."""

import shlex

from tests.support.places import ROOT

OWN_TABLES = "Your own tables"  # its commands are for an empty folder of their own
_BLOCK = "```sh\n"


def lines(section: str) -> list[str]:
    """Return the lines of the shell blocks in the section of that title."""
    return _lines(_sections()[section])


def commands() -> list[list[str]]:
    """Return the commands of all other shell blocks, split as a shell does."""
    texts = [text for title, text in _sections().items() if title != OWN_TABLES]
    found = "\n".join(line for text in texts for line in _lines(text)).replace("\\\n", "")
    return [words for line in found.splitlines() if (words := shlex.split(line, comments=True))]


def _sections() -> dict[str, str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    parts = [part.partition("\n") for part in text.split("\n## ")]
    return {title: body for title, _, body in parts}


def _lines(text: str) -> list[str]:
    blocks = [part.split("```")[0] for part in text.split(_BLOCK)[1:]]
    return [line for line in "".join(blocks).splitlines() if line]
