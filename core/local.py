"""The addresses of the embedded stack, looked up when a client is made and not before."""

import json
import os
from pathlib import Path
from typing import Any, Literal

from core.errors import StackDown

LOCAL = "local"  # stands for an address: that of the embedded stack
KEYS = ("local", "local")  # the embedded AWS accepts any


def address(state: Path, service: Literal["kafka", "aws"]) -> str:
    """Return the address of `service` that `pinpip local up` left in the file `state`.

    Raises StackDown when there is no such file, or its process has ended.
    """
    found = running(state)
    if service in found:
        return str(found[service])
    raise StackDown(
        f"the embedded stack is not running; {service} is `local` in config.yaml",
        "start it in another terminal: pinpip local up",
    )


def running(state: Path) -> dict[str, Any]:
    """Return the process and the addresses in the file `state`; empty when no stack runs."""
    try:
        found: dict[str, Any] = json.loads(state.read_text(encoding="utf-8"))
        return found if _is_alive(found["pid"]) else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _is_alive(pid: int) -> bool:
    """Return whether there is a process of this number, whoever runs it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
