"""What a search finds, and the same from the parts of a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np


@dataclass(frozen=True)
class Found:
    """The best rows of each query.

    Ordered by score as float32, or by key where there are keys; of equal ones the lower row is
    first. Places for which there is no row hold -1 and NaN. Rows with the score -inf are not found.

    Attributes:
        rows: global row numbers, int64, shape (queries, k).
        scores: float32, shape (queries, k).
        log_normalisers: log sum exp of the scores of all rows, float64, shape (queries,).
        keys: scores plus Gumbel noise if rows were sampled, float64, shape (queries, k).
    """

    rows: np.ndarray
    scores: np.ndarray
    log_normalisers: np.ndarray | None = None
    keys: np.ndarray | None = None

    @property
    def log_probabilities(self) -> np.ndarray:
        """Scores minus log-normalisers: float32, shape (queries, k).

        Raises:
            ValueError: the search was made without log-normalisers.
        """
        if self.log_normalisers is None:
            raise ValueError("log_probabilities: the search was made without log_normalisers")
        return (self.scores - self.log_normalisers[:, None]).astype(np.float32)


def merge(parts: Sequence[Found], k: int) -> Found:
    """Find the k best of a whole table from the k best of its parts.

    The parts are disjoint and were searched with the same queries. The rows, scores and keys do
    not depend on how parts are grouped or ordered; the normalisers only by rounding.

    Args:
        parts: at least one.
        k: number of rows, at least 1.
    """
    rows, scores = (
        np.concatenate([getattr(part, name) for part in parts], axis=1)
        for name in ("rows", "scores")
    )
    with_keys = [part.keys for part in parts if part.keys is not None]
    keys = np.concatenate(with_keys, axis=1) if len(with_keys) == len(parts) else None
    values = scores if keys is None else keys
    order = best_first(rows, values)[:, :k]
    missing = ((0, 0), (0, k - order.shape[1]))
    sums = [part.log_normalisers for part in parts if part.log_normalisers is not None]

    def best(array: np.ndarray, filling: float) -> np.ndarray:
        return np.pad(np.take_along_axis(array, order, 1), missing, constant_values=filling)

    return Found(
        best(rows, -1),
        best(scores, np.nan),
        reduce(np.logaddexp, sums) if len(sums) == len(parts) else None,
        None if keys is None else best(keys, np.nan),
    )


def best_first(rows: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Order by falling key, then by row; rows of -1 last: int64, of the same shape."""
    return np.lexsort((rows, -np.where(rows < 0, -np.inf, keys), rows < 0), axis=-1)
