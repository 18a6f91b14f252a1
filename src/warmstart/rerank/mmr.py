"""Maximal marginal relevance: the score of a candidate less its similarity to the list so far.

Carbonell and Goldstein, "The Use of MMR, Diversity-Based Reranking for Reordering Documents and
Producing Summaries", SIGIR 1998.
"""

import numpy as np
from scipy import sparse

from warmstart.arguments import fraction, positive_number, whole_number
from warmstart.rerank.candidates import best_first, best_of_genre_sets, share_of_each_genre
from warmstart.rerank.greedy import GreedyList
from warmstart.rerank.similarity import Similarity


def mmr(scores: np.ndarray, similarity: Similarity, k: int, *, diversity: float) -> np.ndarray:
    """Choose k candidates one by one, each for the highest value of the following formula.

        (1 - diversity) * score - diversity * (highest similarity to a candidate of the list)

    Args:
        scores: float32, shape (candidates,); NaN for a candidate that cannot be ranked. They
            should have about the range of the similarities, so scale them first.
        similarity: of one candidate to all.
        k: length of the list.
        diversity: weight of the similarity, in [0, 1]; the paper's lambda is 1 - diversity. 0 ranks
            by score, 1 by dissimilarity alone (the first place still goes to the highest score).

    Returns:
        int32 positions in list order, at most k.

    Raises:
        ConfigError: k or diversity is out of range.
        DataError: ``scores`` have the wrong shape or dtype, or are infinite.
    """
    k = whole_number("mmr", "k", k, low=1)
    weight = fraction("mmr", "diversity", diversity)
    order = best_first("mmr", scores)
    relevance = (1 - weight) * scores[order].astype(np.float64)
    nearest = np.zeros(len(order))
    result = GreedyList(len(order))
    for place in range(min(k, len(order))):
        best = result.take(relevance - weight * nearest)
        to_best = similarity(int(order[best]))[order]
        nearest = to_best if place == 0 else np.maximum(nearest, to_best)
    return order[result.chosen]


def genre_count_mmr(
    scores: np.ndarray, genres: sparse.csr_matrix, k: int, *, penalty: float
) -> np.ndarray:
    """Choose k candidates one by one, each for the highest score - penalty * repetition.

    The repetition of a candidate with one genre is the number of candidates of the list that have
    this genre; with several genres, the mean of their numbers; without genres, 0.

    Args:
        scores: float32, shape (candidates,); NaN for a candidate that cannot be ranked.
        genres: bool CSR, shape (candidates, n_genres).
        k: length of the list.
        penalty: in units of the scores, above 0.

    Returns:
        int32 positions in list order, at most k.

    Raises:
        ConfigError: k or penalty is out of range.
        DataError: wrong shapes or dtypes, or infinite scores.
    """
    weight = positive_number("genre_count_mmr", "penalty", penalty)
    candidates = best_of_genre_sets("genre_count_mmr", scores, genres, k)
    shares = share_of_each_genre(candidates.genre_sets)
    counts = np.zeros(shares.shape[1])
    result = GreedyList(len(candidates.scores))
    for _ in range(min(k, len(candidates.scores))):
        repetition = (shares @ counts)[candidates.groups]
        best = result.take(candidates.scores - weight * repetition)
        counts += candidates.genre_sets[candidates.groups[best]]
    return candidates.positions[result.chosen]
