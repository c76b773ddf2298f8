"""The interpreter and the memory allocator, set for records that stream through."""

import gc
import os

_ALLOCATOR = {  # jemalloc in polars; by default it keeps four arenas for each core
    "narenas": 1,
    "background_thread": "false",  # it gives back what the next batch asks for again
    "dirty_decay_ms": 1000,
    "muzzy_decay_ms": 0,
}


def tune_allocator() -> None:
    """Hold few pages that are not in use; to be called before polars is imported.

    Who has set the variable knows better.
    """
    told = ",".join(f"{name}:{value}" for name, value in _ALLOCATOR.items())
    os.environ.setdefault("_RJEM_MALLOC_CONF", told)


def spare_collector() -> None:
    """Look for cycles rarely: a poll makes thousands of objects, and none of them is in one."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000)
