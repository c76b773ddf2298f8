"""A proxy is for what lies outside: this machine is never asked for by way of it."""

import os
from collections.abc import MutableMapping

# urllib (and so boto3) wants the brackets of IPv6, and knows no networks.
LOOPBACK = ("localhost", "127.0.0.1", "127.0.0.0/8", "::1", "[::1]", "0.0.0.0")  # noqa: S104
# Behind these addresses AWS gives out this machine's or container's keys; a proxy would answer with
# its own. Sources: "Retrieve instance metadata" of EC2, "Task IAM role" of ECS, "EKS Pod Identity".
LINK_LOCAL = (
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "[fd00:ec2::254]",
    "[fd00:ec2::23]",
)


def spare_loopback(environment: MutableMapping[str, str] = os.environ) -> None:
    """Add them to NO_PROXY, which every library and child process reads, in both spellings."""
    known = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    if known.strip() == "*":
        return
    names = [name.strip() for name in known.split(",") if name.strip()]
    joined = ",".join(dict.fromkeys([*names, *LOOPBACK, *LINK_LOCAL]))
    environment["no_proxy"] = environment["NO_PROXY"] = joined
