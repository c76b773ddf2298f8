"""The schema and the transform that a pipeline names, and a digest of both."""

import hashlib
import importlib
import inspect
from collections.abc import Collection
from pathlib import Path
from types import ModuleType

from core import __version__
from core.config import nearest
from core.errors import ConfigError
from transforms import code_file
from transforms.process import Transform, name_of
from transforms.record import DECODING
from transforms.refusals import place_of
from transforms.schema import Schema

_DIGEST = 12  # characters
_LONGEST_VERSION = 100
_HINT = (
    "write module:name with the module installed or on PYTHONPATH, or boards.py:name with the file"
    " beside config.yaml"
)


def load_schema(reference: str) -> Schema:
    """Return the Schema that `module:name` or `file.py:name` refers to; else a ConfigError."""
    found = load(reference)
    if not isinstance(found, Schema):
        raise ConfigError(
            f"{reference} is not a Schema", "name a transforms.schema.Schema, like the examples'"
        )
    return found


def load_transform(reference: str) -> Transform:
    """Return the function that `module:name` or `file.py:name` refers to; else a ConfigError.

    A VERSION beside it that is none is refused as well.
    """
    found = load(reference)
    if not callable(found) or not hasattr(found, "__qualname__"):
        raise ConfigError(f"{reference} is not a function", "name a function LazyFrame → LazyFrame")
    version_of(found)
    return found


def load(reference: str) -> object:
    """Return what `module:name` or `file.py:name` refers to; raise ConfigError when it cannot."""
    module, _, name = reference.rpartition(":")
    try:
        held = _module(module)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise ConfigError(f"{reference!r} cannot be loaded: {_said(error)}", _HINT) from error
    if not name or not hasattr(held, name):
        guess = nearest(name, list(vars(held)))
        raise ConfigError(f"{reference!r} cannot be loaded: no {name!r} in it{guess}", _HINT)
    return getattr(held, name)


def version_of(transform: Transform) -> str:
    """Return the `VERSION` beside the function, or the start of a digest of its module's source.

    Raises ConfigError for a VERSION that is neither text nor a number.
    """
    own = getattr(inspect.getmodule(transform), "VERSION", None)
    if own is None:
        return hashlib.sha256(_source(transform).encode()).hexdigest()[:_DIGEST]
    text = str(own).strip() if isinstance(own, (str, int, float)) else ""
    if not text or isinstance(own, bool) or len(text) > _LONGEST_VERSION:
        raise ConfigError(
            f"the VERSION beside {name_of(transform)} is {own!r}",
            f"write a number, or a text of at most {_LONGEST_VERSION} characters",
        )
    return text


def rules_of(schema: Schema, transform: Transform, options: Collection[str]) -> str:
    """Return a digest of what decides whether a record is rejected; any change changes it.

    Of a transform its whole module counts, not what that imports.
    """
    source = _source(transform)
    fields = {name: str(dtype) for name, dtype in schema.fields.items()}
    decoding = f"{DECODING} {schema.whole_floats}"
    parts = [__version__, decoding, schema.key, str(fields), name_of(transform), source, *options]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _source(transform: Transform) -> str:
    try:
        return inspect.getsource(inspect.getmodule(transform) or transform)
    except (OSError, TypeError):
        return ""  # made at run time: its name must do


def _module(name: str) -> ModuleType:
    return code_file.load(Path(name)) if code_file.is_file(name) else importlib.import_module(name)


def _said(error: BaseException) -> str:
    """Return what went wrong and, in the code that was loaded, where."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    where = place_of(error)
    plain = isinstance(error, (ImportError, SyntaxError, ValueError))
    text = " ".join(f"{'' if plain else type(error).__name__ + ': '}{error}".split())
    return text if where in text else f"{text}{where}"
