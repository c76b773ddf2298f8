"""`pinpip status --watch`: the status of pipelines again and again, on a whole terminal."""

import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from pinpip.cli.output import clean
from pinpip.cli.signals import tidying

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pinpip.status import PipelineStatus

Look = Callable[[], "Sequence[PipelineStatus]"]
_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = "_.-=*#"
_SHOWN = 20  # points of a sparkline
_LEAVE_SCREEN = b"\x1b[?1049l\x1b[?25h"  # back to what was there, with a cursor
_MINUTE, _HOUR = 60, 3600
_REDRAW_S = 0.5


@dataclass
class Trend:
    """What was seen of one pipeline: its lags, and its positions' sum with the time of it."""

    lags: deque[int] = field(default_factory=lambda: deque(maxlen=_SHOWN))
    read: tuple[float, int] | None = None
    rate: float | None = None
    moved: float | None = None

    def add(self, status: "PipelineStatus", at: float) -> None:
        """Take in a status of the time `at`, in seconds."""
        if status.lag is not None:
            self.lags.append(status.lag)
        if status.clean is None:
            return
        total = status.clean + (status.quarantined or 0) + (status.left_out or 0)
        if self.read is not None and at > self.read[0]:
            grown = total - self.read[1]
            self.rate = grown / (at - self.read[0]) if grown >= 0 else None
            self.moved = at if grown else self.moved
        self.read = at, total


def print_lines(look: Look, every: float) -> None:
    """Print one JSON document a line, until the process ends."""
    while True:
        began = time.monotonic()
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        tree = {"at": now, "pipelines": [status.tree() for status in look()]}
        print(json.dumps(tree), flush=True)  # noqa: T201
        time.sleep(max(0.0, every - (time.monotonic() - began)))


def watch(look: Look, every: float) -> None:
    """Show the pipelines on the whole terminal, renewed each `every` seconds, until Ctrl-C."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    if not console.is_terminal:
        raise typer.BadParameter(
            "standard output is no terminal; --json prints one document a line",
            param_hint="--watch",
        )
    seen = _Seen(look, every)
    threading.Thread(target=seen.keep_looking, name="looks", daemon=True).start()
    with tidying(_leave_screen), Live(console=console, screen=True, auto_refresh=False) as live:
        while True:  # twice a second, as ages grow and the terminal may be resized
            live.update(seen.table(console), refresh=True)
            if seen.changed.wait(_REDRAW_S):
                seen.changed.clear()
            if seen.error is not None:
                raise seen.error


class _Seen:
    """What was seen last, and what of it is worth a trend; looking does not delay drawing."""

    def __init__(self, look: Look, every: float) -> None:
        self.changed = threading.Event()
        self.error: BaseException | None = None
        self._look = look
        self._every = every
        self._shown: tuple[float, Sequence[PipelineStatus]] | None = None
        self._trends: dict[str, Trend] = {}

    def keep_looking(self) -> None:
        """Look again and again, until a look fails."""
        try:
            while True:
                began = time.monotonic()
                statuses = self._look()
                for status in statuses:
                    self._trends.setdefault(status.pipeline, Trend()).add(status, began)
                self._shown = began, statuses
                self.changed.set()
                time.sleep(max(0.0, self._every - (time.monotonic() - began)))
        except BaseException as error:  # noqa: BLE001  # the main thread raises it
            self.error = error
            self.changed.set()

    def table(self, console: "Console") -> "Table | str":
        """Return what fits the terminal as it is now."""
        if self._shown is None:
            return "looking …"
        began, statuses = self._shown
        return _table(statuses, self._trends, console, time.monotonic() - began)


def _leave_screen() -> None:
    sys.stdout.buffer.write(_LEAVE_SCREEN)
    sys.stdout.flush()


def _table(
    statuses: "Sequence[PipelineStatus]",
    trends: dict[str, Trend],
    console: "Console",
    age: float,
) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD,
        title=f"pinpip status, {ago(age)}; Ctrl-C ends it",
        title_justify="left",
        title_style="bold",
        pad_edge=False,
    )
    table.add_column("pipeline", overflow="ellipsis", no_wrap=True)
    for name in ("clean", "quarantined", "lag", "rows/s"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("lag's course", no_wrap=True)
    table.add_column("last rows", no_wrap=True)
    table.add_column("not known", overflow="ellipsis", no_wrap=True, ratio=1)
    room = max(1, console.height - 5)
    for status in statuses[:room]:
        table.add_row(*_cells(status, trends[status.pipeline], console.encoding))
    if len(statuses) > room:
        table.caption = f"and {len(statuses) - room} more: enlarge the terminal, or name some"
    return table


def _cells(status: "PipelineStatus", trend: Trend, encoding: str) -> "list[Text]":
    from rich.text import Text

    lag, moved = status.lag, trend.moved
    return [
        Text(clean(status.pipeline)),
        Text(_number(status.clean)),
        Text(_number(status.quarantined)),
        Text(_number(lag), style="" if lag is None else "yellow" if lag else "green"),
        Text(_number(trend.rate)),
        Text(sparkline(trend.lags, encoding)),
        Text("-" if moved is None else ago(time.monotonic() - moved)),
        Text(clean("; ".join(f"{what}: {why}" for what, why in status.unknown.items()))),
    ]


def sparkline(values: Sequence[int], encoding: str = "utf-8") -> str:
    """Return a bar for each value, the highest one full; zero is the lowest."""
    bars = _BARS if encoding.lower().startswith("utf") else _ASCII_BARS
    most = max(values, default=0)
    return "".join(bars[-(-value * (len(bars) - 1) // most) if most else 0] for value in values)


def ago(seconds: float) -> str:
    """Return "now", "12 s ago", "3 min ago", "2 h ago"."""
    whole = int(seconds)
    if whole < 1:
        return "now"
    if whole < 2 * _MINUTE:
        return f"{whole} s ago"
    return f"{whole // _MINUTE} min ago" if whole < 2 * _HOUR else f"{whole // _HOUR} h ago"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
