"""Stand-ins: warm items with similar texts, that speak for an item that nobody has mentioned yet.

What is learned by item (which items are mentioned together, what was recommended after a dialogue)
says nothing of a new item. Its score there is the weighted mean of the scores of its stand-ins.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from warmstart.rank import top_k

_ROWS_AT_ONCE = 1024
_SHARPNESS = 20.0  # of the weights: a cosine that is .05 higher weighs e times as much


@dataclass(frozen=True)
class StandIns:
    """The stand-ins of some items.

    Attributes:
        items: int32 row numbers of warm items, shape (items, n).
        weights: float32 of the same shape; the weights of an item sum to 1, or are 0 if it has no
            text.
    """

    items: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.items)

    def take(self, rows: np.ndarray) -> "StandIns":
        """Select items by position."""
        return StandIns(self.items[rows], self.weights[rows])

    def extended(self, new: "StandIns") -> "StandIns":
        """Append the stand-ins of new items, found among the same warm items."""
        return StandIns(
            np.concatenate([self.items, new.items]), np.concatenate([self.weights, new.weights])
        )

    def mean(self, scores: np.ndarray) -> np.ndarray:
        """Average scores of warm items.

        Args:
            scores: float32, shape (queries, n_items).

        Returns:
            float32, shape (queries, items).
        """
        return np.asarray((self.matrix(scores.shape[1]) @ scores.T).T, dtype=np.float32)

    def matrix(self, n_items: int) -> sparse.csr_matrix:
        """The weights as float32 CSR, shape (items, n_items)."""
        offsets = np.arange(len(self) + 1) * self.items.shape[1]
        pairs = (self.weights.ravel(), self.items.ravel(), offsets)
        return sparse.csr_matrix(pairs, shape=(len(self), n_items))


def nearest_warm(
    vectors: np.ndarray, table: np.ndarray, warm: np.ndarray, n: int, *, own: bool = False
) -> StandIns:
    """Find the warm items whose texts are most similar.

    Args:
        vectors: unit text vectors, float32, shape (items, width); zeros for an item without text.
        table: those of the catalogue, shape (n_items, width).
        warm: whether each item of the catalogue is warm, bool, shape (n_items,).
        n: stand-ins of an item; fewer where there are fewer warm items.
        own: the vectors are those of the catalogue; an item is not among its own stand-ins.
    """
    rows = np.flatnonzero(warm)
    n = min(n, len(rows))
    items, weights = [np.zeros((0, n), np.int32)], [np.zeros((0, n), np.float32)]
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        block = vectors[start : start + _ROWS_AT_ONCE]
        cosines = block @ table[rows].T
        if own:
            at = np.arange(start, start + len(block))
            cosines[at[:, None] == rows] = np.nan
        places, similar = top_k(cosines, n)
        found = places >= 0
        raised = np.where(found, np.exp(_SHARPNESS * np.nan_to_num(similar)), 0)
        raised[~block.any(axis=1)] = 0
        totals = np.maximum(raised.sum(axis=1, keepdims=True), 1e-30)
        items.append(rows[np.maximum(places, 0)].astype(np.int32))
        weights.append((raised / totals).astype(np.float32))
    return StandIns(np.concatenate(items), np.concatenate(weights))


def of_catalogue(table: np.ndarray, warm: np.ndarray, n: int) -> StandIns:
    """Stand-ins of all items of a catalogue; a warm item stands for itself.

    Args:
        table: unit text vectors, float32, shape (n_items, width).
        warm: whether each item is warm, bool, shape (n_items,).
        n: stand-ins of a cold item.
    """
    found = nearest_warm(table, table, warm, n)
    rows = np.flatnonzero(warm)
    found.items[rows], found.weights[rows] = rows[:, None], 0
    if found.items.shape[1]:
        found.weights[rows, 0] = 1
    return found
