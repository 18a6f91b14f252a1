"""Greedy inference of a determinantal point process: relevant candidates that span a large volume.

Chen, Zhang and Zhou, "Fast Greedy MAP Inference for Determinantal Point Process to Improve
Recommendation Diversity", NeurIPS 2018, algorithm 1.
"""

import numpy as np

from warmstart.arguments import fraction, whole_number
from warmstart.rerank.candidates import best_first
from warmstart.rerank.greedy import GreedyList
from warmstart.rerank.similarity import Similarity

# Smallest squared distance from the span of the list; below, rounding errors decide.
_MIN_RESIDUAL = 1e-6


def dpp(scores: np.ndarray, similarity: Similarity, k: int, *, diversity: float) -> np.ndarray:
    """Choose k candidates one by one, each for the largest increase of the following value.

        (1 - diversity) * sum of scores + diversity * log det(similarities of the list)

    This is the paper's log det of Diag(exp(a s)) K Diag(exp(a s)), divided by a constant, with
    a = (1 - diversity) / (2 diversity). A candidate adds its score and the log of its residual: of
    the squared length of the part that the list does not span. The residuals come from a Cholesky
    factor that grows by a row per place, O(candidates k^2) in all. It factors K alone, so that
    large scores do not overflow.

    A residual below 1e-6 counts as 1e-6, for instance that of a candidate just like one of the
    list. So lists have k items even where the similarities have a lower rank.

    Args:
        scores: float32, shape (candidates,); NaN for a candidate that cannot be ranked. Scale them
            first: a pair of similarity c adds log(1 - c^2).
        similarity: of one candidate to all, positive semi-definite; 1 for a candidate with itself
            is taken for granted.
        k: length of the list.
        diversity: weight of the volume, in [0, 1]; 0 ranks by score.

    Returns:
        int32 positions in list order, at most k.

    Raises:
        ConfigError: k or diversity is out of range.
        DataError: ``scores`` have the wrong shape or dtype, or are infinite.
    """
    k = whole_number("dpp", "k", k, low=1)
    weight = fraction("dpp", "diversity", diversity)
    order = best_first("dpp", scores)
    length = min(k, len(order))
    relevance = (1 - weight) * scores[order].astype(np.float64)
    factor = np.zeros((length, len(order)))
    residual = np.ones(len(order))
    result = GreedyList(len(order))
    for place in range(length):
        best = result.take(relevance + weight * np.log(np.maximum(residual, _MIN_RESIDUAL)))
        if residual[best] > _MIN_RESIDUAL:  # else it spans nothing new
            to_best = similarity(int(order[best]))[order]
            row = (to_best - factor[:place, best] @ factor[:place]) / np.sqrt(residual[best])
            factor[place] = row
            residual = residual - row**2
    return order[result.chosen]
