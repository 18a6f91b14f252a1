"""API keys: made, hashed, checked; scopes and rate limits.

A key is ``ws_<its name>_<secret>``. The store keeps a sha256 of the secret: it has 256 random bits,
so a slow hash would protect nothing more.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from warmstart.errors import ConfigError
from warmstart.serve.storage.store import Key, Store

SCOPES = ("read", "write", "admin")
"""In ascending order: each allows what those before it allow."""


class AccessError(Exception):
    """A request that its key does not allow.

    Args:
        status: HTTP status 401, 403 or 429.
        detail: what is wrong and what is allowed.
        retry_after: seconds, for 429.
    """

    def __init__(self, status: int, detail: str, retry_after: float = 0.0) -> None:
        super().__init__(detail)
        self.status, self.detail, self.retry_after = status, detail, retry_after


@dataclass(frozen=True)
class KeyHolder:
    """The caller: name of the key, and its scope."""

    key: str
    scope: str


def make_key(store: Store, name: str, scope: str) -> str:
    """Make a key and return it; it cannot be retrieved again.

    Raises:
        ConfigError: there is no such scope.
    """
    if scope not in SCOPES:
        raise ConfigError(f"scope must be one of {SCOPES}, got {scope!r}")
    key, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    store.add_key(Key(key, name, scope, _hash(secret)))
    return f"ws_{key}_{secret}"


class KeyRing:
    """Checks keys in memory, without the store.

    Args:
        rate: requests a key may make, as in "500/second".
        anonymous_read: whether encoding needs no key.

    Raises:
        ConfigError: the rate limit is malformed.
    """

    def __init__(self, rate_limit: str, *, anonymous_read: bool) -> None:
        try:
            self._rate: RateLimitItem = parse(rate_limit)
        except ValueError:
            raise ConfigError(f"rate_limit must be like '500/second', got {rate_limit!r}") from None
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._anonymous_read = anonymous_read
        self._keys: dict[str, Key] = {}

    def load(self, keys: Iterable[Key]) -> None:
        """Replace the known keys."""
        self._keys = {key.key: key for key in keys}

    def check(self, authorization: str | None, scope: str, address: str) -> KeyHolder:
        """The caller, if the key allows the request.

        Args:
            authorization: the header, "Bearer ws_...".
            scope: the needed one.
            address: of the caller; requests without a valid key are counted by it.

        Raises:
            AccessError: no key, a wrong one, a scope that is too low, or too many requests.
        """
        try:
            holder = self._holder(authorization, scope)
        except AccessError:
            self._count(f"rejected {address}")
            raise
        self._count(holder.key or f"anonymous {address}")
        if SCOPES.index(holder.scope) < SCOPES.index(scope):
            raise AccessError(403, f"this needs a key of scope {scope}, got {holder.scope}")
        return holder

    def _count(self, name: str) -> None:
        if not self._limiter.hit(self._rate, name):
            seconds = float(self._rate.get_expiry())
            raise AccessError(429, f"more requests than {self._rate} with one key", seconds)

    def _holder(self, authorization: str | None, scope: str) -> KeyHolder:
        if authorization is None and scope == "read" and self._anonymous_read:
            return KeyHolder("", "read")
        if authorization is None:
            raise AccessError(401, "this needs an API key: Authorization: Bearer ws_...")
        kind, _, token = authorization.partition(" ")
        parts = token.strip().split("_", 2)
        key = self._keys.get(parts[1]) if len(parts) == 3 and parts[0] == "ws" else None
        known = key is not None and not key.revoked and kind.lower() == "bearer"
        if key is None or not known or not hmac.compare_digest(key.secret, _hash(parts[2])):
            raise AccessError(401, "the API key is unknown, or was revoked")
        return KeyHolder(key.key, key.scope)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
