"""The certificate authorities that boto3 trusts, for the libraries that do not ask boto3."""

import atexit
import os
import tempfile
from pathlib import Path

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from core.errors import ConfigError

_VARIABLE = "SSL_CERT_FILE"  # read by delta-rs, polars and Python's ssl


def trust(bundle: str | None) -> None:
    """Let every library of this process trust the PEM file `bundle` beside what it trusts today.

    Raises ConfigError when the file cannot be read, or the joined one cannot be written.
    """
    if not bundle:
        return
    try:
        own = Path(bundle).read_bytes()
        known = Path(os.environ.get(_VARIABLE) or DEFAULT_CA_BUNDLE_PATH).read_bytes()
        if own.strip() not in known:
            os.environ[_VARIABLE] = _joined(known + b"\n" + own)
    except OSError as error:
        raise ConfigError(
            f"the certificates of AWS_CA_BUNDLE cannot be used: {error}",
            f"name a PEM file that can be read, or set {_VARIABLE} to one that holds them all",
        ) from error


def _joined(certificates: bytes) -> str:
    """Write them to a file that exists as long as the process."""
    with tempfile.NamedTemporaryFile(prefix="pinpip-", suffix=".pem", delete=False) as file:
        file.write(certificates)
    atexit.register(Path(file.name).unlink, missing_ok=True)
    return file.name
