"""Errors, sorted by what the loop does next.

PinpipError
├── TransientError      try the same step again, with jitter, as long as it takes
│   ├── UnknownFault        the same for two minutes, then stop
│   └── StackDown           the embedded stack, which the configuration names, does not run
├── StalePosition       drop the buffer, read the positions again and seek: the table wins
└── FatalError          stop with a non-zero exit code; nothing is lost, a person is needed
    ├── ConfigError
    ├── SourceError         broker, topic or stream cannot be read as configured
    ├── RecordsExpired      the source no longer holds records that a table still needs
    ├── TopicRecreated      a table's position counts in an earlier life of its topic
    ├── SinkError           table, bucket or folder cannot be written as configured
    ├── PositionLost        a table holds rows of a partition but not where they end
    └── TooManyRejects      so much is bad that the schema must have changed

Bad records are not errors: they are rows with a reason in the quarantine.
"""


class PinpipError(Exception):
    """What happened and where; `hint` is the operator's next step."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class TransientError(PinpipError):
    """A transient fault: the same step is tried again.

    `kind` is the library's own name of the fault, of a small closed set: it is a metric's label.
    """

    def __init__(self, message: str, hint: str = "", kind: str = "") -> None:
        super().__init__(message, hint)
        self.kind = kind or type(self).__name__


class UnknownFault(TransientError):
    """A fault of which it is not known whether it is transient: it must be over soon."""


class StackDown(TransientError):
    """The embedded stack, which the configuration calls `local`, is not running."""


class StalePosition(PinpipError):
    """Another writer moved the sink's position: drop what is buffered and seek to the sink's."""


class FatalError(PinpipError):
    """A fault that no retry mends: the process stops and says what a person should do."""


class ConfigError(FatalError):
    """The configuration cannot be used."""


class SourceError(FatalError):
    """A topic or stream cannot be read as configured."""


class RecordsExpired(FatalError):
    """The source's retention has passed what a table still needs."""


class TopicRecreated(FatalError):
    """A topic was deleted and created again: its offsets are not those that a table holds."""


class SinkError(FatalError):
    """A table, bucket or folder cannot be written as configured."""


class PositionLost(FatalError):
    """A table holds rows of a partition but no longer says where they end."""


class TooManyRejects(FatalError):
    """More of the recent records were rejected than the limit allows."""
