"""Calibrated lists: genre shares close to those of a history.

Steck, "Calibrated Recommendations", RecSys 2018.
"""

import numpy as np
from scipy import sparse

from warmstart.arguments import fraction
from warmstart.rerank.candidates import (
    Candidates,
    best_of_genre_sets,
    genre_shares,
    matrix_shape,
    share_of_each_genre,
)
from warmstart.rerank.greedy import GreedyList

_SMOOTHING = 0.01  # alpha of the paper


def calibrated(
    scores: np.ndarray,
    genres: sparse.csr_matrix,
    k: int,
    *,
    history_genres: np.ndarray,
    weight: float,
) -> np.ndarray:
    """Choose k candidates for a high (1 - weight) * sum of scores - weight * KL(p || q~).

    p(g) is the share of genre g in the history, q(g) its mean share in the items of the list (an
    item is divided equally among its genres), q~ = .99 q + .01 p. The greedy choice of the paper:
    one item after the other, each the best addition. Where the k highest scores reach a higher
    value than the greedy list, they are the answer. So KL is never above that of the plain list.

    Args:
        scores: float32, shape (candidates,); NaN for a candidate that cannot be ranked. Scale them
            first: KL is mostly between 0 and 2, whatever the scale of the scores.
        genres: bool CSR, shape (candidates, n_genres).
        k: length of the list.
        history_genres: number of items of each genre in the history, shape (n_genres,).
        weight: weight of the divergence, in [0, 1]; 0 ranks by score.

    Returns:
        int32 positions in list order, at most k.

    Raises:
        ConfigError: k or weight is out of range.
        DataError: wrong shapes or dtypes, infinite scores, or counts that are no distribution.
    """
    weight = fraction("calibrated", "weight", weight)
    candidates = best_of_genre_sets("calibrated", scores, genres, k)
    shares = share_of_each_genre(candidates.genre_sets)
    wanted = genre_shares("calibrated", history_genres, shares.shape[1])
    length = min(k, len(candidates.scores))
    lists = [_greedy(candidates, shares, wanted, length, weight), list(range(length))]

    def value(chosen: list[int]) -> float:
        listed = shares[candidates.groups[chosen]].mean(axis=0)
        relevance = candidates.scores[chosen].sum()
        return float((1 - weight) * relevance - weight * _divergence(wanted, listed))

    return candidates.positions[max(lists, key=value) if length else []]


def genre_divergence(
    positions: np.ndarray, genres: sparse.csr_matrix, history_genres: np.ndarray
) -> float:
    """Compute KL(p || q~) of a list, as ``calibrated`` does; 0 where the shares agree.

    Args:
        positions: rows of ``genres``, at least one.
        genres: bool CSR, shape (candidates, n_genres).
        history_genres: number of items of each genre in the history, shape (n_genres,).

    Raises:
        DataError: the counts are no distribution.
    """
    wanted = genre_shares("genre_divergence", history_genres, matrix_shape(genres)[1])
    shares = share_of_each_genre(genres[positions].toarray())
    return float(_divergence(wanted, shares.mean(axis=0)))


def _greedy(
    candidates: Candidates, shares: np.ndarray, wanted: np.ndarray, length: int, weight: float
) -> list[int]:
    listed = np.zeros(len(wanted))
    result = GreedyList(len(candidates.scores))
    for place in range(1, length + 1):
        divergence = _divergence(wanted, (listed + shares) / place)[candidates.groups]
        best = result.take((1 - weight) * candidates.scores - weight * divergence)
        listed += shares[candidates.groups[best]]
    return result.chosen


def _divergence(wanted: np.ndarray, listed: np.ndarray) -> np.ndarray:
    """Compute KL(p || q~) along the last axis; genres with p = 0 add nothing."""
    some = wanted > 0
    p = wanted[some]
    smoothed = (1 - _SMOOTHING) * listed[..., some] + _SMOOTHING * p
    return (p * np.log(p / smoothed)).sum(axis=-1)
