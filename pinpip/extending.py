"""Add a pipeline to a config.yaml as text: comments, order and spelling of the rest stay."""

import textwrap
from typing import Any

import yaml

from core.errors import ConfigError

_INDENT = 2


def extended(text: str, name: str, section: str) -> str:
    """Return the configuration `text` with the block `section` as the last of its pipelines.

    `section`: YAML of one pipeline by its `name`, not indented. Raises ConfigError for a name that
    is there, and where the text is written so that nothing can be added without a change to the
    rest (in braces, for example).
    """
    before = _tree(text)
    held = before.get("pipelines") or {}
    if name in held:
        raise ConfigError(
            f"a pipeline called {name!r} is in config.yaml already", "choose another name"
        )
    try:
        added = _inserted(text, section)
        after = _tree(added)
    except (yaml.YAMLError, ConfigError):
        after = {}
    own = yaml.safe_load(section)
    if not isinstance(held, dict) or after != before | {"pipelines": held | own}:
        one_line = yaml.safe_dump(own, default_flow_style=True, width=10**6).strip()
        raise ConfigError(
            "config.yaml writes its `pipelines` in a way that nothing can be added to",
            f"add it yourself below `pipelines:`: {one_line.removeprefix('{').removesuffix('}')}",
        )
    return added


def _tree(text: str) -> dict[str, Any]:
    tree = yaml.safe_load(text)
    if not isinstance(tree, dict):
        raise ConfigError("config.yaml holds no mapping of keys", "start with pinpip config init")
    return tree


def _inserted(text: str, section: str) -> str:
    """Insert the section below the last line of the last pipeline and of its comments."""
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines(keepends=True)
    column, last = _end(text)
    while last + 1 < len(lines) and _is_comment(lines[last + 1], column):
        last += 1
    if not lines[last].endswith(("\n", "\r")):
        lines[last] += newline
    apart = [newline] if lines[last].startswith(" ") else []
    block = textwrap.indent(section, " " * column).replace("\n", newline)
    return "".join([*lines[: last + 1], *apart, block, *lines[last + 1 :]])


def _end(text: str) -> tuple[int, int]:
    """Return the column of the pipelines' names, and the last line of the last one."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    for key, node in root.value if isinstance(root, yaml.MappingNode) else []:
        if key.value == "pipelines":
            held = isinstance(node, yaml.MappingNode) and not node.flow_style and node.value
            column = node.value[0][0].start_mark.column if held else _INDENT
            return column, _last_line(node) if held else key.end_mark.line
    raise ConfigError("config.yaml has no pipelines", "start with pinpip config init")


def _last_line(node: yaml.Node) -> int:
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return max(map(_last_line, last)) if isinstance(last, tuple) else _last_line(last)
    end = node.end_mark
    ends_before = end.column == 0 and end.line > node.start_mark.line  # a block of text
    return int(end.line - 1 if ends_before else end.line)


def _is_comment(line: str, column: int) -> bool:
    text = line.lstrip(" ")
    return text.startswith("#") and len(line) - len(text) >= column
