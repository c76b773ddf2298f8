"""A pipeline's code that is named by its file: `boards.py:clean`.

The file is a module of its own: no package of the same name, and no file of the same name in
another folder, is taken for it. It imports the files beside it by their plain names, as under
`python` and `pytest`: its folder becomes the last one on Python's path. A name that would then be
found elsewhere is refused.
"""

import ast
import importlib.util
import os
import sys
from collections.abc import Iterator
from hashlib import sha256
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

from core.config_file import at_home
from core.errors import ConfigError

_MARK = "@"


def is_file(module: str) -> bool:
    """Return whether `module` names a file, not a module on Python's path."""
    return module.endswith(".py") or "/" in module


def resolved(reference: str, folder: Path) -> str:
    """Return `reference` with its file, if it names one, as a path that is not relative.

    `folder`: what the file is relative to. `~` is the home folder. Raises ConfigError for that of
    an unknown user.
    """
    module, _, name = reference.rpartition(":")
    if not is_file(module):
        return reference
    try:
        return f"{folder.absolute() / at_home(module)}:{name}"
    except ValueError as error:
        raise ConfigError(f"{reference}: {error}", "write the folder itself") from error


def load(path: Path) -> ModuleType:
    """Return the module of the file `path`; the same object as long as the file does not change.

    It is in `sys.modules`, as `<stem>@<digest>`, so that `inspect` and `pickle` find it. Raises
    OSError, ConfigError for an ambiguous import, and whatever the file's code raises.
    """
    source = path.read_bytes()
    digest = sha256(b"\0".join([os.fsencode(path.absolute()), source])).hexdigest()
    name = f"{path.stem.replace('.', '_')}{_MARK}{digest[:12]}"
    return sys.modules[name] if name in sys.modules else _execute(name, path, source)


def label(module: str) -> str:
    """Return what to call the module named `module`: a file by its name, wherever it is."""
    stem, mark, _ = module.partition(_MARK)
    return f"{stem}.py" if mark else module


def _execute(name: str, path: Path, source: bytes) -> ModuleType:
    loader = SourceFileLoader(name, str(path))
    code = loader.source_to_code(source, str(path))
    folder = str(path.parent.absolute())
    if folder not in sys.path:
        sys.path.append(folder)
    _refuse_ambiguous(path, source, set())
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    if spec is None:
        raise ImportError(f"{path} is not a Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        exec(code, module.__dict__)  # noqa: S102  # the pipeline's own code, as an import runs it
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _refuse_ambiguous(path: Path, source: bytes, seen: set[Path]) -> None:
    """Raise ConfigError if a file beside `path` is imported by a name that leads elsewhere."""
    for name in _imports(source):
        beside = _beside(path.parent, name)
        if beside is None or beside in seen:
            continue
        seen.add(beside)
        top = name.partition(".")[0]
        place = _found(top)
        if place is None or not place.is_relative_to(path.parent.resolve()):
            raise ConfigError(
                f"{path} imports {name}: Python finds {place or 'nothing'}, not {beside}",
                f"rename one of the two: a process has one module called {top!r}",
            )
        _refuse_ambiguous(beside, beside.read_bytes(), seen)


def _imports(source: bytes) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def _beside(folder: Path, name: str) -> Path | None:
    """Return the file in `folder` that `import name` means, if there is one."""
    place = folder.joinpath(*name.split("."))
    files = (place.with_name(f"{place.name}.py"), place / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def _found(top: str) -> Path | None:
    """Return where Python finds the top-level module `top`."""
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # loaded without a spec
        return None
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or [])
    return Path(folders[0] if folders else spec.origin or top).resolve()
