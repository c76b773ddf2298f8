"""librdkafka's properties as the configuration says."""

import logging
from collections.abc import Mapping
from typing import Any

from core.config import Config
from core.errors import ConfigError

LOGGER = logging.getLogger("librdkafka")  # of clients that are polled: lines wait for the poll
_SPELLINGS = ("sasl.mechanism", "sasl.mechanisms")
_IAM = "AWS_MSK_IAM"


def properties(config: Config) -> dict[str, Any]:
    """Return the section `kafka` for librdkafka; every client is made from it.

    With `sasl.mechanism: AWS_MSK_IAM`, as Java clients call it, tokens are signed for `aws.region`
    with the section `aws`'s keys, or those of AWS's own chain. Raises ConfigError when there are
    none, or no signer; StackDown when the brokers are `local` and the embedded stack does not run.
    """
    if config.kafka is None:
        raise ConfigError("config.yaml has no section kafka", "add kafka: {bootstrap.servers: …}")
    own = config.kafka.properties()
    if not _is_signed(own):
        return own
    from core.msk import Signer  # noqa: PLC0415  # boto3 is slow to import

    return unsigned(own) | {"oauth_cb": Signer(config.aws)}


def unsigned(own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties with librdkafka's name for IAM, and nobody who signs."""
    if not _is_signed(own):
        return dict(own)
    kept = {name: value for name, value in own.items() if name not in _SPELLINGS}
    return {"security.protocol": "SASL_SSL", **kept, "sasl.mechanism": "OAUTHBEARER"}


def _is_signed(own: Mapping[str, Any]) -> bool:
    return _IAM in map(own.get, _SPELLINGS)
