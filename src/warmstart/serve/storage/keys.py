"""API keys: creation, checks, scopes and rate limits.

A token is ``ws_<id of the key>_<secret>``. The store keeps the sha256 of the secret, which has
256 random bits: a slow hash would not protect it better.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from limits import RateLimitItem, parse

from warmstart.errors import ConfigError
from warmstart.serve.storage.rate_limit import RateLimiter
from warmstart.serve.storage.records import Key
from warmstart.serve.storage.store import Store

Permission = Literal["recommend", "users", "items", "write", "interactions", "erase", "admin"]
"""What a route needs: lists, ids and histories of users, items, changes of items, interactions,
erasing users, or administration."""

_BACKEND: frozenset[Permission] = frozenset(
    {"recommend", "users", "items", "write", "interactions", "erase"}
)
SCOPES: Mapping[str, frozenset[Permission]] = {
    "read": frozenset({"recommend", "users", "items"}),
    "owner": frozenset({"items", "write"}),
    "interactions": frozenset({"interactions"}),
    "backend": _BACKEND,
    "admin": _BACKEND | frozenset[Permission]({"admin"}),
}
"""Permissions by scope. An owner writes and looks up only the items that its own key wrote; a
backend those of every key; only an admin changes the items of the training data."""


class AccessError(Exception):
    """A request is refused because of its key.

    Args:
        status: HTTP status: 401, 403 or 429.
        detail: what is wrong and what is allowed.
        retry_after: seconds to wait, for status 429.
    """

    def __init__(self, status: int, detail: str, retry_after: float = 0.0) -> None:
        super().__init__(detail)
        self.status, self.detail, self.retry_after = status, detail, retry_after


@dataclass(frozen=True)
class Caller:
    """The caller: id of the key and its scope; both are "" for a caller without a key."""

    key: str
    scope: str

    @property
    def is_owner(self) -> bool:
        """Whether the caller is limited to its own items."""
        return self.scope == "owner"

    def may(self, permission: Permission) -> bool:
        """Whether the scope has a permission."""
        return permission in SCOPES.get(self.scope, ())

    def require(self, permission: Permission) -> None:
        """Refuse a caller whose scope lacks a permission.

        Raises:
            AccessError: 401 without a key, 403 with a key of another scope.
        """
        if self.may(permission):
            return
        if not self.key:
            raise AccessError(401, "this request needs an API key: Authorization: Bearer ws_...")
        able = " or ".join(scope for scope, allowed in SCOPES.items() if permission in allowed)
        raise AccessError(403, f"this request needs a key of scope {able}, got {self.scope}")


def check_scope(scope: str) -> None:
    """Check a scope before a store is opened, which may create it.

    Raises:
        ConfigError: the scope is not one of ``SCOPES``.
    """
    if scope not in SCOPES:
        raise ConfigError(f"scope {scope!r}; allowed: {', '.join(SCOPES)}")


def make_key(store: Store, name: str, scope: str) -> str:
    """Create a key and return its token, which cannot be retrieved again.

    Raises:
        ConfigError: the scope is not one of ``SCOPES``.
    """
    check_scope(scope)
    key, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    store.keys.add(Key(key, name, scope, _hash(secret)))
    return f"ws_{key}_{secret}"


class KeyRing:
    """Checks keys and rate limits in memory, without the store.

    Args:
        rate_limit: maximum rate of requests per key, as in "500/second".
        anonymous_read: whether read requests need no key.

    Raises:
        ConfigError: the rate limit is malformed.
    """

    def __init__(self, rate_limit: str, *, anonymous_read: bool) -> None:
        try:
            self._rate: RateLimitItem = parse(rate_limit)
        except ValueError:
            raise ConfigError(f"rate_limit must be like '500/second', got {rate_limit!r}") from None
        self._limiter = RateLimiter(self._rate)
        self._anonymous_read = anonymous_read
        self._keys: dict[str, Key] = {}

    def load(self, keys: Iterable[Key]) -> None:
        """Replace all keys."""
        self._keys = {key.key: key for key in keys}

    def identify(self, authorization: str | None, address: str) -> Caller:
        """Count a request and return its caller.

        Args:
            authorization: value of the Authorization header, "Bearer ws_...".
            address: address of the caller; requests without a valid key are counted by address.

        Raises:
            AccessError: the key is unknown or revoked, or the rate limit is exceeded.
        """
        if authorization is None:
            self._count(f"anonymous {address}")
            return Caller("", "read" if self._anonymous_read else "")
        try:
            caller = self._caller(authorization)
        except AccessError:
            self._count(f"rejected {address}")
            raise
        self._count(caller.key)
        return caller

    def _count(self, name: str) -> None:
        if seconds := self._limiter.count(name):
            raise AccessError(429, f"too many requests: the limit is {self._rate}", seconds)

    def _caller(self, authorization: str) -> Caller:
        kind, _, token = authorization.partition(" ")
        parts = token.strip().split("_", 2)
        key = self._keys.get(parts[1]) if len(parts) == 3 and parts[0] == "ws" else None
        known = key is not None and not key.revoked and kind.lower() == "bearer"
        if key is None or not known or not hmac.compare_digest(key.secret, _hash(parts[2])):
            raise AccessError(401, "the API key is unknown or was revoked")
        return Caller(key.key, key.scope)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
