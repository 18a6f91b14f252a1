"""xQuAD: cover the genres that a history asks for, each as far as the list does not yet.

Santos, Macdonald and Ounis, "Exploiting Query Reformulations for Web Search Result
Diversification", WWW 2010, with genres in the place of query aspects.
"""

import numpy as np
from scipy import sparse

from warmstart.arguments import fraction
from warmstart.rerank.candidates import best_of_genre_sets, genre_shares, share_of_each_genre
from warmstart.rerank.greedy import GreedyList


def xquad(
    scores: np.ndarray,
    genres: sparse.csr_matrix,
    k: int,
    *,
    history_genres: np.ndarray,
    diversity: float,
) -> np.ndarray:
    """Choose k candidates one by one, each for the highest value of the following formula.

        (1 - diversity) * score + diversity * sum_g p(g|u) p(i|g) prod_{j in list} (1 - p(j|g))

    p(g|u) is the share of genre g in the history. p(i|g) is 1 / (number of genres of i) for the
    genres of i, else 0, so an item with one genre covers it fully.

    Args:
        scores: float32, shape (candidates,); NaN for a candidate that cannot be ranked. The second
            term lies in [0, 1], so scale them first.
        genres: bool CSR, shape (candidates, n_genres).
        k: length of the list.
        history_genres: number of items of each genre in the history, shape (n_genres,).
        diversity: weight of the coverage, in [0, 1]; 0 ranks by score.

    Returns:
        int32 positions in list order, at most k.

    Raises:
        ConfigError: k or diversity is out of range.
        DataError: wrong shapes or dtypes, infinite scores, or counts that are no distribution.
    """
    weight = fraction("xquad", "diversity", diversity)
    candidates = best_of_genre_sets("xquad", scores, genres, k)
    shares = share_of_each_genre(candidates.genre_sets)
    wanted = genre_shares("xquad", history_genres, shares.shape[1])
    relevance = (1 - weight) * candidates.scores
    result = GreedyList(len(relevance))
    for _ in range(min(k, len(relevance))):
        best = result.take(relevance + weight * (shares @ wanted)[candidates.groups])
        wanted = wanted * (1 - shares[candidates.groups[best]])
    return candidates.positions[result.chosen]
