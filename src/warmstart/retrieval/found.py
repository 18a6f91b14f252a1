"""What a search in a table of vectors found; parts of a table are searched apart and merged."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Found:
    """The best rows of each query, best first.

    Attributes:
        rows: int64, shape (queries, k); -1 after the last row that can be found.
        scores: float32, shape (queries, k); NaN after the last row.
        log_normalisers: log of the sum of exp(score) over all rows, float64, shape (queries,);
            None if it was not asked for.
        keys: for sampled rows the score plus noise that orders them, float64, shape (queries, k);
            None for rows that are ordered by score.
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
    """The k best rows of some parts of a table, as if the parts had been searched together.

    Equal scores are ordered by row number, so the order and the grouping of the parts do not
    matter.

    Args:
        parts: at least one, all found with the same options; rows are numbers in the whole table.
        k: number of rows.
    """
    rows, scores = (
        np.concatenate([getattr(part, name) for part in parts], axis=1)
        for name in ("rows", "scores")
    )
    keys = parts[0].keys
    if keys is not None:
        keys = np.concatenate([part.keys for part in parts if part.keys is not None], axis=1)
    order = best_first(rows, scores if keys is None else keys)[:, :k]
    normalisers = parts[0].log_normalisers
    if normalisers is not None:
        every = [part.log_normalisers for part in parts if part.log_normalisers is not None]
        normalisers = np.logaddexp.reduce(every, axis=0)
    return Found(
        np.take_along_axis(rows, order, axis=1),
        np.take_along_axis(scores, order, axis=1),
        normalisers,
        None if keys is None else np.take_along_axis(keys, order, axis=1),
    )


def best_first(rows: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Order by falling key, then by row; rows of -1 last: int64, of the same shape."""
    return np.lexsort((rows, -np.where(rows < 0, -np.inf, keys), rows < 0), axis=-1)
