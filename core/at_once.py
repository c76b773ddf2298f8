"""Several requests at once, where each waits for the same distant store."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any


def at_once(*steps: Callable[[], Any]) -> list[Any]:
    """Return what the steps return; the first error of a step, when all are over."""
    with ThreadPoolExecutor(len(steps)) as threads:
        calls = [threads.submit(copy_context().run, step) for step in steps]
    return [call.result() for call in calls]
