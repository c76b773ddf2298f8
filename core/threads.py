"""Threads whose log lines name what their callers' lines name: the pipeline."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class ContextPool(ThreadPoolExecutor):
    """A pool in which each call has the context of its caller (structlog.contextvars)."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call `fn` in a thread."""
        call = partial(fn, *args, **kwargs)
        return super().submit(lambda context: context.run(call), copy_context())
