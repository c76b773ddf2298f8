"""The interpreter and the memory allocator, set for records that stream through."""

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

_VARIABLE = "_RJEM_MALLOC_CONF"  # of jemalloc; by default it keeps four arenas for each core
_POLARS = {
    "narenas": 1,
    "background_thread": "false",  # it gives back what the next batch asks for again
    "dirty_decay_ms": 3000,  # a busy consumer has most pages again by then, an idle one has not
    "muzzy_decay_ms": 0,
    "lg_tcache_max": 12,  # each of many threads keeps small blocks only
}
_DELTA = _POLARS | {"dirty_decay_ms": 0}  # only used to open a table: nothing later purges it
_GLIBC = {  # variable: mallopt's number (malloc.h) and our value
    # Left alone both grow, to 32 and 64 MB, and what is freed stays in the arenas. There belong the
    # decompressed batches of small records: their pages are used again at once.
    "MALLOC_MMAP_THRESHOLD_": (-3, 768 * 1024),
    "MALLOC_TRIM_THRESHOLD_": (-1, 16 * 1024 * 1024),
    # By default eight for each core, and each keeps what its busiest moment took.
    "MALLOC_ARENA_MAX": (-8, 2),
}
_TURN = 0.001  # seconds; a batch needs the lock a hundred times, each time against the poll


def tune_allocators() -> None:
    """Import polars, then delta-rs, so that each holds few pages that are not in use.

    Each has its own jemalloc, which reads the variable once, when it is loaded. What the variable
    said before comes last, and so takes precedence: a user's word, or that of a parent. The Kafka
    client and Python use the C library's allocator, which is told to return large blocks.
    """
    _tune_glibc()
    before = os.environ.get(_VARIABLE)
    for library, own in (("polars", _POLARS), ("deltalake", _DELTA)):
        settings = ",".join(f"{name}:{value}" for name, value in own.items())
        os.environ[_VARIABLE] = f"{settings},{before}" if before else settings
        import_module(library)


def _tune_glibc() -> None:
    """Set what no environment variable sets; C libraries other than glibc have no mallopt."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for variable, (number, value) in _GLIBC.items():
        if mallopt is not None and variable not in os.environ:
            mallopt(number, value)


@contextmanager
def tuned_interpreter() -> Iterator[None]:
    """Look for cycles rarely: a poll makes thousands of objects, and none of them is in one.

    Threads take turns five times as often as by default.
    """
    before, turn = gc.get_threshold(), sys.getswitchinterval()
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000)
    sys.setswitchinterval(_TURN)
    try:
        yield
    finally:
        sys.setswitchinterval(turn)
        gc.set_threshold(*before)
        gc.unfreeze()
