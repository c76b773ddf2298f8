"""Hints for records that are not stored, by error code or HTTP status."""

GATEWAY = "see that the gateway runs, and that producer.gateway_url is its address and stage"
KEY = "the gateway wants another key: set producer.api_key in config.yaml"
FORBIDDEN = "if no host is named, set producer.api_key; else add that host to gateway.hosts"
RIGHTS = "the Kafka user of {} needs the right to write (ACLs: WRITE and DESCRIBE on the topic)"
ABSENT = "create the topic or stream, or see `id` in config.yaml, which names it"
SHARDS = "a shard takes 1,000 records and 1 MB a second: add shards, or lower --rate"
ALLOW = "allow kinesis:PutRecords on the stream, and kms:GenerateDataKey on its key"
CONFIGURATION = "see the message; names and addresses are in config.yaml"
_CODES = {
    "40101": RIGHTS.format("the gateway"),
    "40301": RIGHTS.format("the gateway"),
    "40401": ABSENT,
    "ResourceNotFoundException": ABSENT,
    "ProvisionedThroughputExceededException": SHARDS,
    "AccessDeniedException": ALLOW,
}
_STATUS = {
    401: KEY,
    403: FORBIDDEN,
    404: ABSENT,
    503: "see the gateway's /ready: it reports why it is not ready",
}


def of_code(code: object) -> str:
    """Return the hint for the code of one record: the REST Proxy's number or Kinesis's type."""
    return _CODES.get(str(code), CONFIGURATION)


def of_status(status: int) -> str:
    """Return the hint for the status of a whole request to the gateway."""
    return _STATUS.get(status, CONFIGURATION)
