"""What a replay in place would do, by the tables alone."""

from typing import Any

from audit.snapshot import Snapshot
from audit.verify import snapshots
from consumers.window import Window
from core.batch import Position
from core.config import Config
from core.errors import ConfigError
from pinpip import pipelines, replacing, replaying
from pinpip.connectors import coordinates_of
from pinpip.replaying import Origin
from sinks.delta import table as tables
from sinks.delta.affected import affected
from sinks.delta.selection import Records, Selection

_LEAST = 2  # commits that tell a speed


def plan(config: Config, name: str, window: Window, origin: Origin) -> list[dict[str, Any]]:
    """Return one row a table: its range, rows, files and bytes, and the seconds it would take.

    `seconds` is for both tables: at the speed of what an interrupted run has staged, else None.
    """
    replacing.refuse(config, name)
    sides = snapshots(pipelines.tables_of(config, name))
    selection = _selection(sides, window)
    speed = _speed(config, name, window, origin)
    offsets = sum(r.end.number - (r.start or Position(0)).number for r in selection.ranges)
    seconds = None if speed is None else round(offsets / speed, 1)
    rows = []
    for place in replacing.places(config, name):
        target = place.target
        table = tables.find_own(target.uri, target.options, target.coordinates)
        files = () if table is None else affected(target, table, selection).files
        rows.append(
            {
                "table": target.uri,
                "ranges": ", ".join(map(_said, selection.ranges)),
                "offsets": offsets,
                "rows": sum(own.gone.height for own in files),
                "rows_kept": sum(own.others for own in files),
                "files": len(files),
                "bytes": sum(own.size for own in files),
                "seconds": seconds,
            }
        )
    return rows


def _selection(sides: tuple[Snapshot, Snapshot], window: Window) -> Selection:
    """Select the range up to where both live tables are now."""
    ranges = []
    for partition in sorted(sides[0].partitions()):
        ends = [at.number for side in sides if (at := side.position(partition)) is not None]
        end = min([*ends, *([] if window.last is None else [window.last])], default=0)
        first = window.first or 0
        if len(ends) == len(sides) and first < end:
            source, id_ = partition
            ranges.append(
                Records(source=source, partition=id_, start=Position(first), end=Position(end))
            )
    if not ranges:
        raise ConfigError("the table holds no record in the range", "nothing to replace")
    return Selection(ranges=tuple(ranges), since=window.since, until=window.until)


def _said(own: Records) -> str:
    return f"{own.of} {(own.start or Position(0)).number}..{own.end.number}"


def _speed(config: Config, name: str, window: Window, origin: Origin) -> float | None:
    """Return the records a second of an interrupted run of the same replay."""
    uri = replacing.place(config, name, window)
    app = replaying.app_of(name, window, origin)
    staged = pipelines.tables_at(config, uri, coordinates_of(config.pipeline(name)), app)
    commits = snapshots(staged)[0].commits()
    if len(commits) < _LEAST:
        return None
    took = (commits[0][0].at - commits[-1][0].at).total_seconds()
    read = sum(r.read for _, entry in commits[:-1] for r in entry.ranges)
    return read / took if took > 0 and read else None
