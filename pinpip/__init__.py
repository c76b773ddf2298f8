"""The program: its commands and what they do, composed of the rooms."""

import signal
import sys

PROGRAM = ("pinpip", "-m")  # sys.argv[0] of the command, and of `python -m pinpip` while it loads
if sys.argv[0].rpartition("/")[2] in PROGRAM:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C in an import would be a traceback

from pinpip import shadowing  # noqa: E402

shadowing.refuse()

from core import __version__  # noqa: E402  # only if it is pinpip's own

__all__ = ["__version__"]
