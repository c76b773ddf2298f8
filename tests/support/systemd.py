"""A service manager that only listens: what a process tells systemd."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.waiting import PATIENCE


@dataclass
class Listener:
    """The manager's end. `address`: as NOTIFY_SOCKET has it."""

    address: str
    own: socket.socket

    def heard(self) -> dict[str, str]:
        """Return the next message, which a process has PATIENCE to send."""
        text = self.own.recv(65536).decode()
        return dict(line.partition("=")[::2] for line in text.split("\n"))

    def until(self, name: str) -> dict[str, str]:
        """Return the next message that tells `name`."""
        while name not in (message := self.heard()):
            pass
        return message

    def is_silent(self) -> bool:
        """Whether no message waits."""
        self.own.setblocking(False)  # noqa: FBT003  # a positional-only argument
        try:
            self.own.recv(65536)
        except BlockingIOError:
            return True
        finally:
            self.own.settimeout(PATIENCE)
        return False


@contextmanager
def listening(address: str | Path) -> Iterator[Listener]:
    """Listen at a path, or at an abstract address that begins with @."""
    own = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with own:
        own.bind(str(address).replace("@", "\0", 1) if str(address)[0] == "@" else str(address))
        own.settimeout(PATIENCE)
        yield Listener(str(address), own)
