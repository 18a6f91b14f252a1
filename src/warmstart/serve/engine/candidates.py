"""The best items of a part of the index, without the scores of all its items where possible."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from warmstart.retrieval.queries import ProductQueries
from warmstart.retrieval.table import VectorTable

_SAMPLE_SIZE = 16384  # scores from which the k-th best is estimated


@dataclass(frozen=True)
class Candidates:
    """Items that may be in one list, in no order.

    Attributes:
        slots: the items, int64.
        columns: their columns in the score table, int64.
        scores: float32; never NaN.
        is_cold: bool.
        ties: order among items with the same score, the same at any time and place, uint64.
    """

    slots: np.ndarray
    columns: np.ndarray
    scores: np.ndarray
    is_cold: np.ndarray
    ties: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence["Candidates"]) -> "Candidates":
        """All candidates of some parts; of an item that has moved meanwhile, the newer row."""
        arrays = zip(*(part._arrays for part in parts), strict=True)
        found = cls(*(np.concatenate(array) for array in arrays))
        order = np.lexsort((-found.columns, found.slots))
        first = np.ones(len(order), bool)
        first[1:] = np.diff(found.slots[order]) > 0
        return found if first.all() else found.take(order[first])

    @property
    def _arrays(self) -> tuple[np.ndarray, ...]:
        return self.slots, self.columns, self.scores, self.is_cold, self.ties

    def take(self, at: np.ndarray) -> "Candidates":
        """Select candidates by position or mask."""
        return Candidates(*(array[at] for array in self._arrays))

    def best(self, k: int) -> np.ndarray:
        """Positions of the k best candidates, the best first."""
        return np.lexsort((self.ties, -self.scores))[:k]


def best_products(
    table: VectorTable,
    queries: ProductQueries,
    k: int,
    bias: np.ndarray,
    excluded: Sequence[np.ndarray],
    score: Callable[[np.ndarray], np.ndarray],
    threads: int,
) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """Rows that include the k best of each query, and their scores.

    Args:
        table: vectors of the items.
        queries: who asks.
        k: number of items.
        bias: added to products, float32, shape (items,); -inf leaves an item out.
        excluded: rows that each query leaves out.
        score: scores rows for all queries, float32, shape (queries, rows).
        threads: number of threads that share the work.

    Returns:
        None if all scores are needed.
    """
    found = table.candidates(queries, k, excluded, threads, bias)
    kept = [rows for rows in found if rows is not None]
    if len(kept) < len(found):
        return None
    if len(kept) == 1:
        return [(kept[0], score(kept[0])[0])]
    union = np.unique(np.concatenate(kept))
    scores = score(union)
    return [(rows, scores[at, union.searchsorted(rows)]) for at, rows in enumerate(kept)]


def best_rows(scores: np.ndarray, k: int) -> np.ndarray:
    """Rows that include the k best and all that are equal to the last of them.

    Args:
        scores: float32, shape (items,); NaN is never selected.
        k: number of items.
    """
    return np.flatnonzero(scores >= _threshold(scores, k))


def _threshold(scores: np.ndarray, k: int) -> float:
    """A score that k items, and not many more, reach; -inf if there are too few."""
    stride = max(1, len(scores) // _SAMPLE_SIZE)
    if stride > 1:  # an estimate from a sample, used only if at least k items reach it
        sample = scores[::stride]
        sample = np.sort(sample[~np.isnan(sample)])
        threshold = sample[-min(len(sample), 1 + 4 * k // stride)] if len(sample) else -np.inf
        if (scores >= threshold).sum() >= k:
            return float(threshold)
    ranked = scores[~np.isnan(scores)]
    if len(ranked) <= k:
        return -np.inf
    return float(np.partition(ranked, len(ranked) - k)[len(ranked) - k])
