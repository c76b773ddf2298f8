"""config.yaml as a tree, and where in the file or the environment each of its values is."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from core.errors import ConfigError

Keys = tuple[str | int, ...]
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_OVERRIDE = re.compile(r"PINPIP_([A-Z]+)__([A-Z0-9_]+)")
_MERGE = "tag:yaml.org,2002:merge"
_TEXT = "tag:yaml.org,2002:str"
_DATE = "tag:yaml.org,2002:timestamp"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_MOST = 100_000  # values: aliases may multiply without end
_OCTAL = re.compile(r"[-+]?0[0-7_]+")
_KINDS = {
    "bool": "a boolean",
    "int": "a number",
    "float": "a number",
    "null": "nothing",
    "timestamp": "a date",
}


@dataclass(frozen=True)
class Place:
    """Where a value stands: `at` is a line and column of the file, or an environment variable.

    `key`: where its key stands. `text`: the value as the file has it, None for a section or a list.
    `variables`: those of the environment that the text refers to.
    """

    at: str
    key: str
    text: str | None = None
    variables: tuple[str, ...] = ()


@dataclass(frozen=True)
class Document:
    """The tree with `${NAME}`, `{id}` and overrides filled in; `places` by the keys to a value."""

    tree: Any
    places: dict[Keys, Place]

    def place(self, keys: Keys) -> Place | None:
        """Return where the value is, or the nearest section around it."""
        found = (self.places.get(keys[:n]) for n in range(len(keys), -1, -1))
        return next((place for place in found if place is not None), None)


def read(path: Path, environment: Mapping[str, str]) -> Document:
    """Return the file's tree; raise ConfigError, with line and column, for what is not YAML."""
    document = _parsed(_text(path), str(path))
    document.places.setdefault((), Place(f"{path}:1:1", f"{path}:1:1"))
    if not isinstance(document.tree, dict):
        raise ConfigError(
            f"{path} holds no mapping of keys", "start from the example of pinpip's repository"
        )
    filled = Document(_fill(document, document.tree, environment, ()), document.places)
    _override(filled, environment)
    return Document(_fill_id(filled.tree, filled.tree.get("id")), filled.places)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}",
            "name the configuration with -c, or run pinpip in its folder",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8: byte {error.start} cannot be read", "save it as UTF-8"
        ) from error


def _parsed(text: str, name: str) -> Document:
    """Return the document in `text`; `name` is its file or environment variable."""
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        places: dict[Keys, Place] = {}
        if node is None:
            return Document(None, places)
        _Locator(name, places).locate(node, (), None, ())
        return Document(loader.construct_document(node), places)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = _where(error, text, name)
        raise ConfigError(f"{where}: not YAML: {_said(error)}", "fix that line") from error


def _where(error: Exception, text: str, name: str) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is not None:
        return _at(mark, name)
    before = text[: getattr(error, "position", 0)]
    return f"{name}:{before.count(chr(10)) + 1}:{len(before.rpartition(chr(10))[2]) + 1}"


