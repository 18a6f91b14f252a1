"""Answer a history by the known users whose histories are most similar to it.

Any method that scores known users can thus score unknown ones, without fitting anything:

    similarity(h, v) = |h and v| / sqrt(|v|),    score(h, i) = sum_v w_v score(v, i)

over the 50 most similar users v, with weights w in proportion to similarity. Library and service
use the same class. An item of the history that is in no training data counts through its users, if
these are given: it adds each user's weight to |h and v|.
"""

import numpy as np
from scipy import sparse

from warmstart.rank import UserScoreFunction

NEIGHBOURS = 50
"""Users that answer for a history: enough to average out single users' tastes."""
_QUERIES_AT_ONCE = 64


class SimilarUsers:
    """Finds the known users with the most similar histories; prepared once for many queries.

    Args:
        positives: interactions of the known users, CSR, shape (n_users, n_items).
        k: maximum number of users for each history.
    """

    def __init__(self, positives: sparse.csr_matrix, k: int = NEIGHBOURS) -> None:
        self._k = k
        self._root_degrees = np.sqrt(np.maximum(np.diff(positives.indptr), 1)).astype(np.float32)
        self._users_of_items = positives.T.tocsr()
        self._users_of_items.data = np.ones_like(self._users_of_items.data)

    def weights(
        self, histories: sparse.csr_matrix, others: sparse.csr_matrix | None = None
    ) -> sparse.csr_matrix:
        """Weight the most similar users of each history.

        Args:
            histories: weights of the items of each history, CSR, shape (queries, n_items).
            others: for each query, the summed weights of the users of further items of its
                history, CSR, shape (queries, n_users).

        Returns:
            Weights that sum to 1 in each row, float32 CSR, shape (queries, n_users). The row of a
            history that shares no item with any user is empty.
        """
        n_queries = histories.get_shape()[0]
        counts, columns, weights = [0], [], []
        for start in range(0, n_queries, _QUERIES_AT_ONCE):
            rows = slice(start, start + _QUERIES_AT_ONCE)
            overlap = sparse.csr_matrix(histories[rows] @ self._users_of_items)
            if others is not None:
                overlap = sparse.csr_matrix(overlap + others[rows])
            overlap.sort_indices()  # of equally similar users, the first ones count
            similarity = overlap.data / self._root_degrees[overlap.indices]
            for first, end in zip(overlap.indptr[:-1], overlap.indptr[1:], strict=True):
                best = _largest(similarity[first:end], self._k)
                counts.append(len(best))
                columns.append(overlap.indices[first:end][best])
                weights.append(similarity[first:end][best] / similarity[first:end][best].sum())
        shape = (n_queries, len(self._root_degrees))
        if not columns:
            return sparse.csr_matrix(shape, dtype=np.float32)
        arrays = (np.concatenate(weights).astype(np.float32), np.concatenate(columns))
        return sparse.csr_matrix((*arrays, np.cumsum(counts)), shape=shape)


def similar_users(
    positives: sparse.csr_matrix, histories: sparse.csr_matrix, k: int = NEIGHBOURS
) -> sparse.csr_matrix:
    """Find the k users with the most similar histories: ``SimilarUsers.weights``."""
    return SimilarUsers(positives, k).weights(histories)


def score_by_similar_users(
    score: UserScoreFunction, weights: sparse.csr_matrix, items: np.ndarray
) -> np.ndarray:
    """Average the scores of similar users.

    Args:
        score: scores items for known users.
        weights: the result of ``similar_users``, CSR, shape (queries, n_users).
        items: int32 row numbers, shape (items,).

    Returns:
        float32, shape (queries, items); NaN for a history without similar users.
    """
    scores = np.full((weights.get_shape()[0], len(items)), np.nan, np.float32)
    step = max(1, _QUERIES_AT_ONCE // NEIGHBOURS)
    for start in range(0, len(scores), step):
        part = weights[start : start + step]
        users = np.unique(part.indices)
        if len(users):
            answered = np.diff(part.indptr) > 0
            found = part[:, users] @ score(users.astype(np.int32), items)
            scores[start : start + step][answered] = found[answered]
    return scores


def _largest(values: np.ndarray, k: int) -> np.ndarray:
    """Positions of the k largest positive values, the first ones of equal values: int64."""
    positive = np.flatnonzero(values > 0)
    if len(positive) > k:
        least = np.partition(values[positive], len(positive) - k)[len(positive) - k]
        positive = positive[values[positive] >= least]
    return positive[np.argsort(-values[positive], kind="stable")[:k]]
