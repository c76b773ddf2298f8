"""How a child process runs Python: with the modules that this process can import."""

import os
import sys


def command() -> list[str]:
    """Return the beginning of a command that runs Python.

    `python -m` puts the current folder first on the path. A user's module of that folder may be
    called like one of pinpip's packages, so it is left out where this process does not have it.
    """
    here = any(os.path.realpath(folder or ".") == os.path.realpath(".") for folder in sys.path)
    return [sys.executable] if here else [sys.executable, "-P"]
