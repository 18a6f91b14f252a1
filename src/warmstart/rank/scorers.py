"""Score functions: what ranking and evaluation need of a model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

from warmstart.data.queries import Queries

ScoreFunction: TypeAlias = Callable[[Queries, np.ndarray], np.ndarray]
"""(queries, items int32) -> float32 scores, shape (queries, items); see ``Scorer.score``."""

UserScoreFunction: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(users int32, items int32) -> float32 scores, shape (users, items), all by row number."""


class Scorer(Protocol):
    """The interface that evaluation needs: a name, and scores of items for queries."""

    @property
    def name(self) -> str: ...

    def score(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        """Score items for queries: float32; NaN if impossible.

        Args:
            queries: who asks.
            items: int32 row numbers, shape (items,) for all queries, or (queries, c) for each.

        Returns:
            Shape (queries, items) or (queries, c).
        """
        ...


@dataclass(frozen=True)
class TableScorer:
    """A scorer of known users that looks scores up in a precomputed table.

    Attributes:
        rows: item rows of the table, int32, ascending, shape (items,).
        scores: scores of all users, float32, shape (items, n_users).
        users: row numbers of the users of the table, ascending, if it does not have all.
    """

    rows: np.ndarray
    scores: np.ndarray
    users: np.ndarray | None = None

    def score(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        """Look up scores as ``Scorer.score`` returns them; NaN for items not in ``rows``."""
        users = queries.users
        if self.users is not None:
            users = np.searchsorted(self.users, users)
        if not len(self.rows):
            return np.full((len(users), len(items)), np.nan, np.float32)
        place = np.minimum(np.searchsorted(self.rows, items), len(self.rows) - 1)
        scores = self.scores[place][:, users].T
        missing = self.rows[place] != items
        if missing.any():
            scores[:, missing] = np.nan
        return scores


def of_own_candidates(score: ScoreFunction) -> ScoreFunction:
    """Let a function that scores the same items for all queries score the items of each query.

    The result takes items of shape (queries, c). It scores all of them for every query, which is
    fast where queries share many items.
    """

    def scores(queries: Queries, items: np.ndarray) -> np.ndarray:
        columns, places = np.unique(items, return_inverse=True)
        found = score(queries, columns.astype(np.int32))
        return np.take_along_axis(found, places.reshape(items.shape), axis=1)

    return scores


def by_user(score: UserScoreFunction) -> ScoreFunction:
    """Turn a function that scores for rows of known users into one that scores for queries."""
    return lambda queries, items: score(queries.users, items)
