"""What a replay in place would do, by the tables alone."""

from typing import Any

from audit.verify import snapshots
from consumers.window import Window
from core.batch import Coordinates
from core.config import Config
from core.errors import ConfigError
from pinpip import pipelines, replacing, replaying
from pinpip import replacement_proof as proof
from pinpip.connectors import coordinates_of
from pinpip.replaying import Origin
from sinks.delta import table as tables
from sinks.delta.affected import affected
from sinks.delta.selection import Records, Selection

_LEAST = 2  # commits that tell a speed


def plan(config: Config, name: str, window: Window, origin: Origin) -> list[dict[str, Any]]:
    """Return one row a table: its range, rows, files and bytes, and the seconds it would take.

    `offsets`: None for a stream, whose sequence numbers do not count records.
    `seconds` is for both tables: at the speed of what an interrupted run has staged, else None, as
    for a stream.
    """
    replacing.refuse(config, name, window)
    live = pipelines.tables_of(config, name)
    selection = proof.select(proof.positions(live), window, live.coordinates)
    if not selection.ranges:
        raise ConfigError("the table holds no record in the range", "nothing to replace")
    speed = _speed(config, name, window, origin)
    offsets = _offsets(selection, live.coordinates)
    seconds = None if speed is None or offsets is None else round(offsets / speed, 1)
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


def _offsets(selection: Selection, coordinates: Coordinates) -> int | None:
    if coordinates.sub is not None:
        return None
    return sum(r.end.number - (r.start.number if r.start else 0) for r in selection.ranges)


def _said(own: Records) -> str:
    return f"{own.of} {own.start.number if own.start else ''}..{own.end.number}"


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
