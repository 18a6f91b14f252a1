"""Answer a history by the known users whose histories are most similar to it.

Any method that scores known users can thus score unknown ones, without fitting anything:

    similarity(h, v) = |h and v| / sqrt(|v|),    score(h, i) = sum_v w_v score(v, i)

over the 50 most similar users v, with weights w in proportion to similarity. Library and service
use the same function.
"""

import numpy as np
from scipy import sparse

from warmstart.rank import UserScoreFunction

NEIGHBOURS = 50
"""Users that answer for a history: enough to average out single users' tastes."""
_QUERIES_AT_ONCE = 64


def similar_users(
    positives: sparse.csr_matrix, histories: sparse.csr_matrix, k: int = NEIGHBOURS
) -> sparse.csr_matrix:
    """Find the k users with the most similar histories, and their weights.

    Args:
        positives: interactions of the known users, CSR, shape (n_users, n_items).
        histories: weights of the items of each history, CSR, shape (queries, n_items).
        k: maximum number of users for each history.

    Returns:
        Weights that sum to 1 in each row, float32 CSR, shape (queries, n_users). The row of a
        history that shares no item with any user is empty.
    """
    degrees = np.sqrt(np.maximum(np.diff(positives.indptr), 1)).astype(np.float32)
    by_item = positives.T.tocsr()
    by_item.data = np.ones_like(by_item.data)
    counts, columns, weights = [0], [], []
    n_queries = histories.get_shape()[0]
    for start in range(0, n_queries, _QUERIES_AT_ONCE):
        block = (histories[start : start + _QUERIES_AT_ONCE] @ by_item).toarray() / degrees
        nearest = np.argsort(-block, axis=1, kind="stable")[:, :k]
        similarity = np.take_along_axis(block, nearest, axis=1)
        found = similarity > 0
        total = np.where(found, similarity, 0).sum(axis=1, keepdims=True)
        counts.extend(found.sum(axis=1).tolist())
        columns.append(nearest[found])
        weights.append((similarity / np.maximum(total, np.finfo(np.float32).tiny))[found])
    shape = (n_queries, positives.get_shape()[0])
    if not columns:
        return sparse.csr_matrix(shape, dtype=np.float32)
    arrays = (np.concatenate(weights).astype(np.float32), np.concatenate(columns))
    return sparse.csr_matrix((*arrays, np.cumsum(counts)), shape=shape)


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
