"""A text model's scores of items over all users: an array, or products with a table of users."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from warmstart.data.interactions import MIN_WEIGHT, Interactions
from warmstart.retrieval.found import Found
from warmstart.sampling import evenly_spaced
from warmstart.simulate.user_tokens import DENSE_USERS


@dataclass(frozen=True)
class UserScores:
    """Scores of items over all users.

    Attributes:
        values: the scores, float32, shape (items, n_users); or with ``users`` vectors, float32,
            shape (items, width), whose products with those of users are the scores.
        users: vectors of all users, float32, shape (n_users, width).
    """

    values: np.ndarray
    users: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.values)

    def of(self, users: np.ndarray) -> np.ndarray:
        """Scores of some users, int32 row numbers: float32, shape (items, users)."""
        if self.users is None:
            return self.values[:, users]
        return self.values @ self.users[users].T

    def take(self, at: Any) -> "UserScores":
        """Select items by position, mask or slice."""
        return replace(self, values=self.values[at])

    @classmethod
    def concatenated(cls, parts: Sequence["UserScores"]) -> "UserScores":
        """The scores of all items of some parts, at least one."""
        return replace(parts[0], values=np.concatenate([part.values for part in parts]))


def sample_of_users(n_users: int) -> np.ndarray:
    """Users from whom what depends on all of them is computed: all, or ``DENSE_USERS``, evenly."""
    return evenly_spaced(n_users, DENSE_USERS).astype(np.int32)


def found_users(found: Found, weights: np.ndarray, provenance: str) -> Interactions:
    """Interactions of queries with the users that a search has found, in that order.

    Args:
        found: rows of a table of users.
        weights: float32, shape (queries, k); clipped to (0, 1].
        provenance: name of the simulator.
    """
    query, place = np.nonzero(found.rows >= 0)
    return Interactions.from_arrays(
        found.rows[query, place],
        query,
        weights=np.clip(weights[query, place], MIN_WEIGHT, 1).astype(np.float32),
        provenance=provenance,
    )
