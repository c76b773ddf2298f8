"""The files that a user begins with: a configuration, and the code of a pipeline with its test."""

import json
import keyword
import re
import shutil
import sys
from collections.abc import Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import yaml

from core.errors import ConfigError
from pinpip import configfile
from pinpip.extending import extended
from pinpip.folders import writing

_SCHEMA = "config.schema.json"
_SAMPLE_ROWS = 20
_NAME = re.compile(r"[A-Za-z0-9_-]+")


def initialise(path: Path, pipeline: str | None) -> list[Path]:
    """Write the documented configuration to `path`; return the files that were written.

    With a `pipeline` it has that one only, and beside it are a module with the pipeline's schema
    and transform, a test of it and sample records; an existing configuration gets the pipeline as
    its last one. ConfigError for a file that exists, or a configuration that does not load
    afterwards; then nothing is written.
    """
    if pipeline is None:
        _refuse_existing([path])
        return _written({path: _example(), **_schema(path.parent)})
    if not _NAME.fullmatch(pipeline):
        raise ConfigError(
            f"{pipeline!r} cannot be the name of a pipeline",
            "use letters without accents, digits, _ and -",
        )
    stem = stem_of(pipeline, path.parent)
    code = {
        path.parent / f"{stem}.py": _template("module", pipeline, stem),
        path.parent / f"test_{stem}.py": _template("test", pipeline, stem),
        path.parent / f"{stem}.ndjson": _sample(),
    }
    _refuse_existing(code)
    section = _template("pipeline", pipeline, stem)
    if not path.exists():
        head = _example().partition("\npipelines:\n")[0]
        text = extended(f"{head}\npipelines:\n", pipeline, section)
        return _written({path: text, **_schema(path.parent), **code})
    return _extended(path, pipeline, section, code)


def stem_of(pipeline: str, folder: Path) -> str:
    """Return a name for the pipeline's module that Python imports, and finds nowhere else."""
    stem = re.sub(r"\W", "_", pipeline)
    if not stem.isidentifier():
        stem = f"records_{stem}"
    return f"{stem}_records" if _is_taken(stem, folder) else stem


def _is_taken(stem: str, folder: Path) -> bool:
    if keyword.iskeyword(stem) or stem in sys.stdlib_module_names or stem.startswith("test_"):
        return True
    spec = find_spec(stem)
    origin = None if spec is None else spec.origin
    return origin is not None and Path(origin).parent.resolve() != folder.resolve()


def _extended(path: Path, pipeline: str, section: str, code: Mapping[Path, str]) -> list[Path]:
    """Add the pipeline to the configuration at `path`, at once and only if it loads then."""
    with writing(path.parent):
        target = path.resolve()
        try:
            text = target.read_bytes().decode()
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path} is not UTF-8: {error}", "save it as UTF-8") from error
        new = target.with_name(f".{target.name}.new")
        try:
            new.write_bytes(extended(text, pipeline, section).encode())
            shutil.copymode(target, new)
            _refuse_unloadable(new, path)
            written = _written(code)
            new.replace(target)
        finally:
            new.unlink(missing_ok=True)
    return [path, *written]


def _refuse_unloadable(new: Path, path: Path) -> None:
    try:
        configfile.load(new)
    except ConfigError as error:
        raise ConfigError(error.message.replace(str(new), str(path)), error.hint) from error


def _refuse_existing(paths: "Mapping[Path, str] | list[Path]") -> None:
    held = [str(path) for path in paths if path.exists() or path.is_symlink()]
    if held:
        raise ConfigError(
            f"{', '.join(held)}: there already, and never overwritten",
            "move it away, or add a pipeline with another name: pinpip config init --pipeline NAME",
        )


def _written(texts: Mapping[Path, str]) -> list[Path]:
    """Create the files; none is left when one cannot be created."""
    done: list[Path] = []
    try:
        for path, text in texts.items():
            with writing(path.parent), path.open("x", encoding="utf-8") as out:
                done.append(path)
                out.write(text)
    except BaseException:
        for path in done:
            path.unlink(missing_ok=True)
        raise
    return done


def _example() -> str:
    return (files("pinpip") / "config.yaml").read_text(encoding="utf-8")


def _schema(folder: Path) -> dict[Path, str]:
    """Return the JSON schema that config.yaml names for editors, unless the folder has it."""
    text, path = files("pinpip") / _SCHEMA, folder / _SCHEMA
    return {path: text.read_text(encoding="utf-8")} if text.is_file() and not path.exists() else {}


def _template(kind: str, pipeline: str, stem: str) -> str:
    text = (files("pinpip") / "templates" / f"{kind}.txt").read_text(encoding="utf-8")
    plain = yaml.safe_load(pipeline) == pipeline
    key = pipeline if plain else json.dumps(pipeline)
    return text.replace("@KEY@", key).replace("@STEM@", stem).replace("@NAME@", pipeline)


def _sample() -> str:
    rows = [
        {
            "id": n,
            "title": f"Board {n}",
            "score": n / 4,
            "created_at": f"2026-03-{n:02d}T12:00:00Z",
        }
        for n in range(1, _SAMPLE_ROWS + 1)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)