def _said(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    said = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return " ".join(str(said).split())


def _at(mark: yaml.Mark, name: str) -> str:
    return f"{name}:{mark.line + 1}:{mark.column + 1}"


@dataclass(frozen=True)
class _Locator:
    """Notes where the values of the file or variable `name` are, in `places`."""

    name: str
    places: dict[Keys, Place]

    def locate(
        self, node: yaml.Node, keys: Keys, key: yaml.Node | None, around: tuple[int, ...]
    ) -> None:
        """Note the node and all below it; raise ConfigError for what people write by mistake."""
        at = _at(node.start_mark, self.name)
        if len(self.places) > _MOST:
            raise ConfigError(f"{at}: there are more than {_MOST:,} values", "write less")
        of_key = at if key is None else _at(key.start_mark, self.name)
        if id(node) in around:
            raise ConfigError(f"{of_key}: {spelled(keys)} refers to itself", "write it out")
        place = Place(of_key, of_key)
        if isinstance(node, yaml.ScalarNode):
            _check_scalar(node, self.name)
            place = Place(at, of_key, node.value)
        self.places.setdefault(keys, place)
        for own, item_key, item in _items(node, self.name):
            self.locate(item, (*keys, *own), item_key, (*around, id(node)))


def _items(node: yaml.Node, name: str) -> Iterator[tuple[Keys, yaml.Node | None, yaml.Node]]:
    """Yield the items of a node: what leads to it, its key and its value."""
    if isinstance(node, yaml.SequenceNode):
        yield from (((number,), None, item) for number, item in enumerate(node.value))
    elif isinstance(node, yaml.MappingNode):
        _check_keys(node, name)
        for key, value in _by_merge(node):
            if key.tag != _MERGE:
                yield (key.value,), key, value
                continue
            merged = value.value if isinstance(value, yaml.SequenceNode) else [value]
            yield from (((), key, one) for one in merged)


def _by_merge(node: yaml.MappingNode) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """Yield keys and values; a merge (`<<`) last, as keys that stand there win."""
    yield from sorted(node.value, key=lambda pair: pair[0].tag == _MERGE)


def _check_keys(node: yaml.MappingNode, name: str) -> None:
    seen: dict[str, yaml.Node] = {}
    for key, _ in node.value:
        at = _at(key.start_mark, name)
        if key.tag == _MERGE:
            continue
        if key.tag != _TEXT or not isinstance(key, yaml.ScalarNode):
            said = f"`{key.value}` is read as {_kind(key.tag)}" if _kind(key.tag) else "is no text"
            raise ConfigError(f"{at}: the key {said}", f'quote it: "{_plain(key)}"')
        if key.value in seen:
            first = seen[key.value].start_mark.line + 1
            raise ConfigError(
                f"{at}: the key `{key.value}` stands in line {first} and again in line "
                f"{key.start_mark.line + 1}",
                "only one of them would count: rename or remove one",
            )
        seen[key.value] = key


def _check_scalar(node: yaml.ScalarNode, name: str) -> None:
    """Refuse what YAML 1.1 reads as another number than a person does, and dates."""
    odd = node.tag in _NUMBERS and (":" in node.value or _OCTAL.fullmatch(node.value))
    if node.style is None and (odd or node.tag == _DATE):
        kind = "a date" if node.tag == _DATE else f"the number {yaml.safe_load(node.value)}"
        raise ConfigError(
            f"{_at(node.start_mark, name)}: `{node.value}` is read as {kind}",
            f'quote it: "{node.value}"; or write a number in decimal, without a zero in front',
        )


def _kind(tag: str) -> str | None:
    return _KINDS.get(tag.rpartition(":")[2])


def _plain(node: yaml.Node) -> str:
    return node.value if isinstance(node, yaml.ScalarNode) else "…"


def _override(document: Document, environment: Mapping[str, str]) -> None:
    """Put `PINPIP_SECTION__KEY=value` in; values are YAML."""
    for name, text in environment.items():
        match = _OVERRIDE.fullmatch(name)
        if match:
            section, key = match[1].lower(), match[2].lower()
            key = key.replace("_", ".") if section == "kafka" else key
            held = document.tree.setdefault(section, {})
            if held is None:
                held = document.tree[section] = {}
            if isinstance(held, dict):  # else it is refused as what it is
                held[key] = _parsed(text, name).tree
                for keys in [keys for keys in document.places if keys[:2] == (section, key)]:
                    del document.places[keys]
                document.places[section, key] = Place(name, name)


def _fill(document: Document, node: Any, environment: Mapping[str, str], keys: Keys) -> Any:
    """`node` with each `${NAME}` or `${NAME:-default}` replaced from the environment."""
    if isinstance(node, dict):
        return {k: _fill(document, v, environment, (*keys, k)) for k, v in node.items()}
    if isinstance(node, list):
        return [_fill(document, v, environment, (*keys, i)) for i, v in enumerate(node)]
    if not isinstance(node, str):
        return node
    place, names = document.place(keys), []

    def value(match: re.Match[str]) -> str:
        found = environment.get(match[1], match[2])
        names.append(match[1])
        if found is None:
            raise ConfigError(
                f"{place.at if place else ''}: {spelled(keys)} wants the environment variable "
                f"{match[1]}, which is not set",
                f"export {match[1]}=…, or give a default: ${{{match[1]}:-value}}",
            )
        return found

    filled = _REFERENCE.sub(value, node)
    if place and names:
        document.places[keys] = replace(place, variables=tuple(names))
    return filled


def _fill_id(node: Any, identity: object) -> Any:
    """`node` with each `{id}` replaced by the configured id."""
    if isinstance(node, dict):
        return {k: _fill_id(v, identity) for k, v in node.items()}
    if isinstance(node, list):
        return [_fill_id(v, identity) for v in node]
    return node.replace("{id}", str(identity)) if isinstance(node, str) else node


def spelled(keys: Keys) -> str:
    """Return the keys as people write them: `pipelines.pin.source.topics[1]`."""
    parts = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return "".join(parts).removeprefix(".")
