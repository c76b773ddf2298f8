"""`python -m sinks.delta.checkpoint`: a checkpoint of the table that standard input names, as JSON.

`{"uri": …, "options": …}` in, `{"retention": seconds or null}` out: for how long the table's log is
to be kept, null when nothing may be removed.
"""

import json
import os
import sys

from core.errors import PinpipError
from sinks.delta import cleanup, table

_NICE = 5  # the commits go first


def main() -> int:
    """The exit code; a fault's message is the last line of standard error."""
    os.nice(_NICE)
    asked = json.load(sys.stdin)
    try:
        properties = table.checkpoint(asked["uri"], lambda: asked["options"])
    except PinpipError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    kept = properties.get("delta.enableExpiredLogCleanup", "true").lower() == "false"
    found = None if kept else cleanup.period(properties.get("delta.logRetentionDuration"))
    sys.stdout.write(json.dumps({"retention": None if found is None else found.total_seconds()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
