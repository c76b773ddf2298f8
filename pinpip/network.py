"""A proxy is for what lies outside: loopback is never proxied."""

import os
from collections.abc import MutableMapping

# urllib (and so boto3) wants the brackets of IPv6, and knows no networks.
LOOPBACK = ("localhost", "127.0.0.1", "127.0.0.0/8", "::1", "[::1]", "0.0.0.0")  # noqa: S104


def spare_loopback(environment: MutableMapping[str, str] = os.environ) -> None:
    """Add loopback to NO_PROXY, which every library and child process reads, in both spellings."""
    known = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    if known.strip() == "*":
        return
    names = [name.strip() for name in known.split(",") if name.strip()]
    joined = ",".join(dict.fromkeys([*names, *LOOPBACK]))
    environment["no_proxy"] = environment["NO_PROXY"] = joined
