"""Ratings: all rated events, liked or disliked, as they were before any threshold."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from warmstart.data.histories import Histories


@dataclass(frozen=True)
class Ratings:
    """Rated events, ordered by user, then time, then position.

    Attributes:
        users: int32 row numbers, shape (events,), ascending.
        items: int32 row numbers, shape (events,); a pair may occur several times.
        values: float32, shape (events,): the ratings.
        times: int64, shape (events,): unix seconds or positions; or None.
    """

    users: np.ndarray
    items: np.ndarray
    values: np.ndarray
    times: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.users)

    def where(self, keep: np.ndarray) -> "Ratings":
        """Select events by a boolean mask or by ascending positions."""
        times = None if self.times is None else self.times[keep]
        return Ratings(self.users[keep], self.items[keep], self.values[keep], times)

    def labels(self, threshold: float) -> np.ndarray:
        """Whether each rating is at least ``threshold``: bool, shape (events,)."""
        return self.values >= np.float32(threshold)

    def histories(self, n_users: int) -> Histories:
        """The rated items of every user, oldest first, with their ratings."""
        counts = np.bincount(self.users, minlength=n_users)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Histories(offsets, self.items, self.times, self.values)

    @cached_property
    def hash(self) -> str:
        """sha256 of all arrays, in their order."""
        digest = hashlib.sha256()
        for array in (self.users, self.items, self.values, self.times):
            digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()
