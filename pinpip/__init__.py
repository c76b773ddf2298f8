"""The program: its commands and what they do, composed of the rooms."""

from pinpip import shadowing

shadowing.refuse()

from core import __version__  # noqa: E402  # only if it is pinpip's own

__all__ = ["__version__"]
