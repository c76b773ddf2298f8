"""Whether a broker knows the group protocol of KIP-848: librdkafka waits in silence if it does not.

Source: https://kafka.apache.org/protocol, ApiVersions (key 18): answered before authentication.
"""

import socket
import ssl
import struct
from collections.abc import Mapping
from typing import Any

import structlog

from core.errors import SourceError

_ASK = struct.pack(">ihhih", 10, 18, 0, 1, -1)  # length, key, version, correlation, no client id
HEARTBEAT = 68  # ConsumerGroupHeartbeat
_CONNECT_TIMEOUT_S = 5.0
_MAX_RESPONSE_BYTES = 64 * 1024
_log = structlog.get_logger()


def refuse_old_broker(properties: Mapping[str, Any]) -> None:
    """Raise SourceError when `group.protocol: consumer` meets a broker that does not know it.

    A broker that cannot be asked says nothing.
    """
    if properties.get("group.protocol") != "consumer":
        return
    for server in str(properties["bootstrap.servers"]).split(","):
        try:
            known = requests_of(server.strip().rpartition("/")[2], properties)
        except (OSError, ValueError, struct.error) as error:
            _log.debug("kafka_versions_unknown", server=server, error=str(error))
            continue
        if HEARTBEAT not in known:
            raise SourceError(
                f"the broker {server.strip()} is too old for group.protocol: consumer (KIP-848)",
                "upgrade to Apache Kafka 4.0 or later, or take group.protocol out of config.yaml",
            )
        return


def requests_of(server: str, properties: Mapping[str, Any]) -> set[int]:
    """Return the keys of the requests that the broker at `server` accepts.

    Raises OSError, ValueError or struct.error when it cannot be asked.
    """
    host, _, port = server.rpartition(":")
    host = host.strip("[]")
    with (
        socket.create_connection((host, int(port)), _CONNECT_TIMEOUT_S) as plain,
        _secured(plain, host, properties) as connection,
    ):
        connection.sendall(_ASK)
        [length] = struct.unpack(">i", _exactly(connection, 4))
        if length > _MAX_RESPONSE_BYTES:
            raise ValueError("these bytes are not a response of Kafka")
        body = _exactly(connection, length)
    _, error, count = struct.unpack_from(">ihi", body)
    if error:
        raise ValueError(f"error {error}")
    return {struct.unpack_from(">h", body, 10 + 6 * n)[0] for n in range(count)}


def _secured(plain: socket.socket, host: str, properties: Mapping[str, Any]) -> socket.socket:
    if "SSL" not in str(properties.get("security.protocol", "")).upper():
        return plain
    context = ssl.create_default_context(cafile=properties.get("ssl.ca.location"))
    certificate = properties.get("ssl.certificate.location")
    if certificate:
        key, secret = properties.get("ssl.key.location"), properties.get("ssl.key.password")
        context.load_cert_chain(certificate, key, secret)
    return context.wrap_socket(plain, server_hostname=host)


def _exactly(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        part = connection.recv(count - len(found))
        if not part:
            raise ConnectionError("the connection was closed")
        found += part
    return found
