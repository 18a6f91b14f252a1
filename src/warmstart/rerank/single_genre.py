"""The best list with exactly K genres, where each candidate has one genre."""

import numpy as np


def best_of_single_genres(
    scores: np.ndarray, genre: np.ndarray, n_genres: int, k: int
) -> np.ndarray | None:
    """Choose the longest list of at most k with exactly K genres, and the highest sum of scores.

    A list takes the best j items of each of its genres, for some j from 1 to k - K + 1. So a
    dynamic programme adds one genre after the other and keeps, for each number of genres and each
    length, the highest sum: O(n_genres K k^2), where trying all sets of K genres is exponential.

    Args:
        scores: float64, shape (candidates,), descending.
        genre: genre number of each candidate, shape (candidates,).
        n_genres: K.
        k: the maximum length.

    Returns:
        Places in ``scores``; None if there is no such list.
    """
    if n_genres > k:
        return None
    _, first = np.unique(genre, return_index=True)
    members = [np.flatnonzero(genre == genre[best])[: k - n_genres + 1] for best in np.sort(first)]
    best_sum = np.full((n_genres + 1, k + 1), -np.inf)  # genres x length
    best_sum[0, 0] = 0
    taken = np.zeros((len(members), n_genres + 1, k + 1), np.int64)
    for row, items in enumerate(members):
        without = best_sum.copy()
        for count, total in enumerate(np.cumsum(scores[items]), start=1):
            with_items = without[:-1, :-count] + total
            known = best_sum[1:, count:]
            better = with_items > known
            known[better] = with_items[better]
            taken[row, 1:, count:][better] = count
    length = int(np.flatnonzero(best_sum[n_genres] > -np.inf).max(initial=0))
    if length == 0:
        return None
    chosen = []
    for row in range(len(members) - 1, -1, -1):
        count = int(taken[row, n_genres, length])
        chosen.append(members[row][:count])
        n_genres, length = n_genres - (count > 0), length - count
    return np.concatenate(chosen)
