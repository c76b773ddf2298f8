"""verify's last verdict on a pipeline, kept beside its clean table in `_pinpip/verdict.json`.

It is written after each run, if it can be, and proves nothing by itself: it names the versions of
the tables that verify read. Every engine skips a folder that begins with `_`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from core import __version__
from core.errors import FatalError, PinpipError, SinkError
from pinpip.verify.conclusion import conclusion, exit_code
from pinpip.verify.verdict import Discrepancy, OpenQuestion, RereadPlan, TableSeen, Verdict
from sinks.delta import listing
from sinks.delta.target import Tables
from sinks.storage.protocol import Store
from sinks.storage.store import of_table

KEY = "_pinpip/verdict.json"
FAILED = 1  # verify's exit code when it could not finish
_MOST = 20  # findings, and things not known, that are kept
_LONGEST = 300  # characters of one
_MAX_BYTES = 1_000_000
_AGAIN = "run pinpip verify again"

Count = Annotated[int, Field(ge=0)]


class Asked(BaseModel):
    """What verify was asked: `reread` all or so many stretches drawn by `seed`; grace in s."""

    model_config = ConfigDict(frozen=True)
    offline: bool
    grace: float | None
    reread: Literal["all"] | int | None = None
    seed: int | None = None


class Record(BaseModel):
    """One verdict. `verdict`: the line that verify prints; `rows`: of table and quarantine.

    `findings` and `unknown` are the first ones, shortened; the totals count all.
    """

    model_config = ConfigDict(frozen=True)
    format: Literal[1] = 1
    pipeline: str
    app: str
    at: AwareDatetime
    exit_code: int
    verdict: str
    rows: Count | None
    findings: tuple[str, ...] = ()
    findings_total: Count = 0
    unknown: tuple[str, ...] = ()
    unknown_total: Count = 0
    options: Asked
    pinpip_version: str
    tables: tuple[TableSeen, ...] = ()


def asked(grace: float | None, plan: RereadPlan | None) -> Asked:
    """Return what `examine` was asked; `grace` None leaves the source out."""
    again = None if plan is None else plan.sample or "all"
    seed = plan.seed if plan and plan.sample else None
    return Asked(offline=grace is None, grace=grace, reread=again, seed=seed)


def of_verdict(verdict: Verdict, app: str, at: datetime, options: Asked) -> Record:
    """Return what is kept of a verdict on the tables as they were at `at`."""
    return Record(
        pipeline=verdict.pipeline,
        app=app,
        at=at,
        exit_code=exit_code([verdict]),
        verdict=conclusion([verdict]),
        rows=verdict.kept,
        findings=_first(verdict.findings),
        findings_total=len(verdict.findings),
        unknown=_first(verdict.unknown),
        unknown_total=len(verdict.unknown),
        options=options,
        pinpip_version=__version__,
        tables=tuple(verdict.tables),
    )


def of_failure(error: FatalError, name: str, app: str, at: datetime, options: Asked) -> Record:
    """Return what is kept of a run that could not finish: an older verdict would be trusted."""
    return Record(
        pipeline=name,
        app=app,
        at=at,
        exit_code=FAILED,
        verdict="verify could not finish",
        rows=None,
        findings=(_shortened(error.message),),
        findings_total=1,
        options=options,
        pinpip_version=__version__,
    )


def write(tables: Tables, record: Record) -> str | None:
    """Keep the record beside the clean table; return why that failed, None otherwise.

    Nothing is written where there is no table.
    """
    try:
        store = of_table(tables.clean, tables.options)
        if store.page(listing.FOLDER, "")[0]:
            store.replace(KEY, record.model_dump_json(indent=1).encode())
    except PinpipError as error:
        return f"{error.message}; next: {error.hint}" if error.hint else error.message
    return None


def read(store: Store) -> Record | None:
    """Return the record in the clean table's store; None: verify never left one.

    Raises SinkError when it is damaged or in another format.
    """
    body = store.find(KEY)
    if body is None:
        return None
    try:
        if len(body) > _MAX_BYTES:
            raise SinkError(f"{store.uri}/{KEY} is too large: {len(body):,} bytes", _AGAIN)
        return Record.model_validate_json(body)
    except ValidationError as error:
        [first, *_] = error.errors()
        where = ".".join(map(str, first["loc"]))
        what = f"{store.uri}/{KEY} cannot be read: {where}: {first['msg']}"
        raise SinkError(what, _AGAIN) from error


def _first(found: Sequence[Discrepancy | OpenQuestion]) -> tuple[str, ...]:
    return tuple(_shortened(_line(one)) for one in found[:_MOST])


def _line(one: Discrepancy | OpenQuestion) -> str:
    kind = f"{one.kind} " if isinstance(one, Discrepancy) else ""
    return f"{kind}{one.where}: {one.detail}"


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
