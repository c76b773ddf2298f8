"""Which files of the product a piece of work executes."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import CO_OPTIMIZED
from pathlib import Path
from types import FrameType

from tests.support.places import ROOT

PRODUCT = ("core", "consumers", "producers", "gateway", "transforms", "sinks", "audit", "pinpip")


@contextmanager
def executed_files() -> Iterator[set[str]]:
    """Collect the files whose functions run in this thread and in threads that start meanwhile.

    The bodies of modules and classes run at an import and do not count.
    """
    files: set[str] = set()
    packages = tuple(f"{ROOT / package}/" for package in PRODUCT)

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        is_function = event == "call" and code.co_flags & CO_OPTIMIZED
        if is_function and code.co_filename.startswith(packages):
            files.add(str(Path(code.co_filename).relative_to(ROOT)))

    before, before_in_threads = sys.getprofile(), threading.getprofile()
    sys.setprofile(note)
    threading.setprofile(note)
    try:
        yield files
    finally:
        sys.setprofile(before)
        threading.setprofile(before_in_threads)
