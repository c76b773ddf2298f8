"""How a process ends beside threads that still look at something."""

import subprocess
import sys

import pytest

from tests.support.processes import environment

ENDING = """
import threading, time
from pinpip.cli.signals import end
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print("said", end="")
end({code!r})
"""


def ended(code: object) -> subprocess.CompletedProcess[str]:
    script = ENDING.format(code=code)
    command = [sys.executable, "-c", script]
    return subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.process
@pytest.mark.parametrize(("code", "seen"), [(0, 0), (3, 3), (None, 0), ("why", 1)])
def test_a_process_ends_at_once_beside_a_daemon_thread(code: object, seen: int) -> None:
    done = ended(code)
    assert (done.returncode, done.stdout) == (seen, "said")
