"""The embedded AWS as a process of its own, for `pinpip chaos`.

`python -m pinpip.local.aws_process` prints `{"port": …}` and runs until SIGTERM.
"""

import json
import signal
import sys
from urllib.parse import urlsplit

from pinpip.local.embedded import embedded_aws


def main() -> None:
    """Run until SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # the server's threads inherit it
    with embedded_aws() as url:
        sys.stdout.write(json.dumps({"port": urlsplit(url).port}) + "\n")
        sys.stdout.flush()
        signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main()
