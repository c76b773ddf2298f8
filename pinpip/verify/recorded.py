"""verify, with its verdict kept beside the table."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from core.errors import ConfigError, FatalError
from pinpip.verify.examine import examine

if TYPE_CHECKING:
    from rich.progress import Progress

    from core.clock import Clock
    from core.config import Config
    from pinpip.verify.verdict import RereadPlan, Verdict


def recorded(
    config: "Config",
    name: str,
    clock: "Clock",
    note: Callable[[str], None],
    grace: float | None,
    plan: "RereadPlan | None" = None,
    bar: "Progress | None" = None,
) -> "Verdict":
    """Prove one pipeline as `examine`, and keep the verdict; `note` is told when that fails.

    A run that cannot finish is kept as well, unless the fault is transient or the configuration's.
    """
    from pinpip.pipelines import tables_of
    from pinpip.verify import record

    tables, at, options = tables_of(config, name), clock.now(), record.asked(grace, plan)
    try:
        verdict = examine(config, name, grace, plan, bar)
    except ConfigError:
        raise
    except FatalError as error:
        record.write(tables, record.of_failure(error, name, tables.app, at, options))
        raise
    if verdict.partitions or verdict.findings:
        why = record.write(tables, record.of_verdict(verdict, tables.app, at, options))
        if why is not None:
            note(f"the verdict on {name} is not kept beside its table: {why}")
    return verdict
