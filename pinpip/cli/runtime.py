"""The interpreter and the memory allocator, set for records that stream through."""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_VARIABLE = "_RJEM_MALLOC_CONF"
_ALLOCATOR = {  # jemalloc in polars; by default it keeps four arenas for each core
    "narenas": 1,
    "background_thread": "false",  # it gives back what the next batch asks for again
    "dirty_decay_ms": 10_000,  # a busy consumer has every page again by then, an idle one has not
    "muzzy_decay_ms": 0,
}
_TURN = 0.001  # seconds; a batch needs the lock a hundred times, each time against the poll


def tune_allocator() -> None:
    """Hold few pages that are not in use; to be called before polars is imported.

    What the variable said before comes last, and so wins: a user's word, or that of a parent.
    """
    own = ",".join(f"{name}:{value}" for name, value in _ALLOCATOR.items())
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = f"{own},{before}" if before else own


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
