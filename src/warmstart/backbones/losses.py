"""Ranking losses on scores, for the gradient-trained graph models.

Both take the scores of a batch of interactions ("pairs") and give the weighted mean over pairs.
"""

import torch
from torch.nn import functional

_HIDDEN = -1e9  # not -inf: the gradient of a user who has every sampled item would be NaN


def bpr_loss(
    positive: torch.Tensor, negative: torch.Tensor, weights: torch.Tensor, temperature: float
) -> torch.Tensor:
    """-log sigmoid of the margin (Rendle et al., UAI 2009).

    Args:
        positive: scores of the pairs, shape (pairs,).
        negative: score of one sampled item for the user of each pair, shape (pairs,).
        weights: of the pairs, shape (pairs,).
        temperature: divides the margin.
    """
    return weighted_mean(functional.softplus((negative - positive) / temperature), weights)


def softmax_loss(
    positive: torch.Tensor,
    negative: torch.Tensor,
    false_negatives: torch.Tensor,
    rows: torch.Tensor,
    weights: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """-log of the softmax share of each pair among itself and its user's sampled items.

    Args:
        positive: scores of the pairs, shape (pairs,).
        negative: scores of shared sampled items for the users of the batch, shape (users, sampled).
        false_negatives: (row, column) of sampled items that the user has, int64, shape (2, any).
        rows: row in ``negative`` of the user of each pair, int64, shape (pairs,).
        weights: of the pairs, shape (pairs,).
        temperature: divides the scores.
    """
    negative = negative / temperature
    hidden = torch.full_like(false_negatives[0], _HIDDEN, dtype=negative.dtype)
    negative = negative.index_put((false_negatives[0], false_negatives[1]), hidden)
    others = torch.logsumexp(negative, dim=1).index_select(0, rows)
    return weighted_mean(functional.softplus(others - positive / temperature), weights)


def weighted_mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Mean of ``values`` with ``weights``."""
    return torch.dot(values, weights) / weights.sum()
