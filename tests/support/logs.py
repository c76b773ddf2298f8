"""The log of this process as it was before a command set it up."""

import logging

import structlog

from core.kafka import LOGGER
from pinpip.logs.foreign import Forward


def reset() -> None:
    """Forget what `pinpip.logs.configure` did."""
    structlog.reset_defaults()
    root = logging.getLogger()
    for handler in [own for own in root.handlers if isinstance(own, Forward)]:
        root.removeHandler(handler)
    LOGGER.setLevel(logging.NOTSET)
    logging.captureWarnings(capture=False)
