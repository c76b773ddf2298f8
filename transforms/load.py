"""The schema and the transform that a pipeline names, and a digest of both."""

import hashlib
import importlib
import inspect
from collections.abc import Collection

from core import __version__
from core.errors import ConfigError
from transforms.process import Transform
from transforms.schema import Schema


def load_schema(reference: str) -> Schema:
    """Return the Schema that `module:name` refers to; raise ConfigError otherwise."""
    found = load(reference)
    if not isinstance(found, Schema):
        raise ConfigError(
            f"{reference} is not a Schema", "name a transforms.schema.Schema, like the examples'"
        )
    return found


def load_transform(reference: str) -> Transform:
    """Return the transform that `module:name` refers to; raise ConfigError otherwise."""
    found = load(reference)
    if not callable(found):
        raise ConfigError(f"{reference} is not a function", "name a function LazyFrame → LazyFrame")
    return found


def load(reference: str) -> object:
    """Return what `module:name` refers to; raise ConfigError when there is no such thing."""
    module, _, name = reference.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, ValueError, TypeError, AttributeError, SyntaxError) as error:
        raise ConfigError(
            f"{reference!r} cannot be loaded: {error}",
            "write module:name, and have the module on PYTHONPATH or installed",
        ) from error


def rules_of(schema: Schema, transform: Transform, options: Collection[str]) -> str:
    """Return a digest of what decides whether a record is rejected; any change changes it.

    Of a transform its whole module counts, not what that imports.
    """
    try:
        source = inspect.getsource(inspect.getmodule(transform) or transform)
    except (OSError, TypeError):
        source = ""  # made at run time: its name must do
    fields = {name: str(dtype) for name, dtype in schema.fields.items()}
    name = f"{transform.__module__}:{transform.__qualname__}"
    parts = [__version__, schema.key, str(fields), name, source, *options]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
