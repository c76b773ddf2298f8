"""Who may call an HTTP server of pinpip: names in Host, Origins, API keys.

A page of any site can make a browser send requests to loopback or into a private network. A site
whose own name resolves there (DNS rebinding) even has the server's origin. Therefore without keys
the Host must be a name of the server, and an Origin must be the server's own.
"""

import hashlib
import ipaddress
import secrets
from collections.abc import Callable, Collection
from fnmatch import fnmatchcase
from functools import lru_cache

API_KEY = "x-api-key"
_LOOPBACK = ("localhost", "*.localhost")
_DEFAULT_PORTS = (":80", ":443")


def named(own: str, hosts: Collection[str], *, keyed: bool) -> Callable[[str], bool]:
    """Return whether a Host names the server: an address, loopback, `own`, or one of `hosts`.

    DNS rebinding needs a name, so every address is accepted. With keys and without `hosts` every
    name is. `*.name` means all subdomains, `*` every name.
    """
    patterns = [pattern.lower() for pattern in (own, *hosts, *_LOOPBACK)]
    if keyed and not hosts:
        patterns = ["*"]

    @lru_cache(1000)
    def has(host: str) -> bool:
        name = _without_port(host).lower().rstrip(".")
        return is_address(name) or any(fnmatchcase(name, pattern) for pattern in patterns)

    return has


def _without_port(host: str) -> str:
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def is_address(name: str) -> bool:
    """Whether `name` is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_same(origin: str, host: str) -> bool:
    """Whether `origin` has the authority `host`; a reverse proxy may have changed the scheme."""
    return _bare(origin.partition("://")[2]) == _bare(host) != ""


def _bare(authority: str) -> str:
    lower = authority.lower()
    return next((lower.removesuffix(p) for p in _DEFAULT_PORTS if lower.endswith(p)), lower)


def new_key() -> tuple[str, str]:
    """Return an API key of 256 random bits, and its hash for the configuration."""
    key = secrets.token_urlsafe(32)
    return key, hashed(key.encode())


def hashed(key: bytes) -> str:
    """Return the hash of an API key; keys are random, so the hash needs no salt."""
    return f"sha256:{hashlib.sha256(key).hexdigest()}"
