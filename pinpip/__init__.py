"""The program: its commands and what they do, composed of the rooms."""

from core import __version__

__all__ = ["__version__"]
