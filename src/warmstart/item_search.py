"""The best of many items for queries, without the scores of all pairs.

Where the scores of a method are products of vectors (``servable``), a search over the vectors finds
the few items that can be among the best of a query (``retrieval.table``); only these are scored, by
the method itself. So lists are those of all scores, up to rounding.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from warmstart.data.queries import Queries
from warmstart.rank import random_order, top_k
from warmstart.retrieval.queries import ProductQueries
from warmstart.retrieval.table import VectorTable

SMALLEST = 2**15  # below, scoring all candidates takes as long as a search
_QUERIES_AT_ONCE = 64


@dataclass(frozen=True)
class Side:
    """The warm or the cold ones among the candidates.

    Attributes:
        positions: their positions among the candidates, ascending.
        table: their vectors; items that cannot be scored have the bias -inf.
        queries: gives what to search the table with, for the states of queries; None if these
            queries need all scores.
    """

    positions: np.ndarray
    table: VectorTable
    queries: Callable[[Any], ProductQueries | None]

    def best(self, states: Any, k: int, masked: sparse.csr_matrix) -> np.ndarray | None:
        """Positions of candidates among which are the k best of each query, ascending.

        Args:
            states: of the queries.
            k: number of items.
            masked: bool CSR, shape (queries, candidates); the items that a query leaves out.
        """
        queries = self.queries(states)
        if queries is None:
            return None
        own = masked[:, self.positions].tocsr()
        left_out = [own.indices[own.indptr[row] : own.indptr[row + 1]].astype(np.int64)
                    for row in range(len(queries.vectors))]  # fmt: skip
        found = self.table.candidates(queries, k, left_out)
        kept = [rows for rows in found if rows is not None]
        if len(kept) < len(found):
            return None
        return self.positions[np.unique(np.concatenate(kept))]


class ItemSearch:
    """Makes lists of some candidates.

    Args:
        states: gives the states of queries: pairs of the queries' positions and their states, for
            those of which something is known.
        score: scores items, int32 row numbers, for such states: float32, shape (states, items).
        candidates: int32 row numbers.
        scorable: bool, shape (candidates,): the others have no score for any query.
        sides: those that can be scored, warm and cold.
    """

    def __init__(
        self,
        states: Callable[[Queries], Iterable[tuple[np.ndarray, Any]]],
        score: Callable[[Any, np.ndarray], np.ndarray],
        candidates: np.ndarray,
        scorable: np.ndarray,
        sides: list[Side],
    ) -> None:
        self._states, self._score, self._sides = states, score, sides
        self.candidates, self._scorable = candidates, scorable

    def top_items(
        self,
        queries: Queries,
        k: int,
        *,
        masked: sparse.csr_matrix | None = None,
        tie_order: np.ndarray | None = None,
        tie_shift: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find the k best candidates of each query, as ``rank.top_k`` does from all scores.

        Args:
            queries: who asks, without controls.
            k: length of the lists.
            masked: CSR, shape (queries, candidates); pairs with a non-zero value are left out.
            tie_order: a permutation, see ``rank.top_k``.
            tie_shift: see ``rank.top_k``.

        Returns:
            Positions and scores as ``rank.top_k`` returns them; and for each query the number of
            candidates that are neither masked nor without a score, int64.
        """
        if masked is None:
            masked = sparse.csr_matrix((len(queries), len(self.candidates)), dtype=bool)
        shift = np.zeros(len(queries), np.int64) if tie_shift is None else tie_shift
        order = random_order(len(self.candidates)) if tie_order is None else tie_order
        found = []
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            rows = np.arange(start, min(start + _QUERIES_AT_ONCE, len(queries)))
            found.append(self._lists(queries.take(rows), k, masked[rows], order, shift[rows]))
        positions, scores, n_ranked = (
            np.concatenate(arrays) for arrays in zip(*found, strict=True)
        )
        return positions, scores, n_ranked

    def _lists(
        self, queries: Queries, k: int, masked: sparse.csr_matrix, order: np.ndarray,
        shift: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
        groups = list(self._states(queries))
        at = self._best(groups, k, masked)
        scores = np.full((len(queries), len(at)), np.nan, np.float32)
        for rows, states in groups:
            scores[rows] = self._score(states, self.candidates[at])
        scores[:, ~self._scorable[at]] = np.nan
        # Places in the tie order, rotated for each query, among these candidates alone.
        place = (order[at] + shift[:, None]) % len(self.candidates)
        among = np.argsort(np.argsort(place, axis=1), axis=1)
        positions, best = top_k(scores, k, masked=masked[:, at].tocsr(), tie_order=among)
        known = ~np.isnan(scores).all(axis=1)
        n_ranked = known * (self._scorable.sum() - masked @ self._scorable.astype(np.int64))
        return np.append(at, -1)[positions].astype(np.int32), best, n_ranked

    def _best(
        self, groups: Sequence[tuple[np.ndarray, Any]], k: int, masked: sparse.csr_matrix
    ) -> np.ndarray:
        """Positions of candidates among which are the k best of each query."""
        found = [np.zeros(0, np.int64)]
        for rows, states in groups:
            for side in self._sides:
                best = side.best(states, k, masked[rows])
                if best is None:
                    return np.arange(len(self.candidates))
                found.append(best)
        return np.unique(np.concatenate(found))
