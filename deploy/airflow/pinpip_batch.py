"""pinpip as a daily batch: consume until the end, prove the tables, answer the questions.

Set two variables in the environment of Airflow's workers:

- `PINPIP`: the program, by default /opt/pinpip/bin/pinpip, in an environment of its own.
- `PINPIP_CONFIG`: the configuration, by default /etc/pinpip/config.yaml.

A task that failed is repeated: each run goes on where the last one was, and none takes a record
twice. `verify` ends with 3 for a difference and 4 for what it cannot know: both are for a person,
so that task is not repeated, and no report is made of such tables.
"""

import os
from datetime import UTC, datetime, timedelta
from shlex import join

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

PINPIP = os.environ.get("PINPIP", "/opt/pinpip/bin/pinpip")
CONFIG = os.environ.get("PINPIP_CONFIG", "/etc/pinpip/config.yaml")
PATIENCE = timedelta(hours=1)  # for one run
GRACE = PATIENCE + timedelta(minutes=30)  # what came since the run began may be unread


def pinpip(task: str, *arguments: str, **options: object) -> BashOperator:
    """Make the task that runs `pinpip …`; its last line, JSON, is its XCom."""
    command = join([PINPIP, "--config", CONFIG, *arguments, "--json"])
    return BashOperator(task_id=task, bash_command=command, **options)


with DAG(
    "pinpip_batch",
    description="Consume until the end, verify, report",
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,  # a run takes all that is there, whatever day it is of
    max_active_runs=1,  # a stream is read by one process
    tags=["pinpip"],
) as dag:
    seconds, grace = (str(int(t.total_seconds())) for t in (PATIENCE, GRACE))
    repeated = {"retries": 3, "retry_delay": timedelta(minutes=5)}
    consume = pinpip("consume", "consume", "--until-end", "--timeout", seconds, **repeated)
    verify = pinpip("verify", "verify", "--grace", grace, retries=0)
    report = pinpip("report", "report", **repeated)
    consume >> verify >> report
